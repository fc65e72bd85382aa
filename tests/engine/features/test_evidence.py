"""Digital silence, pauses, held pictures and quiet sound, drawn with known frames."""

import numpy as np
import pytest

from engine.features.evidence import (
    MAX_GAIN_DB,
    MAX_PAUSE,
    MIN_FROZEN,
    MIN_MUTED,
    PAUSE_MARGIN,
    find_frozen,
    find_gain,
    find_heard,
    find_muted,
)
from engine.types import SAMPLES_PER_FRAME


def draw_noise(n_frames: int, dbfs: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=n_frames * SAMPLES_PER_FRAME)
    return (noise * 10 ** (dbfs / 20)).astype(np.float32)


@pytest.mark.parametrize("residue", [0.0, 1 / 32768], ids=["zeros", "one step of 16 bits"])
@pytest.mark.parametrize(("length", "is_muted"), [(MIN_MUTED - 1, False), (MIN_MUTED, True), (100, True)])
def test_digital_silence_longer_than_a_closure_is_muted(residue: float, length: int, is_muted: bool) -> None:
    audio = draw_noise(200, -70).reshape(200, -1)
    audio[40 : 40 + length] = residue
    muted = find_muted(audio.reshape(-1))
    assert np.flatnonzero(muted).tolist() == (list(range(40, 40 + length)) if is_muted else [])


def test_long_pause_is_not_heard_but_for_its_ends() -> None:
    voiced = np.ones(400, bool)
    voiced[50 : 50 + MAX_PAUSE - 1] = False
    voiced[200:300] = False
    heard = find_heard(np.ones(400, bool), voiced)
    assert np.flatnonzero(~heard).tolist() == list(range(200 + PAUSE_MARGIN, 300 - PAUSE_MARGIN))


def test_unrecorded_frames_are_never_heard() -> None:
    recorded = np.arange(50) >= 20
    assert np.array_equal(find_heard(recorded, recorded), recorded)


def test_sound_without_any_speech_has_no_pauses() -> None:
    recorded = np.arange(200) >= 20
    assert np.array_equal(find_heard(recorded, np.zeros(200, bool)), recorded)


def draw_face(n_frames: int, motion: float, seed: int = 0) -> np.ndarray:
    """Landmarks (T, 478, 3) of a face 100 px wide that wanders by `motion` px a frame."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(0, 100, (478, 3))
    return (shape + np.cumsum(rng.normal(0, motion, (n_frames, 1, 3)), axis=0)).astype(np.float32)


def test_held_picture_is_frozen_and_filmed_frames_are_not() -> None:
    face = draw_face(200, 0.5)
    face[60:120] = face[60] + np.random.default_rng(1).normal(0, 0.005, (60, 478, 3))  # of the compression
    frozen = np.flatnonzero(find_frozen(face))
    assert abs(frozen[0] - 60) <= 1 and abs(frozen[-1] - 119) <= 1 and len(frozen) == frozen[-1] - frozen[0] + 1


@pytest.mark.parametrize(("length", "is_frozen"), [(MIN_FROZEN - 2, False), (MIN_FROZEN, True)])
def test_repeated_frames_are_frozen_from_half_a_second_on(length: int, is_frozen: bool) -> None:
    face = draw_face(80, 2.0)
    face[30 : 30 + length] = face[30]
    assert find_frozen(face).any() == is_frozen


def test_still_photo_is_frozen_throughout_and_a_short_track_is_not_judged() -> None:
    photo = np.repeat(draw_face(1, 1.0), 100, axis=0)
    assert find_frozen(photo).all()
    assert not find_frozen(photo[: MIN_FROZEN - 1]).any()


@pytest.mark.parametrize("dbfs", [-15.0, -30.0, -44.0])
def test_ordinary_sound_is_not_amplified(dbfs: float) -> None:
    assert find_gain(draw_noise(100, dbfs)) == 1.0


@pytest.mark.parametrize("dbfs", [-50.0, -65.0, -78.0])
def test_quiet_sound_is_raised_to_the_usual_level(dbfs: float) -> None:
    audio = draw_noise(100, dbfs)
    assert 20 * np.log10(find_gain(audio)) == pytest.approx(-20 - dbfs, abs=0.5)
    padded = np.concatenate([audio, np.zeros(3000 * SAMPLES_PER_FRAME, np.float32)])  # two minutes of silence
    assert find_gain(padded) == pytest.approx(find_gain(audio))


def test_gain_is_bounded_and_silence_has_none() -> None:
    assert find_gain(np.zeros(100 * SAMPLES_PER_FRAME, np.float32)) == 1.0
    faint = np.full(100 * SAMPLES_PER_FRAME, 7e-5, np.float32)
    assert 20 * np.log10(find_gain(faint)) <= MAX_GAIN_DB
