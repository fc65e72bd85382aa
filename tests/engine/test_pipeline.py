from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import pipeline
from engine.consistency.methods import Method
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import PLAIN_MEAN, ConsistencyOptions
from engine.consistency.scorers import ConsistencyScorer, OpinionOptions
from engine.errors import Code, WeightsMissing
from engine.faces.tracking import FaceOptions
from engine.features import extractor
from engine.features.extractor import FeatureExtractor
from engine.features.records import measure_clip, measure_track
from engine.pipeline import Engine, EngineOptions
from engine.reports.json import from_json, to_json
from engine.settings import MediaLimits, Settings
from engine.types import SAMPLES_PER_FRAME, Clip, Frame, Mode, Model, Reason, Status
from engine.weights import registry
from engine.weights.recipes import write_recipe
from tests.fakes import (
    FakeEncoder,
    FakeMouthReader,
    FakeNets,
    FakeVoice,
    make_clip,
    make_mouth,
    make_scorer,
    make_voice,
)
from tests.raising import raises

SECONDS_12 = 300
MOUTH = make_mouth(SECONDS_12)
OTHER = make_mouth(SECONDS_12, seed=1)
FILE = Path("drawn.mp4")


@pytest.fixture
def engine() -> Engine:
    return Engine(FeatureExtractor(FakeNets(), FakeVoice(), "seen"), make_scorer(), "fake")  # type: ignore[arg-type]


@pytest.fixture
def analyse(engine, monkeypatch):
    def run(clip: Clip, **steps):
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)
        return engine.analyse(FILE, **steps)

    return run


@pytest.fixture
def extract(engine, monkeypatch):
    def run(clip: Clip):
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)
        return engine.extract(FILE)

    return run


def _only(analysis):
    (track,) = analysis.tracks
    return track.consistency


@pytest.mark.parametrize("late", [0, 6, -9])
def test_own_voice_is_consistent_at_its_offset(analyse, late):
    analysis = analyse(make_clip([MOUTH], make_voice(MOUTH, late)))

    assert (analysis.status, analysis.reasons) == (Status.EVALUATED, ())
    assert _only(analysis).offset_s == pytest.approx(late / 25)
    assert _only(analysis).score > 0.8
    assert _only(analysis).drift_s == 0
    assert analysis.tracks[0].start_s == 0 and analysis.tracks[0].end_s == 12


def test_voice_of_another_mouth_scores_far_below(analyse):
    own = _only(analyse(make_clip([MOUTH], make_voice(MOUTH))))
    other = _only(analyse(make_clip([MOUTH], make_voice(OTHER))))

    assert other.status in (Status.EVALUATED, Status.LIMITED)
    assert other.score < own.score - 0.5


def test_same_file_gives_the_same_analysis(analyse):
    first, second = (analyse(make_clip([MOUTH], make_voice(MOUTH))) for _ in range(2))

    assert _only(first).score == _only(second).score
    np.testing.assert_array_equal(_only(first).curve.similarity, _only(second).curve.similarity)


