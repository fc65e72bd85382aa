"""Features are extracted once for all results; a missing speaker result never blocks the consistency result."""

import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.consistency.lip_closures import ClosureOutcome
from engine.consistency.methods import Method
from engine.errors import Code, EngineError, WeightsMissing
from engine.features import extractor
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures, FaceFeatures
from engine.media import clip as media
from engine.pipeline import Engine
from engine.reports import lip_closures
from engine.reports.json import to_json, write_json
from engine.settings import Settings
from engine.speech.phonemes import Sound
from engine.style.embedder import Nature
from engine.types import Clip, DynamicEmbedding, MediaReport, MediaSelection, Mode, Model, Reason, Status
from gallery_db.database import FILE, FOLDER
from gallery_db.gallery import Gallery
from gallery_db.records import SearchReason
from tests.clips import Film, write_clip
from tests.fakes import FakeEngine, FakeNets, FakeVoice, make_clip, make_mouth, make_scorer, make_voice
from tests.gallery_db.planted import RECIPE, draw_person, embed, enrol_people, make_consent, make_samples
from tests.raising import raises
from webapp.analysis.analyser import Analyser, AnalysisResult, Engines, LipClosureChecker
from webapp.analysis.gallery_queries import GalleryClient
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.analysis.signals import Traces

N_FRAMES = 300
MOUTH = make_mouth(N_FRAMES)
SEARCH = AnalysisRequest(reason="case 12")
ENGLISH = AnalysisRequest(language="en")
SOUNDS = (Sound("M", 0.4, 0.48), Sound("W", 1.0, 1.16), Sound("B", 3.0, 3.08))
Examine = Callable[..., AnalysisResult]


