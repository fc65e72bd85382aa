"""Scorers select their inputs, score them in their mode, and agree between rows and embeddings; model agreement."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.consistency import scorers
from engine.consistency.methods import TITLES
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import PLAIN_MEAN, Consistency, ConsistencyOptions, measure_consistency
from engine.consistency.scorers import ConsistencyScorer, OpinionOptions, compare_models, load_encoder, locate_model
from engine.consistency.speechforensics import measure_speechforensics
from engine.faces.landmark_features import N_MOTION
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models import avhubert as avhubert_model
from engine.models import compact as compact_model
from engine.models.avhubert import AVHubert, AVHubertConfig
from engine.models.compact import CompactConsistency
from engine.settings import Settings
from engine.types import Mode, Model
from tests.fakes import make_curve

SMALL = AVHubertConfig(layers=1, width=64, ffn=32, heads=1, trunk=(2, 2, 2, 2))
N_FRAMES = 60


@pytest.fixture(scope="module")
def avhubert() -> AVHubert:
    torch.manual_seed(0)
    return AVHubert(SMALL).eval()


@pytest.fixture(scope="module")
def compact() -> CompactConsistency:
    torch.manual_seed(0)
    return CompactConsistency(1).eval()


@pytest.fixture(scope="module")
def seen() -> ClipFeatures:
    """A face from frame 5 on, in a clip with ten mute frames at the end."""
    rng = np.random.default_rng(0)
    length, present = N_FRAMES - 5, np.arange(N_FRAMES) < N_FRAMES - 10
    face = FaceFeatures(
        start=5,
        lips=rng.normal(size=(length, 130)).astype(np.float32),
        seen=rng.random(length) > 0.1,
        gap=rng.random(length).astype(np.float32),
        face_px=120.0,
        thumbnail=np.zeros((96, 96, 3), np.uint8),
        motion=np.zeros((length, N_MOTION), np.float32),
        mouths=rng.integers(0, 256, (length, 96, 96), np.uint8),
    )
    rows, filterbank = (rng.normal(size=(N_FRAMES, width)).astype(np.float32) for width in (160, 104))
    heard = AudioFeatures(rows, present, present, -20.0, filterbank)
    first = rng.integers(0, 256, (N_FRAMES, 96, 96), np.uint8)
    return ClipFeatures("a.mp4", "ab" * 32, N_FRAMES, (640, 480), 25.0, (), heard, (face,), (), {}, first)


def test_each_model_selects_its_inputs(compact: CompactConsistency, avhubert: AVHubert, seen: ClipFeatures) -> None:
    (face,) = seen.tracks
    lips, mel = ConsistencyScorer(Model.COMPACT, compact, "").select_inputs(face, seen.audio)
    assert lips is face.lips
    np.testing.assert_array_equal(mel, seen.audio.rows[5:])
    mouths, filterbank = ConsistencyScorer(Model.AVHUBERT_BASE, avhubert, "").select_inputs(face, seen.audio)
    assert mouths is face.mouths and seen.audio.filterbank is not None
    np.testing.assert_array_equal(filterbank, seen.audio.filterbank[5:])
    assert [SPECS[model].needs_mouths for model in Model] == [False, True, True]


@pytest.mark.parametrize("lacking", ["mouths", "filterbank"])
def test_features_without_mouth_crops_are_refused(avhubert: AVHubert, seen: ClipFeatures, lacking: str) -> None:
    face, heard = seen.tracks[0], seen.audio
    if lacking == "mouths":
        face = replace(face, mouths=None)
    else:
        heard = replace(heard, filterbank=None)
    with pytest.raises(ValueError, match="no mouth crops"):
        ConsistencyScorer(Model.AVHUBERT_BASE, avhubert, "").select_inputs(face, heard)


@pytest.mark.parametrize("model", [Model.COMPACT, Model.AVHUBERT_BASE])
def test_streams_embedded_whole_may_differ_in_length(
    model: Model, seen: ClipFeatures, request: pytest.FixtureRequest
) -> None:
    encoder = request.getfixturevalue(model.split("-")[0])
    face, sound = ConsistencyScorer(model, encoder, "").select_inputs(seen.tracks[0], seen.audio)
    lips, speech = encoder.embed_whole(face, sound[:-7])
    assert (len(lips), len(speech)) == (len(face), len(sound) - 7)
    together = encoder.encode(face, sound[: len(face)])
    unit = lips / np.linalg.norm(lips, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, together.lips, atol=1e-5)


def test_strict_compares_every_face_by_its_real_frames(avhubert: AVHubert, seen: ClipFeatures) -> None:
    scorer = ConsistencyScorer(Model.AVHUBERT_BASE, avhubert, "", Mode.STRICT, PLAIN_MEAN)
    (face,) = scorer.choose_faces(seen)
    assert face is seen.tracks[0]
    evidence = scorer.find_evidence(seen, face)
    np.testing.assert_array_equal(evidence.lips, face.seen)
    np.testing.assert_array_equal(evidence.speech, np.arange(5, N_FRAMES) < N_FRAMES - 10)
    rows = scorer.select_inputs(face, seen.audio)
    wanted = measure_consistency(avhubert.encode(*rows), evidence, PLAIN_MEAN)
    found = scorer.measure(seen, face)
    assert found is not None and wanted is not None
    assert found.score == wanted.score and found.windows[0].start_s == 0.2
    assert scorer.compare(scorer.encode(*rows), evidence) == (wanted.score, round(wanted.offset_s * 25))


def test_paper_compares_one_face_whole_as_far_as_the_sound_goes(avhubert: AVHubert, seen: ClipFeatures) -> None:
    scorer = ConsistencyScorer(Model.AVHUBERT_BASE, avhubert, "", Mode.PAPER)
    (face,) = scorer.choose_faces(seen)
    assert (face.start, face.end) == (0, N_FRAMES) and face.mouths is seen.first_mouths
    assert seen.audio.filterbank is not None and seen.first_mouths is not None
    picture, sound = avhubert.features(seen.first_mouths, seen.audio.filterbank[:-10], chunk=None)
    wanted = measure_speechforensics(picture, sound)
    found = scorer.measure(seen, face)
    assert found is not None and found.score == pytest.approx(wanted.score, abs=1e-6)
    assert found.windows == () and len(found.curve.offsets_s) == 31


def test_paper_compares_what_is_encoded_as_it_measures(compact: CompactConsistency, seen: ClipFeatures) -> None:
    everywhere = replace(seen, audio=replace(seen.audio, present=np.ones(N_FRAMES, bool)))
    scorer = ConsistencyScorer(Model.COMPACT, compact, "", Mode.PAPER)
    (face,) = scorer.choose_faces(everywhere)
    found = scorer.measure(everywhere, face)
    encoded = scorer.encode(*scorer.select_inputs(face, everywhere.audio))
    compared = scorer.compare(encoded, scorer.find_evidence(everywhere, face))
    assert found is not None and compared is not None
    assert compared == (pytest.approx(found.score, abs=1e-6), round(found.offset_s * 25))


def test_missing_sound_gives_no_comparison(compact: CompactConsistency, seen: ClipFeatures) -> None:
    mute = replace(seen, audio=replace(seen.audio, present=np.zeros(N_FRAMES, bool)))
    for mode in Mode:
        scorer = ConsistencyScorer(Model.COMPACT, compact, "", mode)
        (face,) = scorer.choose_faces(mute)
        assert scorer.measure(mute, face) is None
        encoded = scorer.encode(*scorer.select_inputs(face, mute.audio))
        assert scorer.compare(encoded, scorer.find_evidence(mute, face)) is None


def test_what_was_fitted_to_the_compact_model_is_for_it_alone() -> None:
    assert SPECS[Model.COMPACT].options == ConsistencyOptions()
    for model in (Model.AVHUBERT_BASE, Model.AVHUBERT_LARGE):
        options = SPECS[model].options
        assert (options.baseline_share, options.overlap_power) == (0.0, 0.0)
        assert options.wide_offset == options.max_offset == 15


def test_each_model_is_loaded_by_its_own_loader(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(
        scorers.registry, "locate_accepted", lambda weight, folder: asked.append((weight.name, folder)) or tmp_path
    )
    monkeypatch.setattr(compact_model, "load_compact", lambda path, device: ("compact net", device))
    monkeypatch.setattr(avhubert_model, "load_avhubert", lambda path, device: ("av net", device))
    settings = Settings(tmp_path, device="cpu")
    nets = [load_encoder(model, locate_model(model, tmp_path), settings) for model in Model]
    assert asked == [("compact", tmp_path), ("avhubert_base", tmp_path), ("avhubert_large", tmp_path)]
    assert nets == [("compact net", "cpu"), ("av net", "cpu"), ("av net", "cpu")]


MODELS = (Model.COMPACT, Model.AVHUBERT_LARGE)


def found(prominence: float, offset: int = 0, score: float = 0.5) -> Consistency:
    return Consistency(score, offset / 25, score, 0.0, None, prominence, make_curve(offset, score), ())


def agrees(first: Consistency, second: Consistency) -> bool:
    return compare_models(first, second, MODELS, OpinionOptions()).agrees


@pytest.mark.parametrize("apart", [0, 1, 3, -3])
def test_two_clear_peaks_near_each_other_agree(apart: int) -> None:
    assert agrees(found(6.0, 2), found(5.0, 2 + apart))


@pytest.mark.parametrize("apart", [4, -4, 20])
def test_two_clear_peaks_apart_contradict_each_other(apart: int) -> None:
    result = compare_models(found(6.0, 0), found(5.0, apart), MODELS, OpinionOptions())
    assert not result.agrees and f"{abs(apart) / 25:.2f} s apart" in result.text


@pytest.mark.parametrize(("first", "second", "clear", "other"), [(6, 1, 0, 1), (0.5, 4.0, 1, 0)])
def test_one_clear_and_one_clearly_not_contradict_each_other(first, second, clear, other) -> None:
    result = compare_models(found(first), found(second, 9), MODELS, OpinionOptions())
    assert not result.agrees
    assert (
        f"For {TITLES[MODELS[clear]]} the sound fits clearly" in result.text
        and f"for {TITLES[MODELS[other]]} it fits at none" in result.text
    )


@pytest.mark.parametrize(("first", "second"), [(3.99, 0.0), (4.0, 2.5), (3.0, 3.0), (0.0, 1.0)])
def test_prominence_between_bounds_gives_no_verdict(first: float, second: float) -> None:
    assert agrees(found(first, 0), found(second, 12)) and agrees(found(second, 12), found(first, 0))


def test_scores_are_not_compared() -> None:
    assert agrees(found(6.0, score=0.9), found(6.0, score=0.05))


def test_bounds_are_those_of_the_options() -> None:
    strict = replace(OpinionOptions(), max_apart_frames=0)
    assert not compare_models(found(6.0, 0), found(6.0, 1), MODELS, strict).agrees
