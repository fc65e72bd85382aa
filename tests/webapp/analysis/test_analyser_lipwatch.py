"""Lip closures of a job: requested, recognised, stored in its folder, read back; errors do no harm."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from engine.consistency.lip_closures import ClosureOutcome
from engine.errors import Code
from engine.features.extractor import FeatureExtractor
from engine.media import clip as media
from engine.reports.json import write_json
from engine.reports.lip_closures import to_json
from engine.speech.phonemes import Sound
from engine.types import Clip
from tests.engine.reports.test_lip_closures import make_report
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth, make_voice
from tests.raising import raises
from tests.webapp.analysis.test_analyser import Examine, data_dir, examine  # noqa: F401 - fixtures
from tests.webapp.jobs.samples import make_result, make_settings, submit
from tests.webapp.pages.contexts import finish_job, open_context
from webapp.analysis.analyser import LipClosureChecker
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.api.schemas import QuestionView
from webapp.bundle.bundle import list_members
from webapp.bundle.contents import collect_contents
from webapp.bundle.signing_key import open_key
from webapp.jobs import files as folders
from webapp.jobs.store import JobStore
from webapp.pages.analyse_events import AnalyseForm
from webapp.views import jobs as job_views

MOUTH = make_mouth(100)
SOUNDS = (Sound("M", 0.4, 0.48), Sound("W", 1.0, 1.16), Sound("B", 3.0, 3.08))
ENGLISH = AnalysisRequest(language="en")


class Ear:
    language = "en"

    def recognise(self, audio: np.ndarray, voiced: np.ndarray, on_step: object) -> tuple[Sound, ...]:
        assert len(audio) == 640 * len(voiced) and np.abs(audio).max() > 0
        return SOUNDS


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> Clip:
    drawn = make_clip([MOUTH, make_mouth(100, 3)], make_voice(MOUTH))
    monkeypatch.setattr(media, "open_clip", lambda *arguments: pytest.fail("the file was opened again"))
    return drawn


def test_every_face_is_compared_with_the_files_own_sound(clip: Clip) -> None:
    seen = FeatureExtractor(FakeNets(), FakeVoice(), "seen").extract_clip(clip, keep_audio=True)  # type: ignore[arg-type]
    loaded: list[str] = []
    checker = LipClosureChecker(lambda language: loaded.append(language) or Ear())  # type: ignore[arg-type,func-returns-value]
    for _ in range(2):
        reports = checker.check(seen, "en")
        recognised = [[Sound(one.sound, one.start_s, one.end_s) for one in report.sounds] for report in reports]
        assert recognised == [list(SOUNDS)] * 2
    assert all(one.outcome != ClosureOutcome.UNSEEN for one in reports[0].sounds)
    assert loaded == ["en"]


def test_features_without_audio_are_refused(clip: Clip) -> None:
    seen = FeatureExtractor(FakeNets(), FakeVoice(), "seen").extract_clip(clip)  # type: ignore[arg-type]
    assert seen.audio.samples is None
    with pytest.raises(ValueError, match="keep_audio"):
        LipClosureChecker(lambda language: Ear()).check(seen, "en")  # type: ignore[arg-type,return-value]


def test_analysis_includes_lip_closures_on_request(examine: Examine, clip: Clip, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr("webapp.analysis.analyser.LipClosureChecker", lambda: LipClosureChecker(lambda language: Ear()))  # type: ignore[arg-type,return-value]
    plain = examine(clip=clip)
    assert (plain.articulations, plain.articulations_error) == (None, None)
    found = examine(ENGLISH, clip)
    assert found.articulations is not None and len(found.articulations) == len(found.analysis.tracks) == 2
    assert to_json(found.articulations)["faces"][0]["both"]["n"] == 3
    assert write_json(to_json(found.articulations)).count('"sound"') == 6


@pytest.mark.parametrize(
    "error", [Code.RECOGNISER_MISSING("None is there.", "Install it."), Code.UNREADABLE_VIDEO("Gone.", "")]
)
def test_missing_lip_closures_leave_other_results_intact(examine: Examine, clip: Clip, monkeypatch, error) -> None:  # noqa: F811
    def fail(language: str) -> Ear:
        raise error

    monkeypatch.setattr("webapp.analysis.analyser.LipClosureChecker", lambda: LipClosureChecker(fail))  # type: ignore[arg-type]
    found = examine(ENGLISH, clip)
    assert found.articulations is None and found.articulations_error == JobError.of(error)
    assert len(found.analysis.tracks) == 2


def test_a_stopped_job_stops_here_too(examine: Examine, clip: Clip, monkeypatch) -> None:  # noqa: F811
    def stop(name: str, completed: int, total: int) -> None:
        if name == "sounds":
            raise InterruptedError

    class Slow(Ear):
        def recognise(self, audio, voiced, on_step):
            on_step("sounds", 0, 1)

    monkeypatch.setattr(
        "webapp.analysis.analyser.LipClosureChecker", lambda: LipClosureChecker(lambda language: Slow())
    )  # type: ignore[arg-type,return-value]
    with pytest.raises(InterruptedError):
        examine(ENGLISH, clip, on_step=stop)


def test_the_folder_keeps_it_as_the_command_line_writes_it(tmp_path: Path) -> None:
    made = replace(make_result(), articulations=(make_report(), make_report(0, 2, 0)))
    folders.write_result(tmp_path, made)
    assert (tmp_path / "phonemes.json").read_text("utf-8") == write_json(to_json(made.articulations or ()))
    found = folders.read_result(tmp_path)
    assert found.articulations == made.articulations and found.articulations_error is None
    folders.clear_results(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_keeps_why_it_is_absent(tmp_path: Path) -> None:
    error = JobError("RECOGNISER_MISSING", "None is there.", "Install it.")
    folders.write_result(tmp_path, replace(make_result(), articulations_error=error))
    found = folders.read_result(tmp_path)
    assert (found.articulations, found.articulations_error) == (None, error)
    assert json.loads((tmp_path / "phonemes.json").read_text("utf-8"))["error"]["code"] == "RECOGNISER_MISSING"


def test_damaged_table_is_reported(tmp_path: Path) -> None:
    folders.write_result(tmp_path, replace(make_result(), articulations=(make_report(),)))
    for content in ("{", '{"faces": [{}]}'):
        (tmp_path / "phonemes.json").write_text(content, "utf-8")
        with raises(Code.REPORT_DAMAGED):
            folders.read_result(tmp_path)


def test_the_question_is_kept_with_the_job_and_another_language_is_refused(tmp_path: Path) -> None:
    store = JobStore.open(make_settings(tmp_path))
    job = submit(store, tmp_path, question=ENGLISH)
    assert store.get(job.id).question.language == "en"
    assert submit(store, tmp_path, "other.mp4").question.language is None
    store.close()
    with raises(Code.LANGUAGE_UNKNOWN):
        AnalysisRequest(language="ar")


def test_the_evidence_bundle_has_it_where_it_was_asked_for(tmp_path: Path) -> None:
    key = open_key(tmp_path / "key")
    store = JobStore.open(make_settings(tmp_path))
    for articulations in (None, (make_report(),)):
        submit(store, tmp_path)
        taken = store.lease("worker")
        assert taken is not None
        assert store.finish(taken.id, "worker", replace(make_result(), articulations=articulations))
        members = list_members(collect_contents(store, taken.id), key)
        asked = articulations is not None
        assert ("phonemes.json" in members) is asked
        assert ("phonemes.json" in members["README.txt"].decode()) is asked
    assert members["phonemes.json"].decode() == write_json(to_json((make_report(),)))
    store.close()


def test_the_form_asks_for_it_only_where_it_is_ticked() -> None:
    assert AnalyseForm(("a.mp4",)).to_request().language is None
    assert AnalyseForm(("a.mp4",), sounds=True).to_request() == ENGLISH


def test_api_accepts_and_returns_only_the_known_language() -> None:
    assert QuestionView(language="en").to_request() == ENGLISH
    assert QuestionView().to_request().language is None
    with pytest.raises(ValidationError):
        QuestionView(language="ar")  # type: ignore[arg-type]


def test_the_download_is_offered_where_it_was_asked_for(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    asked = finish_job(
        context, tmp_path, question=ENGLISH, found=replace(make_result(), articulations=(make_report(),))
    )
    assert "phonemes.json" in job_views.list_downloads(asked)
    assert "phonemes.json" not in job_views.list_downloads(finish_job(context, tmp_path, "other.mp4"))
    context.jobs.close()
    context.gallery.close()