def test_windows_lie_on_the_clip_clock(analyse):
    appears = MOUTH.copy()
    appears[:50] = np.nan
    found = analyse(make_clip([appears], make_voice(MOUTH)))

    assert found.tracks[0].start_s == 2.0
    assert _only(found).windows[0].start_s == 2.0
    assert _only(found).windows[-1].end_s <= 12.0
    assert _only(found).offset_s == 0


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (make_clip([MOUTH], None, present=np.zeros(SECONDS_12, bool)), Reason.NO_AUDIO),
        (make_clip([MOUTH], None), Reason.SILENT),
        (make_clip([], make_voice(MOUTH), n_frames=SECONDS_12), Reason.NO_FACE),
        (make_clip([MOUTH[:24]], make_voice(MOUTH[:24])), Reason.TOO_SHORT),
        (make_clip([MOUTH[:37]], make_voice(MOUTH[:37])), Reason.NOT_ENOUGH_SPEECH),
        (make_clip([MOUTH], make_voice(MOUTH), frame_px=90), Reason.LOW_RES),
        (make_clip([np.full(SECONDS_12, 0.3)], make_voice(MOUTH)), Reason.STILL_FACE),
        (make_clip([np.where(np.arange(SECONDS_12) < 170, MOUTH, np.nan)], make_voice(MOUTH)), Reason.FACE_LOST),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_refused_clip_has_its_reason_and_no_score(analyse, clip, reason):
    analysis = analyse(clip)

    assert analysis.status == Status.NOT_EVALUATED
    assert reason in analysis.reasons
    for track in analysis.tracks:
        assert track.consistency.status == Status.NOT_EVALUATED and track.consistency.reasons == (reason,)
        assert track.consistency.score is None and track.consistency.windows == ()


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (make_clip([MOUTH[:38]], make_voice(MOUTH[:38])), Reason.NOT_ENOUGH_SPEECH),
        (make_clip([MOUTH], make_voice(MOUTH), frame_px=190), Reason.LOW_RES),
        (make_clip([MOUTH], make_voice(MOUTH), cuts=[20]), Reason.EDITED),
        (make_clip([MOUTH], make_voice(MOUTH, 15)), Reason.OFFSET_BEYOND_SEARCH),
        (make_clip([MOUTH], make_voice(MOUTH), reasons=(Reason.FPS_VFR,)), Reason.FPS_VFR),
        (make_clip([MOUTH], make_voice(MOUTH), late_reasons=(Reason.TRUNCATED,)), Reason.TRUNCATED),
        (make_clip([MOUTH, OTHER], make_voice((MOUTH + OTHER) / 2)), Reason.MULTI_FACE),
        (make_clip([MOUTH, OTHER], make_voice(make_mouth(SECONDS_12, 5))), Reason.MULTI_FACE),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_limited_clip_has_both_score_and_reason(analyse, clip, reason):
    analysis = analyse(clip)

    assert analysis.status == Status.LIMITED
    assert reason in analysis.reasons
    best = max(analysis.tracks, key=lambda track: track.end_s - track.start_s).consistency
    assert reason in best.reasons and best.score is not None


def test_offset_that_changes_is_drift(analyse):
    drifting = np.concatenate(
        [make_voice(MOUTH)[: 150 * SAMPLES_PER_FRAME], make_voice(MOUTH, 6)[150 * SAMPLES_PER_FRAME :]]
    )
    found = _only(analyse(make_clip([MOUTH], drifting)))

    assert Reason.DRIFT in found.reasons
    assert found.drift_s == pytest.approx(6 / 25)
    assert found.dynamic_score > found.score


def test_speaking_face_of_two_is_identified_without_a_limit(analyse):
    speaker, listener = analyse(make_clip([MOUTH, OTHER], make_voice(MOUTH))).tracks

    assert (speaker.consistency.status, speaker.consistency.reasons) == (Status.EVALUATED, ())
    assert listener.consistency.reasons == (Reason.LISTENER,) and listener.consistency.zone is None
    assert speaker.consistency.score > listener.consistency.score + 0.5


@pytest.mark.parametrize(
    ("n_frames", "reasons"),
    [
        (99, (Reason.NOT_ENOUGH_SPEECH, Reason.MULTI_FACE)),
        (100, (Reason.NOT_ENOUGH_SPEECH,)),
    ],
)
def test_short_speech_names_no_speaker(analyse, n_frames, reasons):
    short = make_clip([MOUTH[:n_frames], OTHER[:n_frames]], make_voice(MOUTH[:n_frames]))
    assert analyse(short).tracks[0].consistency.reasons == reasons


def test_faces_that_speak_come_first_and_refused_ones_last(analyse):
    still = np.full(SECONDS_12, 0.3)
    analysis = analyse(make_clip([still, OTHER, MOUTH], make_voice(MOUTH)))

    assert [track.id for track in analysis.tracks] == [2, 1, 0]
    assert [track.consistency.reasons for track in analysis.tracks] == [
        (),
        (Reason.LISTENER,),
        (Reason.STILL_FACE,),
    ]


