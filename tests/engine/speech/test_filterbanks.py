"""Filterbanks: equal to the reference, one row per video frame, independent of blocks."""

from pathlib import Path

import numpy as np
import pytest

from engine.speech import filterbanks
from engine.speech.filterbanks import MEL_BANDS, MEL_FLOOR, STEP, filterbank_rows, log_filterbank, log_mel
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

GOLDEN = Path(__file__).parents[2] / "goldens" / "preprocess.npz"
BOTH = pytest.mark.parametrize("describe", [filterbank_rows, log_mel])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def noise(n_frames: int, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, n_frames * SAMPLES_PER_FRAME)
    return samples.astype(np.float32)  # (N,)


def mel(frequency_hz: float) -> float:
    return 2595 * np.log10(1 + frequency_hz / 700)


def test_log_filterbank_equals_the_reference(golden: dict[str, np.ndarray]) -> None:
    steps = log_filterbank(golden["wav"].astype(np.float32) / 32768)
    assert steps.shape == (129, 26)
    np.testing.assert_allclose(steps, golden["logfbank"], rtol=0, atol=1e-4)


def test_filterbank_rows_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    rows = filterbank_rows(golden["wav"].astype(np.float32) / 32768)
    assert rows.shape == (33, 104)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, golden["audio_input"], rtol=0, atol=1e-4)


@BOTH
@pytest.mark.parametrize("n_frames", [0, 1, 2, 25])
def test_one_row_for_every_video_frame(describe, n_frames: int) -> None:
    rows = describe(noise(n_frames))
    assert rows.shape == (n_frames, {filterbank_rows: 104, log_mel: 160}[describe])
    assert np.isfinite(rows).all()


@BOTH
def test_blocks_do_not_change_the_rows(describe, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = noise(50)
    whole = describe(audio)
    for steps in (4, 28, 200, 204):
        monkeypatch.setattr(filterbanks, "_BLOCK_STEPS", steps)
        np.testing.assert_allclose(describe(audio), whole, rtol=0, atol=1e-5)


@BOTH
def test_the_same_sound_gives_the_same_rows(describe) -> None:
    assert np.array_equal(describe(noise(30)), describe(noise(30)))


@BOTH
def test_a_change_of_sound_stays_near_its_frame(describe) -> None:
    audio, changed = noise(20), noise(20)
    changed[8 * SAMPLES_PER_FRAME : 9 * SAMPLES_PER_FRAME] *= 0.1
    touched = np.flatnonzero(np.abs(describe(audio) - describe(changed)).max(axis=1) > 1e-6)
    assert touched.tolist() == [7, 8, 9]


@pytest.mark.parametrize("step", range(4))
def test_click_appears_in_its_frame_and_step(step: int) -> None:
    audio = np.zeros(20 * SAMPLES_PER_FRAME, np.float32)
    audio[7 * SAMPLES_PER_FRAME + step * STEP + STEP // 2] = 1.0
    loudness = log_mel(audio).reshape(20, 4, MEL_BANDS).mean(axis=2)
    assert np.unravel_index(loudness.argmax(), loudness.shape) == (7, step)


@pytest.mark.parametrize("frequency_hz", [200.0, 1000.0, 4000.0])
def test_tone_appears_in_its_band(frequency_hz: float) -> None:
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    rows = log_mel((0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32))
    low, high = mel(60), mel(7600)
    band = (mel(frequency_hz) - low) / (high - low) * (MEL_BANDS + 1) - 1  # centres lie on 1, 2, ... of 41 steps
    inner = rows[2:-2].reshape(-1, MEL_BANDS)
    assert np.abs(inner.argmax(axis=1) - band).max() <= 1
    # A sine of 0.5 under a Hann window of 400 samples peaks at (0.5 * 200 / 2) ** 2
    assert np.log(0.4 * 50**2) < inner.max() < np.log(2.5 * 50**2)


def test_sound_outside_the_bands_is_ignored() -> None:
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    assert log_mel((0.5 * np.sin(2 * np.pi * 20 * times)).astype(np.float32))[2:-2].mean() < np.log(1e-3)


def test_log_mel_keeps_the_level_and_has_a_floor() -> None:
    audio = noise(20)
    np.testing.assert_allclose(log_mel(4 * audio), log_mel(audio) + np.log(16), atol=1e-3)
    np.testing.assert_allclose(log_mel(0 * audio), np.log(MEL_FLOOR), atol=1e-5)


def test_log_mel_leaves_out_the_rest_of_an_unfinished_frame() -> None:
    audio = noise(4)
    assert np.array_equal(log_mel(audio[:-1]), log_mel(audio[: 3 * SAMPLES_PER_FRAME]))


def test_filterbank_rows_are_invariant_to_gain() -> None:
    audio = noise(20)
    # Except for rounding to 16 bits and the last row, in which the fourth step is padding of the reference.
    np.testing.assert_allclose(filterbank_rows(0.5 * audio)[:-1], filterbank_rows(audio)[:-1], atol=1e-3)


def test_silence_gives_rows_of_zero_whatever_a_decoder_leaves() -> None:
    dither = 1e-6 * noise(10)
    np.testing.assert_allclose(filterbank_rows(dither)[:-1], 0, atol=1e-6)
