"""Experts read what is theirs, embed it in their mode, and say the same of rows and of their encodings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.consistency import scorers
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import PLAIN_MEAN, ConsistencyOptions, measure_consistency
from engine.consistency.scorers import AVHubertEncoder, CompactEncoder, ConsistencyScorer, load_encoder, locate_model
from engine.consistency.speechforensics import measure_as_paper
from engine.faces.landmark_features import N_MOTION
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models import avhubert as avhubert_model
from engine.models import compact as compact_model
from engine.models.avhubert import AVHubert, AVHubertConfig
from engine.models.compact import CompactConsistency
from engine.settings import Settings
from engine.types import Mode, Model

SMALL = AVHubertConfig(layers=1, width=64, ffn=32, heads=1, trunk=(2, 2, 2, 2))
N_FRAMES = 60


@pytest.fixture(scope="module")
def avhubert() -> AVHubertEncoder:
    torch.manual_seed(0)
    return AVHubertEncoder(AVHubert(SMALL).eval())


@pytest.fixture(scope="module")
def compact() -> CompactEncoder:
    torch.manual_seed(0)
    return CompactEncoder(CompactConsistency(1).eval())


@pytest.fixture(scope="module")
def seen() -> ClipFeatures:
    """A face from frame 5 on, in a clip whose last ten frames are mute."""
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


def test_each_reads_what_is_its_own(compact: CompactEncoder, avhubert: AVHubertEncoder, seen: ClipFeatures) -> None:
    (face,) = seen.tracks
    lips, mel = compact.read(face, seen.audio)
    assert lips is face.lips
    np.testing.assert_array_equal(mel, seen.audio.rows[5:])
    mouths, filterbank = avhubert.read(face, seen.audio)
    assert mouths is face.mouths and seen.audio.filterbank is not None
    np.testing.assert_array_equal(filterbank, seen.audio.filterbank[5:])
    assert [SPECS[model].needs_mouths for model in Model] == [False, True, True]


@pytest.mark.parametrize("lacking", ["mouths", "filterbank"])
def test_an_observation_without_mouths_is_never_read_for_them(
    avhubert: AVHubertEncoder, seen: ClipFeatures, lacking: str
) -> None:
    face, heard = seen.tracks[0], seen.audio
    if lacking == "mouths":
        face = replace(face, mouths=None)
    else:
        heard = replace(heard, filterbank=None)
    with pytest.raises(ValueError, match="were not cut"):
        avhubert.read(face, heard)


@pytest.mark.parametrize("which", ["compact", "avhubert"])
def test_what_is_embedded_whole_may_differ_in_length(
    which: str, seen: ClipFeatures, request: pytest.FixtureRequest
) -> None:
    encoder = request.getfixturevalue(which)
    face, sound = encoder.read(seen.tracks[0], seen.audio)
    lips, speech = encoder.embed_whole(face, sound[:-7])
    assert (len(lips), len(speech)) == (len(face), len(sound) - 7)
    together = encoder.encode(face, sound[: len(face)])
    unit = lips / np.linalg.norm(lips, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, together.lips, atol=1e-5)


def test_strict_compares_every_face_by_its_real_frames(avhubert: AVHubertEncoder, seen: ClipFeatures) -> None:
    expert = ConsistencyScorer(Model.AVHUBERT_BASE, avhubert, "", Mode.STRICT, PLAIN_MEAN)
    (face,) = expert.choose_faces(seen)
    assert face is seen.tracks[0]
    mask = expert.mask(seen, face)
    np.testing.assert_array_equal(mask, face.seen & (np.arange(5, N_FRAMES) < N_FRAMES - 10))
    rows = expert.encoder.read(face, seen.audio)
    wanted = measure_consistency(avhubert.encode(*rows), mask, PLAIN_MEAN)
    found = expert.measure(seen, face)
    assert found is not None and wanted is not None
    assert found.score == wanted.score and found.windows[0].start_s == 0.2
    assert expert.compare(expert.encode(*rows), mask) == (wanted.score, round(wanted.offset_s * 25))


def test_paper_compares_one_face_whole_as_far_as_the_sound_goes(avhubert: AVHubertEncoder, seen: ClipFeatures) -> None:
    expert = ConsistencyScorer(Model.AVHUBERT_BASE, avhubert, "", Mode.PAPER)
    (face,) = expert.choose_faces(seen)
    assert (face.start, face.end) == (0, N_FRAMES) and face.mouths is seen.first_mouths
    assert seen.audio.filterbank is not None and seen.first_mouths is not None
    picture, sound = avhubert.net.features(seen.first_mouths, seen.audio.filterbank[:-10], chunk=None)
    wanted = measure_as_paper(picture, sound)
    found = expert.measure(seen, face)
    assert found is not None and found.score == pytest.approx(wanted.score, abs=1e-6)
    assert found.windows == () and len(found.curve.offsets_s) == 31


def test_paper_compares_what_is_encoded_as_it_measures(compact: CompactEncoder, seen: ClipFeatures) -> None:
    everywhere = replace(seen, audio=replace(seen.audio, present=np.ones(N_FRAMES, bool)))
    expert = ConsistencyScorer(Model.COMPACT, compact, "", Mode.PAPER)
    (face,) = expert.choose_faces(everywhere)
    found = expert.measure(everywhere, face)
    encoded = expert.encode(*expert.encoder.read(face, everywhere.audio))
    compared = expert.compare(encoded, expert.mask(everywhere, face))
    assert found is not None and compared is not None
    assert compared == (pytest.approx(found.score, abs=1e-6), round(found.offset_s * 25))


def test_no_sound_is_nothing_to_compare(compact: CompactEncoder, seen: ClipFeatures) -> None:
    mute = replace(seen, audio=replace(seen.audio, present=np.zeros(N_FRAMES, bool)))
    for mode in Mode:
        expert = ConsistencyScorer(Model.COMPACT, compact, "", mode)
        (face,) = expert.choose_faces(mute)
        assert expert.measure(mute, face) is None
        assert expert.compare(expert.encode(*expert.encoder.read(face, mute.audio)), expert.mask(mute, face)) is None


def test_what_was_fitted_to_the_compact_model_is_for_it_alone() -> None:
    assert SPECS[Model.COMPACT].options == ConsistencyOptions()
    for model in (Model.AVHUBERT_BASE, Model.AVHUBERT_LARGE):
        options = SPECS[model].options
        assert (options.baseline_share, options.overlap_power) == (0.0, 0.0)
        assert options.wide_offset == options.max_offset == 15


def test_each_model_is_loaded_by_its_own_loader(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(
        scorers.weights, "locate_accepted", lambda weight, folder: asked.append((weight.name, folder)) or tmp_path
    )
    monkeypatch.setattr(compact_model, "load_compact", lambda path, device: ("compact net", device))
    monkeypatch.setattr(avhubert_model, "load_avhubert", lambda path, device: ("av net", device))
    settings = Settings(tmp_path, device="cpu")
    nets = [load_encoder(model, locate_model(model, tmp_path), settings).net for model in Model]  # type: ignore[attr-defined]
    assert asked == [("compact", tmp_path), ("avhubert_base", tmp_path), ("avhubert_large", tmp_path)]
    assert nets == [("compact net", "cpu"), ("av net", "cpu"), ("av net", "cpu")]