@pytest.mark.parametrize("delay", [0, 4])
def test_one_person_shown_twice_is_one_answer(analyse, delay):
    analysis = analyse(make_clip([MOUTH, np.roll(MOUTH, delay)], make_voice(MOUTH)))

    assert (analysis.status, analysis.reasons) == (Status.EVALUATED, ())
    assert {track.id: track.same_as for track in analysis.tracks} == {0: None, 1: 0}
    assert all(track.consistency.score > 0.8 for track in analysis.tracks)


def test_faces_beyond_the_maximum_are_reported(engine, extract):
    engine.extractor.face_options = FaceOptions(max_faces=1)
    analysis = engine.judge(extract(make_clip([MOUTH, OTHER, OTHER], make_voice(MOUTH))))

    assert (analysis.status, analysis.reasons) == (Status.LIMITED, (Reason.FACES_LEFT_OUT,))
    assert analysis.media.faces_left_out == 2 and len(analysis.tracks) == 1


def test_face_turned_away_for_a_second_keeps_its_track(analyse):
    away = MOUTH.copy()
    away[140:165] = np.nan
    analysis = analyse(make_clip([away], make_voice(MOUTH)))

    assert len(analysis.tracks) == 2
    assert Reason.FACE_LOST not in analysis.reasons


def test_share_of_speech_with_a_face_is_taken_within_the_shot(extract):
    first_shot_only = np.where(np.arange(SECONDS_12) < 150, MOUTH, np.nan)
    seen = extract(make_clip([first_shot_only], make_voice(MOUTH), cuts=[150]))

    assert measure_clip(seen).mouth_seen == pytest.approx(0.5)
    assert measure_track(seen, seen.tracks[0]).mouth_seen == 1.0


@pytest.mark.parametrize(
    ("first", "end", "status", "reasons"),
    [
        (0, 0, Status.EVALUATED, ()),
        (30, 42, Status.EVALUATED, ()),
        (37, 300, Status.NOT_EVALUATED, (Reason.OCCLUDED,)),
        (60, 300, Status.LIMITED, (Reason.OCCLUDED, Reason.NOT_ENOUGH_SPEECH)),
        (150, 300, Status.LIMITED, (Reason.OCCLUDED, Reason.NOT_ENOUGH_SPEECH)),
    ],
)
def test_frames_with_a_covered_mouth_are_no_evidence(engine, extract, first, end, status, reasons):
    moved = MOUTH.copy()
    moved[first:end] = OTHER[first:end]  # landmarks on a cover are chance
    seen = extract(make_clip([moved], make_voice(MOUTH)))
    covered = np.zeros(SECONDS_12, bool)
    covered[first:end] = True
    seen = replace(seen, tracks=(replace(seen.tracks[0], covered=covered),))
    found = _only(engine.judge(seen))

    assert (found.status, found.reasons) == (status, reasons)
    assert found.score is None or found.score > 0.7
    assert measure_track(seen, seen.tracks[0]).speech_s == pytest.approx((300 - (end - first)) / 25)


def test_sound_that_is_absent_is_neither_speech_nor_silence(extract):
    present = np.arange(SECONDS_12) >= 100
    seen = extract(make_clip([MOUTH], make_voice(MOUTH) * np.repeat(present, SAMPLES_PER_FRAME), present=present))

    assert measure_track(seen, seen.tracks[0]).speech_s == 8.0
    loud = make_voice(MOUTH)[100 * SAMPLES_PER_FRAME :]
    assert seen.audio.level_dbfs == pytest.approx(10 * np.log10(np.mean(loud.astype(float) ** 2)))


def test_features_are_rescored_without_the_file(engine, extract):
    seen = extract(make_clip([MOUTH], make_voice(MOUTH)))
    strict = replace(engine.options, gates=replace(engine.options.gates, full_face_px=500.0))
    other = Engine(None, make_scorer(), "other", strict)  # type: ignore[arg-type]

    assert engine.judge(seen).status == Status.EVALUATED
    assert (other.judge(seen).status, other.judge(seen).reasons) == (Status.LIMITED, (Reason.LOW_RES,))


