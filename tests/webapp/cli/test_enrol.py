"""`wayspeak enrol`, `identify` and `verify`: prompts, output, stored records."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.calibration.calibrators import Logistic
from engine.calibration.files import write_record
from engine.calibration.records import (
    Bounds,
    Calibration,
    CalibrationStatus,
    CalibratorKind,
    Counts,
    Policy,
    Task,
    seal,
)
from engine.errors import Code
from engine.features.extractor import FeatureExtractor
from engine.models.dvp import DVP
from engine.settings import Settings
from engine.style.clip_embeddings import ClipEmbedder
from engine.style.embedder import load_dynamics
from engine.style.records import FaceEmbedding
from engine.types import OnStep
from gallery_db import records as notice
from gallery_db.gallery import Gallery
from gallery_db.records import Basis
from tests.engine.style.test_embedder import SIZES, write_weights
from tests.gallery_db.drawn import RECIPE, draw_clips, embed
from tests.webapp.cli.terminals import Run, make_run

CONSENT = ("--basis", "consent", "--purpose", "verification", "--term-days", "365")
PEOPLE = ("ada", "ben", "cem")


def draw_sighting(path: Path, face: int = 0) -> FaceEmbedding:
    """A clip named by its person, a number and what was done to it: `ada1_frozen.mp4`."""
    who, number = path.stem[:3], int(path.stem[3])
    person = np.eye(64, dtype=np.float32)[PEOPLE.index(who)]
    (vector,) = draw_clips(person, 1, np.random.default_rng(100 * PEOPLE.index(who) + number), 0.3)
    digest = f"{PEOPLE.index(who)}{number}".rjust(64, "0")
    picture = np.full((96, 96, 3), 90, np.uint8)
    embedding = replace(embed(vector), is_natural="_frozen" not in path.stem)
    return FaceEmbedding(path.name, digest, face, 1.0, 13.0, 11.0, 120.0, picture, embedding)


class FakeWatcher:
    """Returns the faces that the file name lists."""

    recipe = RECIPE

    def embed_clip(
        self, path: Path, on_step: OnStep = lambda name, completed, total: None
    ) -> tuple[FaceEmbedding, ...]:
        if path.stem.startswith("broken"):
            raise Code.UNREADABLE_VIDEO("The file is empty, wanted a video", "Fetch it again.")
        names = path.stem.split("+")
        return tuple(draw_sighting(path.with_stem(name), face) for face, name in enumerate(names))

    def find_speaker(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> FaceEmbedding:
        found = self.embed_clip(path)
        if len(found) > 1:
            raise Code.MANY_FACES(f"2 faces are seen in {path.name}.", "Cut it.")
        return found[0]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_dir: Path) -> Run:
    monkeypatch.setattr(ClipEmbedder, "load", lambda settings: FakeWatcher())
    return make_run(monkeypatch, capfd)


@pytest.fixture
def enrolled(run: Run) -> Run:
    """A gallery with Ada and Ben in it."""
    for name in ("Ada", "Ben"):
        code, _, err = run("enrol", name, f"{name.lower()}1.mp4", f"{name.lower()}2.mp4", *CONSENT)
        assert (code, err) == (0, "")
    return run


def open_gallery(data_dir: Path) -> Gallery:
    return Gallery.open(Settings(data_dir))


def test_an_enrolment_keeps_samples_and_consent(run: Run, data_dir: Path) -> None:
    options = (*CONSENT, "--collector", "Eve", "--notice", "7", "--session", "monday")
    code, out, err = run("enrol", "Ada", "x/ada1.mp4", "ada2.mp4", *options)
    assert (code, err) == (0, "")
    assert out.startswith("Ada: 2 clips enrolled, 2 clips, 22.0 s in all\n") and "LIMITED" not in out
    with open_gallery(data_dir) as gallery:
        samples = gallery.samples("Ada")
    assert [(one.source_name, one.session, one.embedding.seconds) for one in samples] == [
        ("ada1.mp4", "monday", 11.0),
        ("ada2.mp4", "monday", 11.0),
    ]
    consent = samples[0].consent
    result = (consent.basis, consent.purpose, consent.term_days, consent.notice_version, consent.collector)
    assert result == (Basis.CONSENT, "verification", 365, "7", "Eve")
    assert samples[0].thumbnail is not None and samples[0].thumbnail.startswith(b"\xff\xd8")


@pytest.mark.parametrize("missing", ["--basis", "--purpose", "--term-days"])
def test_without_a_terminal_the_missing_option_is_named_and_nothing_kept(
    run: Run, data_dir: Path, missing: str
) -> None:
    place = CONSENT.index(missing)
    code, out, err = run("enrol", "Ada", "ada1.mp4", *CONSENT[:place], *CONSENT[place + 2 :])
    assert (code, out) == (2, "") and missing in err and err.count("\n") == 1
    assert not data_dir.exists()


def test_on_a_terminal_what_is_missing_is_asked_for_until_it_fits(run: Run, data_dir: Path) -> None:
    answers = ["whim", "research", "a study", "soon", "30"]
    code, out, err = run("enrol", "Ada", "ada1.mp4", "ada2.mp4", answers=answers)
    assert code == 0 and "Ada: 2 clips enrolled" in out
    assert notice.TEXT in err and "'whim' is not valid" in err
    with open_gallery(data_dir) as gallery:
        consent = gallery.samples("Ada")[0].consent
    assert (consent.basis, consent.purpose, consent.term_days) == (Basis.RESEARCH, "a study", 30)
    assert consent.notice_version == notice.VERSION and consent.collector


@pytest.mark.parametrize(("days", "result"), [("0", "1 to 1095"), ("1096", "1 to 1095")])
def test_a_term_beyond_the_law_is_refused(run: Run, days: str, result: str) -> None:
    code, _, err = run("enrol", "Ada", "ada1.mp4", *CONSENT[:4], "--term-days", days)
    assert code == 2 and result in err and "nothing was written" in err


def test_invalid_name_is_refused_before_analysis(run: Run, data_dir: Path) -> None:
    code, _, err = run("enrol", "A\x1bda", "broken.mp4", *CONSENT)
    assert code == 2 and "cannot be a name" in err and not data_dir.exists()


def test_clips_that_cannot_be_used_are_left_out_with_their_reasons(run: Run) -> None:
    clips = ["broken.mp4", "ada1.mp4", "ada1+ben1.mp4", "ada2_frozen.mp4", "ada3.mp4", "ada4.mp4", "cem1.mp4"]
    code, out, _ = run("enrol", "Ada", *clips, *CONSENT)
    assert code == 0 and "Ada: 3 clips enrolled" in out
    for result in (
        "left out: broken.mp4: The file is empty",
        "left out: ada1+ben1.mp4: 2 faces",
        "ada2_frozen.mp4: its motion is not natural",
        "left out: cem1.mp4: it is not like the speaker's other clips",
    ):
        assert result in out


def test_no_clip_that_can_be_used_is_an_error_and_keeps_nothing(run: Run, data_dir: Path) -> None:
    code, out, err = run("enrol", "Ada", "broken.mp4", *CONSENT)
    assert code == 2 and "left out: broken.mp4" in out and "None of 1 clips" in err
    code, out, err = run("enrol", "Ada", "ada1.mp4", "ben1.mp4", *CONSENT)
    assert code == 2 and "DISAGREEMENT" in out and err.count("\n") == 1
    with open_gallery(data_dir) as gallery:
        assert gallery.speakers() == []


def test_duplicate_speaker_under_another_name_is_refused_unless_allowed(enrolled: Run) -> None:
    code, out, _ = enrolled("enrol", "Cem", "ada3.mp4", "ada4.mp4", *CONSENT)
    assert code == 2 and "move like Ada" in out and "DUPLICATE_OF_ANOTHER" in out
    code, out, _ = enrolled("enrol", "Cem", "ada3.mp4", "ada4.mp4", *CONSENT, "--allow-duplicate")
    assert code == 0 and "Cem: 2 clips enrolled" in out and "warning: the clips move like Ada" in out


def test_a_dry_run_writes_nothing(run: Run, data_dir: Path) -> None:
    code, out, _ = run("enrol", "Ada", "ada1.mp4", "ada1.mp4", *CONSENT, "--dry-run")
    assert code == 0 and out.startswith("1 clip of 2 would be enrolled") and "nothing was written" in out
    with open_gallery(data_dir) as gallery:
        assert gallery.speakers() == []


def test_search_prints_candidates_without_naming(enrolled: Run) -> None:
    code, out, err = enrolled("identify", "ada9.mp4", "--reason", "case 12")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "ada9.mp4, face 1, 1.0 to 13.0 s, 11.0 s of speech"
    assert lines[1] == "No speaker is named, of 2 enrolled speakers" and "UNCALIBRATED" in lines[2]
    assert lines[3].startswith("  1. Ada: similarity 0.") and lines[4].startswith("  2. Ben: similarity")
    assert "no proof" in lines[-1] and "%" not in out


def test_every_face_of_a_clip_is_searched_for(enrolled: Run) -> None:
    code, out, _ = enrolled("identify", "ben8+ada9.mp4", "--reason", "case 12", "--k", "1")
    firsts = [line for line in out.splitlines() if line.startswith("  1. ")]
    assert code == 0 and [line[5:8] for line in firsts] == ["Ben", "Ada"] and "face 2" in out


def test_a_search_as_json(enrolled: Run) -> None:
    code, out, _ = enrolled("identify", "ada9.mp4", "--reason", "case 12", "--json")
    result = json.loads(out)
    (face,) = result["faces"]
    assert code == 0 and result["schema_version"] == 1 and result["file"]["name"] == "ada9.mp4"
    assert face["search"]["is_supported"] is None and face["search"]["candidates"][0]["name"] == "Ada"
    assert face["search"]["candidates"][0]["llr"] is None and face["is_natural"] is True


def test_search_requires_reason_before_analysis(enrolled: Run) -> None:
    code, _, err = enrolled("identify", "broken.mp4")
    assert code == 2 and "--reason" in err
    code, out, _ = enrolled("identify", "ada9.mp4", answers=["case 12"])
    assert code == 0 and "1. Ada" in out


def test_unnatural_motion_names_no_candidate(enrolled: Run) -> None:
    code, out, _ = enrolled("identify", "ada9_frozen.mp4", "--reason", "case 12")
    assert code == 0 and "motion not natural" in out and "NOT_NATURAL" in out and "Ada:" not in out


def test_an_empty_gallery_says_so(run: Run) -> None:
    code, out, _ = run("identify", "ada9.mp4", "--reason", "case 12")
    assert code == 0 and "GALLERY_EMPTY: nobody is enrolled" in out


def test_clip_is_verified_against_one_speaker(enrolled: Run) -> None:
    code, out, err = enrolled("verify", "Ada", "ada9.mp4")
    assert (code, err) == (0, "")
    assert "Compared with Ada: similarity 0." in out and "(uncalibrated)" in out and "ada1.mp4 0." in out
    own, other = (
        json.loads(enrolled("verify", "Ada", clip, "--json")[1])["faces"][0]["verification"]["similarity"]
        for clip in ("ada9.mp4", "ben9.mp4")
    )
    assert own > 0.8 > 0.4 > other


def make_calibration(task: Task, threshold: float = 1.0, recipe: str = RECIPE) -> Calibration:
    """A log10 LR of 0 at the similarity 0.5, of 2 at 0.9."""
    plain = Logistic(0.0, 5.0, (), (), (0.5,), (1.0,), (), ())
    return seal(
        Calibration(
            id="",
            version="1.0.0",
            task=task,
            recipe=recipe,
            scored_by="these weights",
            population="people drawn as numbers",
            calibrator=CalibratorKind.LOGISTIC,
            parameters=plain,
            effective_prior=0.5,
            qualities=(),
            bounds=Bounds(-2.0, 2.0, "drawn"),
            bounds_by_length=(),
            policy=Policy(threshold, -1.0, 0.01, 0.05),
            counts=Counts(200, 200, 20, 10, 200, 0, 0),
            metrics=(),
            conformal=None,
            manifest_sha256="ab" * 32,
            code_version="0",
            seed=0,
            author="Ada",
            approver="",
            status=CalibrationStatus.DRAFT,
            created="2026-01-02T03:04:05+00:00",
            supersedes="",
            notebook_sha256="",
            note="",
        )
    )


@pytest.fixture
def calibrations(tmp_path: Path) -> dict[str, Path]:
    """Records as files, by what they are."""
    search, pair = make_calibration(Task.IDENTIFICATION), make_calibration(Task.VERIFICATION)
    strict, other = make_calibration(Task.IDENTIFICATION, 2.5), make_calibration(Task.IDENTIFICATION, 1.0, "other")
    records = {
        "search": search.approve("Ben"),
        "pair": pair.approve("Ben"),
        "strict": strict.approve("Ben"),
        "other": other.approve("Ben"),
        "draft": search,
    }
    paths = {name: tmp_path / f"{name}.json" for name in records}
    for name, record in records.items():
        write_record(record, paths[name])
    return paths


def test_with_calibration_one_or_no_speaker_is_supported(enrolled: Run, calibrations: dict[str, Path]) -> None:
    search = ("identify", "ada9.mp4", "--reason", "case 12", "--calibration")
    code, out, err = enrolled(*search, calibrations["search"])
    assert (code, err) == (0, "")
    assert "Supported, of 2 enrolled speakers: Ada" in out and "UNCALIBRATED" not in out
    assert "times more probable if the first candidate is the person" in out and "log10 likelihood ratio +" in out
    code, out, _ = enrolled("identify", "cem1.mp4", "--reason", "case 12", "--calibration", calibrations["search"])
    assert code == 0 and "None supported, of 2 enrolled speakers" in out
    code, out, _ = enrolled(*search, calibrations["strict"])
    assert code == 0 and "None supported" in out
    code, out, _ = enrolled(*search, calibrations["search"], "--json")
    assert json.loads(out)["faces"][0]["search"]["is_supported"] is True


def test_with_a_calibration_a_verification_is_evidence(enrolled: Run, calibrations: dict[str, Path]) -> None:
    code, out, _ = enrolled("verify", "Ada", "ada9.mp4", "--calibration", calibrations["pair"])
    assert code == 0 and "It is supported that this is Ada: log10 likelihood ratio +" in out
    assert "Reported as supported" in out
    code, out, _ = enrolled("verify", "Ada", "ben9.mp4", "--calibration", calibrations["pair"])
    assert code == 0 and "It is not supported that this is Ada" in out and "Reported as against" in out


def test_a_record_that_is_kept_is_in_force_without_being_asked_for(
    enrolled: Run, calibrations: dict[str, Path]
) -> None:
    code, out, _ = enrolled("identify", "ada9.mp4", "--reason", "case 12")
    assert code == 0 and "UNCALIBRATED" in out and "Calibration" not in out  # what comes along is of another recipe
    enrolled("gallery", "keep", calibrations["draft"], calibrations["search"])
    code, out, _ = enrolled("identify", "ada9.mp4", "--reason", "case 12")
    assert code == 0 and "Supported, of 2 enrolled speakers: Ada" in out
    assert "Calibration 1.0.0" in out and "made by Ada, approved by Ben." in out
    code, out, _ = enrolled("verify", "Ada", "ada9.mp4")
    assert code == 0 and "(uncalibrated)" in out  # none is kept for this task
    code, out, _ = enrolled("identify", "ada9.mp4", "--reason", "case 12", "--calibration", calibrations["strict"])
    assert code == 0 and "None supported" in out  # one that is named wins


@pytest.mark.parametrize(
    ("name", "result"),
    [("draft", "is a draft calibration"), ("pair", "for verification, wanted"), ("other", "of the recipe other")],
)
def test_a_calibration_that_is_not_of_this_is_refused(
    enrolled: Run, calibrations: dict[str, Path], name: str, result: str
) -> None:
    code, out, err = enrolled("identify", "ada9.mp4", "--reason", "x", "--calibration", calibrations[name])
    assert (code, out) == (2, "") and result in err


def test_unknown_speaker_is_reported_before_analysis(enrolled: Run) -> None:
    code, _, err = enrolled("verify", "Zoe", "broken.mp4")
    assert code == 2 and "Zoe" in err and err.count("\n") == 1


def test_a_clip_that_cannot_be_read_is_one_line(enrolled: Run) -> None:
    code, out, err = enrolled("identify", "broken.mp4", "--reason", "case 12")
    assert (code, out) == (2, "") and err == "wayspeak: The file is empty, wanted a video. Fetch it again.\n"


def test_where_json_is_wanted_an_error_is_json_too(enrolled: Run) -> None:
    code, out, err = enrolled("verify", "Zoe", "ada9.mp4", "--json")
    assert code == 2 and json.loads(out)["error"]["code"] == "UNKNOWN_SPEAKER" and err.count("\n") == 1
    code, out, _ = enrolled("identify", "broken.mp4", "--reason", "case 12", "--json")
    assert code == 2 and json.loads(out)["error"]["code"] == "UNREADABLE_VIDEO"


def test_where_the_system_has_no_name_for_the_user_the_collector_is_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", fail)
    code, _, err = run("enrol", "Ada", "ada1.mp4", "ada2.mp4", *CONSENT)
    assert code == 2 and "--collector" in err
    assert run("enrol", "Ada", "ada1.mp4", "ada2.mp4", *CONSENT, "--collector", "Eve")[0] == 0


def test_a_session_of_a_page_is_refused(run: Run) -> None:
    code, _, err = run("enrol", "Ada", "ada1.mp4", *CONSENT, "--session", "x" * 501)
    assert code == 2 and "501 characters" in err


def test_real_extractor_crops_faces_and_has_recipe_of_its_weights(data_dir: Path) -> None:
    torch.manual_seed(0)
    write_weights(data_dir, DVP(SIZES, 1))
    watcher = ClipEmbedder.load(Settings(data_dir))
    assert isinstance(watcher.extractor, FeatureExtractor) and watcher.extractor.cut_faces
    assert watcher.recipe == load_dynamics(Settings(data_dir)).recipe


def test_without_weights_it_is_said_which_are_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_dir: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("engine.weights.registry.SHIPPED", tmp_path / "nowhere")
    code, _, err = make_run(monkeypatch, capfd)("enrol", "Ada", "ada1.mp4", *CONSENT)
    assert code == 2 and "dynamics.safetensors was not found" in err
