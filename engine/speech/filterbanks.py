"""Audio features with one row per video frame.

`filterbank_rows` is the input of AV-HuBERT, `log_mel` that of the compact model; they never mix. Both work in blocks,
so that memory does not grow with the spectra of a long clip.
"""

import functools
from collections.abc import Iterator

import numpy as np
import torch

from engine.media.audio import torchaudio
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

STEPS_PER_FRAME = 4
STEP = SAMPLES_PER_FRAME // STEPS_PER_FRAME  # 160 samples, 10 ms
WINDOW = 400  # samples, 25 ms
FFT_SIZE = 512

FILTERS = 26
PRE_EMPHASIS = 0.97
LAYER_NORM_EPSILON = 1e-5

MEL_BANDS = 40
MEL_RANGE_HZ = (60.0, 7600.0)
MEL_FLOOR = 1e-6  # power, about -80 dBFS of white noise in one band: differences below it are codec noise

_BLOCK_STEPS = 4 * 1500  # one minute


def filterbank_rows(audio: np.ndarray) -> np.ndarray:
    """Compute AV-HuBERT audio input: log filterbanks of 10 ms steps, stacked by four, each row normalised.

    `audio` is (N,) float in [-1, 1] at 16 kHz; the result is (T, 104) float32 with T = ceil(steps / 4), which is
    N / 640 for a whole number of video frames. Follows facebookresearch/av_hubert `hubert_dataset.py`: zeros fill the
    last row, and layer normalisation over the 104 numbers cancels any gain.
    """
    return normalise_rows(stack_filterbank(audio))


def stack_filterbank(audio: np.ndarray) -> np.ndarray:
    """Return the rows (T, 104) float64 that `filterbank_rows` normalises."""
    steps = log_filterbank(audio)
    steps = np.pad(steps, ((0, -len(steps) % STEPS_PER_FRAME), (0, 0)))
    return steps.reshape(-1, STEPS_PER_FRAME * FILTERS)


def normalise_rows(rows: np.ndarray) -> np.ndarray:
    """Normalise each row (T, 104) to mean 0 and deviation of about 1, float32."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
    return (centred / deviation).astype(np.float32)  # (T, 104)


def log_filterbank(audio: np.ndarray) -> np.ndarray:
    """Compute log filterbank energies (steps, 26) float64, equal to `logfbank` of python_speech_features 0.6.

    The published models read 16-bit samples, so `audio` in [-1, 1] is rounded to 16 bits first: digital silence stays
    the log of the float64 epsilon, whatever residue the decoder leaves.
    """
    if len(audio) == 0:
        return np.zeros((0, FILTERS))
    filters = _triangular_filters()
    blocks = []
    for frames in _windows_of_emphasised(audio):
        power = np.square(np.abs(np.fft.rfft(frames, FFT_SIZE))) / FFT_SIZE  # (steps, 257)
        energy = power @ filters.T  # (steps, 26)
        blocks.append(np.log(np.where(energy == 0, np.finfo(np.float64).eps, energy)))
    return np.concatenate(blocks)


def _windows_of_emphasised(audio: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (steps, 400) float64 windows of the pre-emphasised 16-bit signal; zeros fill the last window."""
    count = 1 + max(0, -(-(len(audio) - WINDOW) // STEP))
    for first in range(0, count, _BLOCK_STEPS):
        steps = min(_BLOCK_STEPS, count - first)
        start, length = first * STEP, (steps - 1) * STEP + WINDOW
        before = audio[start - 1 : start] if start else np.zeros(1, audio.dtype)
        samples = _to_int16_scale(np.concatenate([before, audio[start : start + length]]))
        emphasised = samples[1:] - PRE_EMPHASIS * samples[:-1]
        padded = np.pad(emphasised, (0, length - len(emphasised)))
        yield np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]


def _to_int16_scale(audio: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(audio.astype(np.float64) * 32768), -32768, 32767)


@functools.cache
def _triangular_filters() -> np.ndarray:
    """Return (26, 257) triangles on bins spaced evenly in mel from 0 Hz to 8 kHz, peaks of 1."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    bins = np.floor((FFT_SIZE + 1) * corners_hz / SAMPLE_RATE)
    low, peak, high = bins[:-2, None], bins[1:-1, None], bins[2:, None]
    bin_numbers = np.arange(FFT_SIZE // 2 + 1)
    rising, falling = (bin_numbers - low) / (peak - low), (high - bin_numbers) / (high - peak)
    # The reference fills [low, peak) and [peak, high), which equals these triangles: both sides end in 0 or meet in 1.
    return np.clip(np.minimum(rising, falling), 0, None)


@torch.inference_mode()
def log_mel(audio: np.ndarray) -> np.ndarray:
    """Compute the natural log of the power in 40 mel bands, four 10 ms steps per video frame: (T, 160) float32.

    `audio` is (N,) float in [-1, 1] at 16 kHz, T = N // 640. Row t covers samples [640 t, 640 (t + 1)): its steps are
    centred 5, 15, 25 and 35 ms into the frame, under windows of 25 ms, so it overlaps 7.5 ms of either neighbour.
    Column `40 * step + band`. There is no normalisation over the clip.
    """
    margin = (FFT_SIZE - STEP) // 2  # the transform of a step begins this many samples before the step
    n_frames = len(audio) // SAMPLES_PER_FRAME
    padded = np.pad(audio[: n_frames * SAMPLES_PER_FRAME].astype(np.float32), margin)
    spectrogram = _mel_spectrogram()
    rows = np.empty((n_frames * STEPS_PER_FRAME, MEL_BANDS), np.float32)
    for first in range(0, len(rows), _BLOCK_STEPS):
        last = min(first + _BLOCK_STEPS, len(rows))
        block = torch.from_numpy(padded[first * STEP : last * STEP + 2 * margin])
        rows[first:last] = torch.log(spectrogram(block) + MEL_FLOOR).T.numpy()
    return rows.reshape(n_frames, STEPS_PER_FRAME * MEL_BANDS)


@functools.cache
def _mel_spectrogram() -> torch.nn.Module:
    low, high = MEL_RANGE_HZ
    return torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE, FFT_SIZE, WINDOW, STEP, low, high, n_mels=MEL_BANDS, center=False
    )