@pytest.mark.parametrize(
    ("clip", "refused"),
    [
        (make_clip([MOUTH], make_voice(MOUTH)), False),
        (make_clip([MOUTH, np.full(SECONDS_12, 0.3)], make_voice(MOUTH)), False),
        (make_clip([np.full(SECONDS_12, 0.3)], make_voice(MOUTH)), True),
        (make_clip([MOUTH], None), True),
        (make_clip([], make_voice(MOUTH), n_frames=SECONDS_12), True),
    ],
)
def test_gates_can_refuse_without_scoring(engine, extract, clip, refused):
    seen = extract(clip)
    assert engine.refuses(seen) is refused is (engine.judge(seen).status == Status.NOT_EVALUATED)


def test_each_step_begins_ends_and_is_timed(analyse):
    result: list[tuple[str, int, int]] = []
    analysis = analyse(make_clip([MOUTH], make_voice(MOUTH)), on_step=lambda *step: result.append(step))

    names = list(dict.fromkeys(name for name, _, _ in result))
    assert names == ["read", "speech", "faces", "lips", "score"]
    assert [done for name, done, total in result if name == "faces"] == [*range(SECONDS_12 + 1), SECONDS_12]
    assert list(analysis.timings_s) == [*names, "total"]
    assert analysis.timings_s["total"] == pytest.approx(sum(analysis.timings_s[name] for name in names))


def test_decoder_failure_raises_its_error(engine, monkeypatch):
    def break_off() -> Iterator[Frame]:
        yield Frame(0, np.zeros((64, 64, 3), np.uint8), True)
        raise Code.UNREADABLE_VIDEO("the picture is damaged")

    clip = replace(make_clip([MOUTH], make_voice(MOUTH)), read_frames=break_off)
    monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)

    with raises(Code.UNREADABLE_VIDEO, match="damaged"):
        engine.analyse(FILE)


def test_recipe_changes_with_any_option_and_any_weight(tmp_path):
    one, other = tmp_path / "one.bin", tmp_path / "other.bin"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    options = EngineOptions()
    changed = replace(options, faces=replace(options.faces, max_gap=13))

    recipes = {
        write_recipe([one], options),
        write_recipe([other], options),
        write_recipe([one], changed),
    }
    assert len(recipes) == 3
    assert write_recipe([one], options) == write_recipe([one], EngineOptions())
    assert "one-6b86b273ff34" in write_recipe([one], options)


def test_engine_without_weights_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path)

    with pytest.raises(WeightsMissing, match=r"compact\.safetensors"):
        Engine.load(Settings(tmp_path))


def test_limits_of_the_settings_reach_the_decoder(monkeypatch):
    asked = []
    clip = make_clip([MOUTH[:30]], make_voice(MOUTH[:30]))
    monkeypatch.setattr(
        extractor, "open_clip", lambda path, limits, sha256=None, selection=None: asked.append((path, limits)) or clip
    )
    limits = MediaLimits(max_duration_s=5)
    FeatureExtractor(FakeNets(), FakeVoice(), "seen", limits=limits).extract(FILE)  # type: ignore[arg-type]

    assert asked == [(FILE, limits)]


PAPER = Mode.PAPER


@pytest.fixture
def make_engine(monkeypatch):
    """An engine that reads mouths where its scorer does, in front of a drawn clip."""

    def make(clip: Clip, *scorers: ConsistencyScorer, **options) -> Engine:
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)
        cut_mouths = any(SPECS[scorer.model].needs_mouths for scorer in scorers)
        first, *second = scorers
        loaded = FeatureExtractor(FakeNets(), FakeVoice(), "seen", cut_mouths=cut_mouths)  # type: ignore[arg-type]
        return Engine(loaded, first, "fake", options.get("options"), *second)

    return make


def mouth_reader(mode: Mode = Mode.STRICT) -> ConsistencyScorer:
    return make_scorer(mode, Model.AVHUBERT_BASE, FakeMouthReader())


@pytest.mark.parametrize("mode", Mode)
def test_mouth_crop_model_finds_the_offset_in_either_mode(make_engine, mode):
    analysis = make_engine(make_clip([MOUTH], make_voice(MOUTH, 6)), mouth_reader(mode)).analyse(FILE)

    assert (analysis.model, analysis.mode) == (Model.AVHUBERT_BASE, mode)
    assert _only(analysis).offset_s == pytest.approx(6 / 25)
    assert _only(analysis).score > 0.5
    assert "mouths" in analysis.timings_s


