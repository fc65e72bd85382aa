"""Functions of the enrolment notebook: list, extract, check, enrol, search."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engine.errors import Code, EngineError
from engine.settings import Settings
from engine.style.records import FaceEmbedding
from gallery_db.errors import EnrolmentRefused
from gallery_db.gallery import Gallery
from gallery_db.records import Consent
from tests.gallery_db.planted import draw_person, embed, make_consent
from webapp.notebook.enrolment import (
    ExtractedSamples,
    check_people,
    compare_clips,
    describe_enrolments,
    enrol_people,
    extract_samples,
    list_clips,
    plot_similarities,
    search_enrolled,
    tabulate_quality,
)

SECONDS = 12.0


class Planted:
    """Fake embedder: `ada1.mp4` is clip 1 of Ada; counts its calls."""

    def __init__(self) -> None:
        self.extracted = 0

    def find_speaker(self, path: Path) -> FaceEmbedding:
        self.extracted += 1
        if not path.stat().st_size:
            raise Code.UNREADABLE_VIDEO("The file is empty.", "Fetch it again.")
        person, clip = path.read_text().split()
        seen = embed(draw_person(int(person)), int(clip), seconds=SECONDS)
        picture = np.zeros((96, 96, 3), np.uint8)
        return FaceEmbedding(
            path.name, f"{int(person):032}{int(clip):032}", 0, 0.0, SECONDS, SECONDS, 120.0, picture, seen
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ada and Ben with three clips each, the last of Ben's is Cem's; one of Ada's is empty."""
    for number, name in enumerate(("Ada", "Ben")):
        own = tmp_path / "clips" / name
        own.mkdir(parents=True)
        for clip in range(4):
            who = 9 if (name, clip) == ("Ben", 3) else number
            (own / f"{name}{clip}.mp4").write_text(f"{who} {10 * number + clip}")
    (tmp_path / "clips" / "Ada" / "Ada4.mp4").touch()
    (tmp_path / "clips" / "Ada" / ".hidden").touch()
    return tmp_path / "clips"


@pytest.fixture
def consent() -> Consent:
    return make_consent()


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(Settings(tmp_path / "data")) as opened:
        yield opened


def extract(folder: Path, consent: Consent) -> tuple[ExtractedSamples, Planted]:
    embedder = Planted()
    return extract_samples(list_clips(folder), lambda: embedder, consent, folder.parent / "seen"), embedder


def test_a_folder_and_a_list_name_the_same_clips(folder: Path, tmp_path: Path) -> None:
    found = list_clips(folder)
    assert [one.path.name for one in found if one.speaker == "Ada"] == [f"Ada{i}.mp4" for i in range(5)]
    lines = [f"{one.path},real,{one.speaker},day 1" for one in found]
    fake = f"{found[0].path},fake,Ada,day 1"
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,speaker,session", *lines, fake]))
    listed = list_clips(tmp_path / "clips.csv")
    assert [(one.speaker, one.path) for one in listed] == [(one.speaker, one.path) for one in found]
    assert {one.session for one in listed} == {"day 1"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="contains no clip"):
        list_clips(tmp_path / "empty")


def test_clips_are_extracted_once_and_unusable_ones_are_listed(folder: Path, consent: Consent) -> None:
    seen, embedder = extract(folder, consent)
    assert embedder.extracted == 9 and {one.name: len(one.samples) for one in seen.people} == {"Ada": 4, "Ben": 4}
    assert [(one.clip, one.reason) for one in seen.skipped] == [("Ada4.mp4", "The file is empty.")]
    again, embedder = extract(folder, consent)
    assert embedder.extracted == 0
    assert [one.source_name for one in again.people[1].samples] == [f"Ben{i}.mp4" for i in range(4)]
    assert again.people[0].samples[0].consent == consent


def test_dry_run_writes_nothing_and_finds_the_outlier(folder: Path, consent: Consent, gallery: Gallery) -> None:
    people = extract(folder, consent)[0].people
    tried = check_people(gallery, people)
    assert tried["Ada"].accepted.all() and tried["Ben"].accepted.tolist() == [True, True, True, False]
    assert tried["Ben"].rejections[0].reason == "OUTLIER" and gallery.speakers() == []


def test_who_is_enrolled_is_found_again_by_every_accepted_clip(
    folder: Path, consent: Consent, gallery: Gallery
) -> None:
    people = extract(folder, consent)[0].people
    done = enrol_people(gallery, people, consent)
    assert list(describe_enrolments(done)) == ["Ada: 4 clips enrolled, 0 left out", "Ben: 3 clips enrolled, 1 left out"]
    found = search_enrolled(gallery, people, done)
    assert len(found) == 7 and all(one.is_found for one in found)
    again = enrol_people(gallery, people, consent)  # the same files
    assert all(isinstance(one, EnrolmentRefused) for one in again.values())
    assert "Ada: not enrolled." in next(describe_enrolments(again)) and search_enrolled(gallery, people, again) == []


def test_table_and_figure_mark_the_outlier(folder: Path, consent: Consent) -> None:
    people = extract(folder, consent)[0].people
    shown = StringIO()
    Console(width=200, file=shown).print(tabulate_quality(people))
    rows = [line.split() for line in shown.getvalue().splitlines() if ".mp4" in line]
    like = {row[1]: float(row[-1]) for row in rows}
    assert like["Ben3.mp4"] < 0.3 and min(value for name, value in like.items() if name != "Ben3.mp4") > 0.5
    names, similarities = compare_clips(people)
    assert names[0] == "Ada: Ada0.mp4" and similarities.shape == (8, 8)
    figure = plot_similarities(names, similarities)
    assert np.allclose(np.diag(np.array(figure.data[0].z)), 1.0, atol=1e-3) and figure.data[0].z[7][6] < 0.5