class PlantedEmbedder:
    """Embed every face as planted person 1, except those visible for less than a second."""

    recipe, nature = RECIPE, Nature(0.0, 1.0, 1.0)

    def embed(self, observation: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding | None:
        return embed(draw_person(1), 7) if len(track.seen) >= 25 else None


class CountingExtractor(FeatureExtractor):
    """Count feature extractions."""

    extractions = 0

    def extract(self, *arguments: object, **named: object) -> ClipFeatures:
        CountingExtractor.extractions += 1
        return super().extract(*arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> Examine:
    """Analyse a drawn clip; by default one face and its own voice."""
    CountingExtractor.extractions = 0

    def run(
        question: AnalysisRequest | None = None,
        clip: Clip | None = None,
        embedder: object = None,
        settings: Settings | None = None,
        **steps: object,
    ) -> AnalysisResult:
        drawn = clip or make_clip([MOUTH], make_voice(MOUTH))
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: drawn)
        engine = Engine(CountingExtractor(FakeNets(), FakeVoice(), "seen"), make_scorer(), "fake")  # type: ignore[arg-type]
        engines = Engines(engine, lambda method: pytest.fail("another engine was loaded"))
        client = GalleryClient(settings or Settings(data_dir))
        analyser = Analyser(engines, embedder or PlantedEmbedder(), client, data_dir)  # type: ignore[arg-type]
        try:
            return analyser.analyse(Path("input.bin"), "talk.mp4", question or AnalysisRequest(), **steps)  # type: ignore[arg-type]
        finally:
            client.close()

    return run


@pytest.fixture
def enrolled(data_dir: Path) -> Gallery:
    with Gallery.open(Settings(data_dir)) as gallery:
        enrol_people(gallery, [1, 2])
        yield gallery


def test_nothing_is_asked_of_a_gallery_and_none_is_made(examine: Examine, data_dir: Path) -> None:
    found = examine()
    assert found.analysis.status == Status.EVALUATED and found.analysis.name == "talk.mp4"
    assert (found.searches, found.verifications, found.speakers_error) == (None, None, None)
    assert [one.face for one in found.faces] == [0] and found.faces[0].name == "talk.mp4"
    assert not (data_dir / FOLDER).exists()


def test_one_extraction_serves_both_results(examine: Examine, enrolled: Gallery) -> None:
    first, _ = enrolled.speakers()
    found = examine(AnalysisRequest(reason="case 12", speaker=first.name))
    assert CountingExtractor.extractions == 1 and found.speakers_error is None
    assert found.searches is not None and found.verifications is not None
    (search,), (verification,) = found.searches, found.verifications
    assert search.candidates[0].name == verification.speaker.name == first.name
    assert search.candidates[0].similarity > 0.8 and verification.similarity == search.candidates[0].similarity
    assert found.speaker_ids == (1, 2)


def test_every_face_has_an_answer_of_its_own(examine: Examine, enrolled: Gallery) -> None:
    clip = make_clip([MOUTH, make_mouth(N_FRAMES, 3)], make_voice(MOUTH))
    found = examine(SEARCH, clip)
    assert len(found.analysis.tracks) == len(found.faces) == len(found.searches or ()) == 2


def test_steps_are_reported_and_raising_callback_ends_analysis(examine: Examine, enrolled: Gallery) -> None:
    steps: list[str] = []
    examine(SEARCH, on_step=lambda name, completed, total: steps.append(name))
    assert list(dict.fromkeys(steps)) == ["read", "speech", "faces", "lips", "score", "embed", "search"]

    def stop(name: str, completed: int, total: int) -> None:
        if (name, completed) == ("faces", 10):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        examine(SEARCH, on_step=stop)


def test_without_the_embedder_s_weights_face_and_voice_are_compared(examine: Examine, enrolled: Gallery) -> None:
    for question in (AnalysisRequest(), SEARCH):
        found = examine(question, embedder=WeightsMissing("dynamics.safetensors was not found.", "Restore it."))
        assert found.analysis.status == Status.EVALUATED and (found.faces, found.searches) == ((), None)
        assert found.speakers_error is not None and found.speakers_error.code == "WEIGHTS_MISSING"


def test_an_empty_gallery_says_so(examine: Examine) -> None:
    found = examine(SEARCH)
    assert found.searches is not None and found.searches[0].reasons == (SearchReason.GALLERY_EMPTY,)


def test_unopenable_gallery_is_reported(examine: Examine, data_dir: Path) -> None:
    (data_dir / FOLDER).mkdir(parents=True)
    (data_dir / FOLDER / FILE).write_text("somebody's letter, long enough")
    found = examine(SEARCH)
    assert found.analysis.status == Status.EVALUATED and len(found.faces) == 1
    assert found.speakers_error is not None and found.speakers_error.code == "GALLERY_DAMAGED"
    found = examine(SEARCH, settings=Settings(data_dir, database="postgresql://nobody@127.0.0.1:1/none"))
    assert found.speakers_error is not None and found.speakers_error.code == "GALLERY_UNREACHABLE"


def test_unknown_name_is_reported(examine: Examine, enrolled: Gallery) -> None:
    found = examine(AnalysisRequest(speaker="Zoe"))
    assert found.speakers_error is not None and found.speakers_error.code == "UNKNOWN_SPEAKER"
    assert found.analysis.status == Status.EVALUATED and found.verifications is None


def test_speakers_of_another_recipe_are_reported(examine: Examine, data_dir: Path) -> None:
    with Gallery.open(Settings(data_dir)) as gallery:
        gallery.enrol("Ada", make_samples(1, recipe="other"), make_consent())
    found = examine(SEARCH)
    assert found.speakers_error is not None and found.speakers_error.code == "EMBEDDER_MISMATCH"


def test_clip_without_face_is_reported_by_both_results(examine: Examine) -> None:
    found = examine(SEARCH, make_clip([np.full(N_FRAMES, np.nan)], make_voice(MOUTH)))
    assert (found.analysis.status, found.analysis.reasons) == (Status.NOT_EVALUATED, (Reason.NO_FACE,))
    assert found.speakers_error is not None and found.speakers_error.code == "NOBODY_SEEN"


def test_unavailable_method_is_reported(examine: Examine) -> None:
    with pytest.raises(EngineError, match="is not available"):
        examine(AnalysisRequest(Method(Model.AVHUBERT_LARGE).title))


def test_sound_and_mouth_signals_are_kept_for_display(examine: Examine) -> None:
    traces = examine().traces
    assert isinstance(traces, Traces) and len(traces.faces) == 1 and len(traces.voiced) == N_FRAMES


def test_a_part_keeps_the_times_of_the_recording_everywhere(examine: Examine, enrolled: Gallery) -> None:
    drawn = make_clip([MOUTH], make_voice(MOUTH))
    part = replace(drawn, media=MediaReport(from_s=60.0, to_s=60.0 + drawn.duration_s))
    whole, found = examine(SEARCH, clip=drawn), examine(SEARCH, clip=part)
    assert found.traces is not None and found.traces.start_s == 60.0
    assert [one.start_s - 60.0 for one in found.analysis.tracks] == [one.start_s for one in whole.analysis.tracks]
    assert [one.end_s - 60.0 for one in found.faces] == pytest.approx([one.end_s for one in whole.faces])
    assert found.analysis.media.from_s == 60.0


def test_part_and_sound_reach_the_decoder(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = CountingExtractor.extract
    monkeypatch.setattr(
        CountingExtractor, "extract", lambda self, *arguments: asked.append(arguments[-1]) or real(self, *arguments)
    )
    selection = MediaSelection(60.0, 70.0, 2, "FL")
    examine(AnalysisRequest(selection=selection))
    assert asked == [selection]


def test_the_gallery_is_opened_anew_after_an_error(data_dir: Path) -> None:
    client = GalleryClient(Settings(data_dir))
    with pytest.raises(EngineError, match="Zoe"):
        client.query((), AnalysisRequest(speaker="Zoe"))
    with Gallery.open(Settings(data_dir)) as gallery:
        enrol_people(gallery, [1])
        (only,) = gallery.speakers()
    assert client.query((), AnalysisRequest(reason="x", speaker=only.name)) == ((), ())
    assert client.read_calibrations() == []
    client.close()


def test_the_real_one_gives_what_the_command_line_gives(data_dir: Path, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "talk.mp4", Film(duration_s=1.2))
    analyser = Analyser.load(Settings(data_dir))
    found = analyser.analyse(path.rename(tmp_path / "input.bin"), "talk.mp4", AnalysisRequest())
    path.write_bytes((tmp_path / "input.bin").read_bytes())
    alone = Engine.load(Settings(data_dir)).analyse(path)
    ours, theirs = (json.loads(write_json(to_json(one))) for one in (found.analysis, alone))
    assert ours.pop("timings_s") and theirs.pop("timings_s") and ours == theirs
    assert found.speakers_error is not None and found.speakers_error.code == "NOBODY_SEEN"
    with raises(Code.UNREADABLE_VIDEO):
        analyser.analyse(tmp_path / "gone.bin", "gone.mp4", AnalysisRequest())


LARGE, PAPER = Method(Model.AVHUBERT_LARGE), Method(Model.AVHUBERT_LARGE, Mode.PAPER)


def test_default_engine_is_never_reloaded() -> None:
    default = FakeEngine()
    engines = Engines(default, lambda method: pytest.fail("loaded"))
    assert engines.get(Method()) is default


def test_each_is_loaded_when_first_asked_for_and_kept_until_another_is() -> None:
    loaded: list[Method] = []
    engines = Engines(FakeEngine(), lambda method: loaded.append(method) or FakeEngine())
    for method in (LARGE, LARGE, Method(), LARGE, PAPER, LARGE):
        engines.get(method)
    assert loaded == [LARGE, PAPER, LARGE]


def test_the_last_is_let_go_before_the_next_is_loaded() -> None:
    alive: list[weakref.ref[FakeEngine]] = []

    def load(method: Method) -> FakeEngine:
        gc.collect()
        assert not [engine for engine in alive if engine() is not None]
        engine = FakeEngine()
        alive.append(weakref.ref(engine))
        return engine

    engines = Engines(FakeEngine(), load)
    engines.get(LARGE)
    engines.get(PAPER)
    assert len(alive) == 2


def test_one_that_cannot_be_loaded_leaves_the_default_at_work() -> None:
    def fail(method: Method) -> FakeEngine:
        raise WeightsMissing("gone", "bring it")

    engines = Engines(FakeEngine(), fail)
    for _ in range(2):
        with pytest.raises(WeightsMissing):
            engines.get(LARGE)
    assert engines.get(Method())


class Recogniser:
    language = "en"

    def recognise(self, audio: np.ndarray, voiced: np.ndarray, on_step: object) -> tuple[Sound, ...]:
        assert len(audio) == 640 * len(voiced) and np.abs(audio).max() > 0
        return SOUNDS


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Clip:
    """A clip of two faces, which is not opened again."""
    mouth = make_mouth(100)
    clip = make_clip([mouth, make_mouth(100, 3)], make_voice(mouth))
    monkeypatch.setattr(media, "open_clip", lambda *arguments: pytest.fail("the file was opened again"))
    return clip


def test_every_face_is_compared_with_the_files_own_sound(drawn: Clip) -> None:
    seen = FeatureExtractor(FakeNets(), FakeVoice(), "seen").extract_clip(drawn, keep_audio=True)  # type: ignore[arg-type]
    loaded: list[str] = []
    checker = LipClosureChecker(lambda language: loaded.append(language) or Recogniser())  # type: ignore[arg-type,func-returns-value]
    for _ in range(2):
        reports = checker.check(seen, "en")
        recognised = [[Sound(one.sound, one.start_s, one.end_s) for one in report.sounds] for report in reports]
        assert recognised == [list(SOUNDS)] * 2
    assert all(one.outcome != ClosureOutcome.UNSEEN for one in reports[0].sounds)
    assert loaded == ["en"]


def test_features_without_audio_are_refused(drawn: Clip) -> None:
    seen = FeatureExtractor(FakeNets(), FakeVoice(), "seen").extract_clip(drawn)  # type: ignore[arg-type]
    assert seen.audio.samples is None
    with pytest.raises(ValueError, match="keep_audio"):
        LipClosureChecker(lambda language: Recogniser()).check(seen, "en")  # type: ignore[arg-type,return-value]


def test_analysis_includes_lip_closures_on_request(examine: Examine, drawn: Clip, monkeypatch) -> None:
    monkeypatch.setattr(
        "webapp.analysis.analyser.LipClosureChecker", lambda: LipClosureChecker(lambda language: Recogniser())
    )  # type: ignore[arg-type,return-value]
    plain = examine(clip=drawn)
    assert (plain.articulations, plain.articulations_error) == (None, None)
    found = examine(ENGLISH, drawn)
    assert found.articulations is not None and len(found.articulations) == len(found.analysis.tracks) == 2
    assert lip_closures.to_json(found.articulations)["faces"][0]["both"]["n"] == 3
    assert write_json(lip_closures.to_json(found.articulations)).count('"sound"') == 6


@pytest.mark.parametrize(
    "error", [Code.RECOGNISER_MISSING("None is there.", "Install it."), Code.UNREADABLE_VIDEO("Gone.", "")]
)
def test_missing_lip_closures_leave_other_results_intact(examine: Examine, drawn: Clip, monkeypatch, error) -> None:
    def fail(language: str) -> Recogniser:
        raise error

    monkeypatch.setattr("webapp.analysis.analyser.LipClosureChecker", lambda: LipClosureChecker(fail))  # type: ignore[arg-type]
    found = examine(ENGLISH, drawn)
    assert found.articulations is None and found.articulations_error == JobError.of(error)
    assert len(found.analysis.tracks) == 2


def test_a_stopped_job_stops_here_too(examine: Examine, drawn: Clip, monkeypatch) -> None:
    def stop(name: str, completed: int, total: int) -> None:
        if name == "sounds":
            raise InterruptedError

    class Slow(Recogniser):
        def recognise(self, audio, voiced, on_step):
            on_step("sounds", 0, 1)

    monkeypatch.setattr(
        "webapp.analysis.analyser.LipClosureChecker", lambda: LipClosureChecker(lambda language: Slow())
    )  # type: ignore[arg-type,return-value]
    with pytest.raises(InterruptedError):
        examine(ENGLISH, drawn, on_step=stop)