def test_paper_mode_gives_one_face_one_score_and_no_timeline(make_engine):
    appears = MOUTH.copy()
    appears[:50] = np.nan
    small = np.where(np.arange(SECONDS_12) < 60, OTHER, np.nan)
    analysis = make_engine(make_clip([appears, small], make_voice(MOUTH)), make_scorer(PAPER)).analyse(FILE)

    (track,) = analysis.tracks
    assert (track.start_s, track.end_s) == (0.0, 12.0)
    found = track.consistency
    assert found.windows == () and found.curve is not None
    assert (found.dynamic_score, found.drift_s, found.llr) == (None, None, None)
    assert (analysis.status, Reason.MULTI_FACE in analysis.reasons) == (Status.LIMITED, True)


def test_paper_mode_of_a_good_clip_is_evaluated(make_engine):
    analysis = make_engine(make_clip([MOUTH], make_voice(MOUTH)), make_scorer(PAPER)).analyse(FILE)
    assert (analysis.status, analysis.reasons) == (Status.EVALUATED, ())


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (make_clip([MOUTH], None), Reason.SILENT),
        (make_clip([MOUTH[:24]], make_voice(MOUTH[:24])), Reason.TOO_SHORT),
        (make_clip([MOUTH[:37]], make_voice(MOUTH[:37])), Reason.NOT_ENOUGH_SPEECH),
        (make_clip([MOUTH], make_voice(MOUTH), frame_px=90), Reason.LOW_RES),
        (make_clip([np.full(SECONDS_12, 0.3)], make_voice(MOUTH)), Reason.STILL_FACE),
        (make_clip([np.where(np.arange(SECONDS_12) < 170, MOUTH, np.nan)], make_voice(MOUTH)), Reason.FACE_LOST),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_paper_mode_scores_what_gates_would_refuse_and_says_so(make_engine, clip, reason):
    analysis = make_engine(clip, make_scorer(PAPER)).analyse(FILE)

    assert analysis.status == _only(analysis).status == Status.LIMITED
    assert reason in analysis.reasons and reason in _only(analysis).reasons
    assert _only(analysis).score is not None


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (make_clip([MOUTH], None, present=np.zeros(SECONDS_12, bool)), Reason.NO_AUDIO),
        (make_clip([], make_voice(MOUTH), n_frames=SECONDS_12), Reason.NO_FACE),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_paper_mode_needs_a_face_and_a_sound(make_engine, clip, reason):
    analysis = make_engine(clip, make_scorer(PAPER)).analyse(FILE)

    assert (analysis.status, analysis.reasons) == (Status.NOT_EVALUATED, (reason,))
    assert all(track.consistency.score is None for track in analysis.tracks)


def test_paper_mode_resamples_the_picture_to_sound_that_ends_early(make_engine):
    present = np.arange(SECONDS_12) < 270
    voice = make_voice(MOUTH) * np.repeat(present, SAMPLES_PER_FRAME)
    found = _only(make_engine(make_clip([MOUTH], voice, present=present), make_scorer(PAPER)).analyse(FILE))
    strict = _only(make_engine(make_clip([MOUTH], voice, present=present), make_scorer()).analyse(FILE))

    assert found.curve is not None and found.curve.pairs.max() == 270
    assert found.score < 0.6 < 0.8 < strict.score  # stretched, as the reference does


def test_second_model_score_is_reported_with_the_first(make_engine):
    clip = make_clip([MOUTH], make_voice(MOUTH, 2))
    alone = make_engine(clip, make_scorer()).analyse(FILE)
    both = make_engine(clip, make_scorer(), mouth_reader()).analyse(FILE)

    second = _only(both).second
    assert second is not None and second.agrees and second.text
    assert (second.model, second.recipe) == (Model.AVHUBERT_BASE, "fake-avhubert-base")
    assert second.offset_s == pytest.approx(2 / 25)
    assert _only(both).score == _only(alone).score, "the first is never changed by the second"
    assert (both.status, both.reasons) == (Status.EVALUATED, ())
    assert _only(alone).second is None


