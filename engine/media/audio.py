"""Resample decoded audio to 16 kHz mono and place each segment by its presentation time.

Gaps and late starts of a file are kept: missing audio becomes zeros and is marked as absent.

This module alone imports torchaudio: `from engine.media.audio import torchaudio`. The published torchaudio 2.11 wheel
links its compiled extension against CUDA; with a CPU build of torch the extension cannot be loaded and the whole import
fails, although nearly all of torchaudio is plain torch. The extension is then declared absent, as in a torchaudio built
without it: `forced_align`, `rnnt_loss` and the CUDA CTC decoder are lost, the rest works. This depends on a private
module name of torchaudio 2.11, the pinned and last release.
"""

import functools
import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine.errors import Code
from engine.media.scan import AudioChunk
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

__all__ = ["torchaudio"]


def _refuse_alignment(function: Callable[..., Any]) -> Callable[..., Any]:
    """Replace torchaudio's decorator of the same purpose; the error names the remedy."""

    @functools.wraps(function)
    def refuse(*_args: object, **_options: object) -> None:
        raise RuntimeError(
            f"torchaudio's {function.__name__} needs its compiled extension; install a CUDA build of torch"
        )

    return refuse


def _make_absent_extension() -> types.ModuleType:
    module = types.ModuleType("torchaudio._extension")
    module.__dict__.update(
        __path__=[],
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=_refuse_alignment,
    )
    return module


def _remove_partial_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]


try:
    import torchaudio
except (OSError, RuntimeError):  # CUDA libraries are missing, or of another version than those of torch
    _remove_partial_import()
    sys.modules["torchaudio._extension"] = _make_absent_extension()
    import torchaudio


BLOCK_S = 10  # source audio resampled at once
PRESENT_SHARE = 0.95  # of the samples of a frame; timestamps are rounded to 1 ms, so 2 ms may be missing


@dataclass(frozen=True, slots=True, eq=False)
class AudioSegment:
    """Audio without a gap in its timestamps."""

    start_s: float  # on the clock of the container
    samples: np.ndarray  # (n,) float32, 16 kHz mono

    @property
    def end_s(self) -> float:
        """End on the clock of the container, in seconds."""
        return self.start_s + len(self.samples) / SAMPLE_RATE


RunSegment = tuple[int, AudioSegment]
"""A segment and the number of its run of timestamps, see `scan.TrackScan`."""


def place_audio(segments: tuple[AudioSegment, ...], zero_s: float, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the audio on the media clock, (640 T,) float32 in [-1, 1], and (T,) bool: the frame has audio throughout.

    `zero_s` is the container time of the first frame; audio before it or after the last frame is dropped.
    """
    length = n_frames * SAMPLES_PER_FRAME
    audio, present = np.zeros(length, np.float32), np.zeros(length, bool)
    for segment in segments:
        first = round((segment.start_s - zero_s) * SAMPLE_RATE)
        start, stop = max(first, 0), min(first + len(segment.samples), length)
        if start < stop:
            audio[start:stop] = segment.samples[start - first : stop - first]
            present[start:stop] = True
    share = present.reshape(n_frames, SAMPLES_PER_FRAME).mean(axis=1)
    return np.clip(np.nan_to_num(audio), -1.0, 1.0), share >= PRESENT_SHARE


class BlockResampler:
    """Windowed-sinc resampling of torchaudio to 16 kHz, in blocks: bounded memory, the result of a single pass."""

    def __init__(self, rate: int):
        self._convert = torchaudio.transforms.Resample(rate, SAMPLE_RATE)
        common = math.gcd(rate, SAMPLE_RATE)
        self._period, self._n_out = rate // common, SAMPLE_RATE // common  # samples in and out
        reach = (
            2 * self._convert.lowpass_filter_width * max(1.0, rate / SAMPLE_RATE)
        )  # twice the half width of the filter
        self._margin = self._period * math.ceil(reach / self._period)
        self._block = self._period * math.ceil(BLOCK_S * rate / self._period)
        self._before = np.zeros(self._margin, np.float32)
        self._waiting = [np.zeros(0, np.float32)]
        self._n_waiting = 0

    def feed(self, samples: np.ndarray) -> list[np.ndarray]:
        """Add source samples (n,) float32; return the completed blocks at 16 kHz."""
        self._waiting.append(samples)
        self._n_waiting += len(samples)
        if self._n_waiting < self._block + self._margin:
            return []
        samples, done = np.concatenate(self._waiting), []
        while len(samples) >= self._block + self._margin:
            done.append(self._resample(samples[: self._block + self._margin], self._block))
            self._before = samples[self._block - self._margin : self._block]
            samples = samples[self._block :]
        self._waiting, self._n_waiting = [samples], len(samples)
        return done

    def finish(self) -> np.ndarray:
        """Return the remaining block and reset, so that the next samples start a new signal."""
        rest = self._resample(np.concatenate(self._waiting), self._n_waiting)
        self._before = np.zeros(self._margin, np.float32)
        self._waiting, self._n_waiting = [np.zeros(0, np.float32)], 0
        return rest

    def _resample(self, samples: np.ndarray, count: int) -> np.ndarray:
        with torch.inference_mode():
            resampled = self._convert(torch.from_numpy(np.concatenate([self._before, samples]))).numpy()
        skipped = self._margin // self._period * self._n_out
        n_kept = math.ceil(count * self._n_out / self._period)
        block: np.ndarray = resampled[skipped : skipped + n_kept]
        return block


class SegmentBuilder:
    """Resample the chunks of one audio stream and join them into segments."""

    def __init__(self, max_duration_s: float):
        self._max_duration_s = max_duration_s
        self._n_samples = 0
        self._segments: list[RunSegment] = []
        self._resampler: BlockResampler | None = None
        self._rate = 0
        self._start_s, self._run = 0.0, 0
        self._blocks: list[np.ndarray] = []
        self._is_open = False

    def add(self, chunk: AudioChunk) -> None:
        """Add a chunk. Raises TOO_LONG as soon as there is more audio than allowed, whatever the header says."""
        if chunk.starts_s is not None or self._resampler is None:
            self._end_segment()
            self._start_s, self._run = chunk.starts_s or 0.0, chunk.run
            if self._resampler is None or chunk.rate_hz != self._rate:
                self._rate, self._resampler = chunk.rate_hz, BlockResampler(chunk.rate_hz)
        self._is_open = True
        self._keep(self._resampler.feed(chunk.samples))

    def finish(self) -> tuple[RunSegment, ...]:
        """Return all segments in the order of the file."""
        self._end_segment()
        return tuple(self._segments)

    def _end_segment(self) -> None:
        if self._resampler is not None and self._is_open:
            self._keep([self._resampler.finish()])
            self._segments.append((self._run, AudioSegment(self._start_s, np.concatenate(self._blocks))))
        self._blocks, self._is_open = [], False

    def _keep(self, blocks: list[np.ndarray]) -> None:
        self._blocks += blocks
        self._n_samples += sum(len(block) for block in blocks)
        if self._n_samples > int((self._max_duration_s + 1) * SAMPLE_RATE):
            raise Code.TOO_LONG(
                f"The audio is longer than the {self._max_duration_s:.0f} seconds allowed.",
                "Cut the video into shorter parts.",
            )
