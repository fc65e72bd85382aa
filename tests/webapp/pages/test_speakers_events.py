"""Events of the Speakers tab: analyse clips, enrol with consent, list speakers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Code, EngineError
from engine.style.records import choose_speaker
from engine.types import Reason
from gallery_db.records import Basis
from tests.fakes import make_analysis, make_report
from tests.gallery_db.planted import draw_person, embed, enrol_people
from tests.raising import raises
from tests.webapp.jobs.samples import make_result, make_sighting
from tests.webapp.pages.contexts import OWNER, finish_job
from tests.webapp.views.test_analysis import Tags
from webapp.analysis.analyser import AnalysisResult
from webapp.context import AppContext
from webapp.pages import speakers_events
from webapp.pages.speakers_events import ClipState, ConsentForm
from webapp.views import speakers as speaker_views
from webapp.views.plots import plot_speakers

FORM = ConsentForm("consent", "a test of the page", 30, "Grace", True)


def make_person_result(person: int, clip: int, seconds: float = 12.0) -> AnalysisResult:
    """Make a result with one face of a planted speaker."""
    name = f"{person}-{clip}.mp4"
    embedding = embed(draw_person(person), 10 * person + clip, seconds=seconds)
    face = replace(make_sighting(0, name), embedding=embedding, speech_s=seconds, sha256=f"{person:032x}{clip:032x}")
    analysis = make_analysis(make_report(0.6), name=name)
    return AnalysisResult(replace(analysis, sha256=face.sha256), (face,))


def submit_results(context: AppContext, folder: Path, *found: AnalysisResult) -> list[ClipState]:
    jobs = [finish_job(context, folder, one.faces[0].name, found=one, batch="enrol-1") for one in found]
    return speakers_events.read_clips(context, [job.id for job in jobs])


def test_clips_become_jobs_of_one_batch(context: AppContext, tmp_path: Path) -> None:
    paths = []
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(name.encode())
        paths.append(str(tmp_path / name))
    ids = speakers_events.submit_clips(context, OWNER, paths)
    jobs = [context.jobs.get(one) for one in ids]
    assert [job.name for job in jobs] == ["a.mp4", "b.mp4"]
    assert jobs[0].batch == jobs[1].batch and str(jobs[0].batch).startswith("enrol-")
    clips = speakers_events.read_clips(context, ids)
    assert [one.note for one in clips] == ["waiting", "waiting"]
    assert "waiting" in speakers_events.show_table(clips)
    with pytest.raises(EngineError, match="not been analysed yet"):
        speakers_events.take_samples(clips, "")
    with pytest.raises(EngineError, match="No clip was chosen"):
        speakers_events.submit_clips(context, OWNER, [])


def test_speaker_is_enrolled_from_stored_features(context: AppContext, tmp_path: Path) -> None:
    clips = submit_results(context, tmp_path, make_person_result(1, 1), make_person_result(1, 2))
    assert speakers_events.try_enrolment(context, "Ada", clips, "", False).accepted.all()
    assert context.gallery.speakers() == []
    done = speakers_events.enrol(context, "Ada", clips, "monday", FORM, False)
    assert len(done.sample_ids) == 2 and not done.is_limited
    assert "2 clips of Ada were enrolled" in speaker_views.describe_enrolment(done)
    (row,) = speakers_events.list_rows(context)
    assert row[:3] == ["Ada", 2, 24.0] and speakers_events.list_names(context) == ["Ada"]
    shown = speakers_events.show_speaker(context, "Ada")
    assert "1-1.mp4" in shown and "monday" in shown and "a test of the page" in shown
    assert shown.count("data:image/jpeg;base64,") == 2
    assert next(label for label, _ in speakers_events.list_clips(context, "Ada")).endswith("1-1.mp4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_told": False}, "notice was shown"),
        ({"basis": None}, "lacks its basis"),
        ({"purpose": " "}, "lacks its basis, its purpose"),
        ({"term_days": None}, "term"),
        ({"term_days": 4000}, "4000 days"),
    ],
)
def test_nothing_is_kept_without_a_whole_consent(
    context: AppContext, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    clips = submit_results(context, tmp_path, make_person_result(1, 1), make_person_result(1, 2))
    with pytest.raises(EngineError, match=words):
        speakers_events.enrol(context, "Ada", clips, "", replace(FORM, **change), False)  # type: ignore[arg-type]
    assert context.gallery.speakers() == []


def test_of_a_release_the_checksum_is_kept(tmp_path: Path) -> None:
    release = tmp_path / "signed.pdf"
    release.write_bytes(b"signed")
    consent = replace(FORM, release=str(release)).sign()
    assert consent.release_sha256 is not None and len(consent.release_sha256) == 64
    assert consent.basis == Basis.CONSENT and FORM.sign().release_sha256 is None


def test_what_cannot_be_enrolled_says_why_and_the_rest_goes_on(context: AppContext, tmp_path: Path) -> None:
    short, both = (
        make_person_result(1, 3, seconds=0.5),
        make_analysis(make_report(0.05), make_report(0.05), name="two.mp4"),
    )
    two = replace(make_result("two.mp4"), analysis=both, searches=None, verifications=None)
    clips = submit_results(context, tmp_path, make_person_result(1, 1), short, two)
    assert [bool(one.note) for one in clips] == [False, True, True]
    assert "has 0.5 s of speech" in clips[1].note and "none alone is clearly the speaker" in clips[2].note
    assert len(speakers_events.take_samples(clips, "")) == 1
    with pytest.raises(EngineError, match="None of the clips can be enrolled"):
        speakers_events.take_samples(clips[1:], "")


def test_of_several_faces_the_one_whose_mouth_fits_speaks() -> None:
    faces = (make_sighting(0), make_sighting(1))
    clear, dull = make_report(0.6), make_report(0.05)
    assert choose_speaker(faces, lambda: make_analysis(dull, clear)).face == 1
    for reports in ((clear, clear), (dull, dull), (dull, make_report(0.6, 1, Reason.MULTI_FACE))):
        with raises(Code.MANY_FACES):
            choose_speaker(faces, lambda reports=reports: make_analysis(*reports))  # type: ignore[misc]


def test_table_is_searched_and_marks_overdue_speakers(context: AppContext) -> None:
    enrol_people(context.gallery, [1, 2])
    speakers = context.gallery.speakers()
    now = datetime.now(UTC)
    assert len(speaker_views.list_rows(speakers, "", now)) == 2
    (row,) = speaker_views.list_rows(speakers, speakers[0].name.upper(), now)
    assert row[0] == speakers[0].name and row[3] in ("complete", "limited: more clips are asked for")
    late = speaker_views.list_rows(speakers, "", now + timedelta(days=4000))
    assert {row[3] for row in late} == {"overdue: to be forgotten"}


def test_erasing_a_speaker_shows_a_receipt(context: AppContext) -> None:
    enrol_people(context.gallery, [1])
    (one,) = context.gallery.speakers()
    words = Tags(speaker_views.describe_receipt(one.name, context.gallery.forget(one.id))).text
    assert f"{one.name} was forgotten" in words and "Their bytes are gone" in words and "Removed:" in words


def test_the_map_shows_every_clip_by_person(context: AppContext) -> None:
    enrol_people(context.gallery, [1, 2, 3])
    everybody = [(one.name, context.gallery.samples(one.id)) for one in context.gallery.speakers()]
    figure = plot_speakers(everybody)
    assert [trace.name for trace in figure.data] == [name for name, _ in everybody]
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    first, second = (np.stack([trace.x, trace.y], 1) for trace in figure.data[:2])
    assert np.ptp(first, 0).max() < np.abs(first.mean(0) - second.mean(0)).max()


def test_one_clip_alone_can_be_drawn(context: AppContext, tmp_path: Path) -> None:
    speakers_events.enrol(context, "Ada", submit_results(context, tmp_path, make_person_result(1, 1)), "", FORM, False)
    assert len(plot_speakers([("Ada", context.gallery.samples("Ada"))]).data) == 1