class Deceived(FakeMouthReader):
    """Sees another person's mouth."""

    def embed_whole(self, face, sound):
        other = (255 * OTHER[: len(face), None, None]).astype(np.uint8)
        return super().embed_whole(np.broadcast_to(other, face.shape), sound)


def test_contradicting_scorers_limit_the_result_and_keep_the_score(make_engine):
    clip = make_clip([MOUTH], make_voice(MOUTH))
    deceived = make_scorer(Mode.STRICT, Model.AVHUBERT_BASE, Deceived())
    wary = EngineOptions(opinions=OpinionOptions(clear=4.0, unclear=3.9))
    found = make_engine(clip, make_scorer(), deceived, options=wary).analyse(FILE)

    assert (found.status, found.reasons) == (Status.LIMITED, (Reason.EXPERTS_DISAGREE,))
    second = _only(found).second
    assert second is not None and not second.agrees
    assert _only(found).score > 0.8 > second.score


def test_refused_face_is_not_scored_by_second_model(make_engine):
    analysis = make_engine(make_clip([MOUTH], None), make_scorer(), mouth_reader()).analyse(FILE)
    assert analysis.status == Status.NOT_EVALUATED and _only(analysis).second is None


def test_bound_of_a_clear_speaker_is_the_compact_models_alone(make_engine):
    clip = make_clip([MOUTH, OTHER], make_voice(MOUTH))
    analysis = make_engine(clip, mouth_reader()).analyse(FILE)

    assert all(Reason.MULTI_FACE in track.consistency.reasons for track in analysis.tracks)


def test_recipes_of_models_modes_and_seconds_differ(monkeypatch, tmp_path):
    files = {}
    for name in ("face", "voice", *Model):
        files[name] = tmp_path / f"{name}.bin"
        files[name].write_text(name)
    loaded = FeatureExtractor(FakeNets(), FakeVoice(), "seen", [files["face"], files["voice"]])  # type: ignore[arg-type]
    cut: list[bool] = []
    monkeypatch.setattr(
        FeatureExtractor,
        "load",
        lambda settings, options, cut_mouths, cut_faces: cut.append(cut_mouths) or loaded,
    )
    monkeypatch.setattr(pipeline, "locate_model", lambda model, folder: files[model])
    encoders = {model: FakeMouthReader() if SPECS[model].needs_mouths else FakeEncoder() for model in Model}
    monkeypatch.setattr(pipeline, "load_encoder", lambda model, file, settings: encoders[model])
    methods = [Method(model, mode) for model in Model for mode in Mode]
    methods.append(Method(second=Model.AVHUBERT_BASE))
    engines = [Engine.load(Settings(tmp_path), method) for method in methods]

    assert len({engine.recipe for engine in engines}) == 7
    assert cut == [False, False, True, True, True, True, True]
    assert all(engine.scorer.mode in engine.recipe.split("+") for engine in engines)
    assert engines[2].scorer.options == PLAIN_MEAN and engines[0].scorer.options == ConsistencyOptions()
    assert engines[-1].second is not None and engines[-1].second.recipe == engines[2].scorer.recipe


def test_tracks_too_short_alone_are_judged_together(analyse):
    mouth = MOUTH[:80].copy()
    mouth[33:47] = np.nan
    analysis = analyse(make_clip([mouth], make_voice(MOUTH[:80])))

    assert [one.consistency.reasons for one in analysis.tracks] == [(Reason.NOT_ENOUGH_SPEECH,)] * 2
    (speaker,) = analysis.speakers
    assert set(speaker.tracks) == {0, 1} and speaker.consistency.offset_s == 0
    assert 1.5 <= speaker.consistency.speech_s <= 66 / 25 and speaker.consistency.score > 0.5
    assert analysis.status == Status.LIMITED and Reason.NOT_ENOUGH_SPEECH in analysis.reasons
    assert from_json(to_json(analysis)).speakers[0].tracks == speaker.tracks


def test_one_track_and_two_faces_seen_together_have_nothing_to_pool(analyse):
    assert analyse(make_clip([MOUTH], make_voice(MOUTH))).speakers == ()
    assert analyse(make_clip([MOUTH, OTHER], make_voice(MOUTH))).speakers == ()
