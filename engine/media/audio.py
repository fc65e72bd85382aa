"""The sound of a file as 16 kHz mono, every stretch of it where its presentation time puts it.

Time is never invented: what the file leaves out stays out, as zeros that are marked, and what comes late comes late.

The sound of a file, packet by packet: decoded and mixed to one channel, with the times at which it begins anew.

The one place that imports torchaudio: `from engine.media.audio import torchaudio`.

The published torchaudio 2.11 wheel links its compiled extension against CUDA. Beside a CPU build of torch that
extension cannot be loaded, and the import fails as a whole although nearly everything in it is plain torch. Here the
extension is then declared absent, as in a torchaudio built without it. What needs it (`forced_align`, `rnnt_loss`, the
CUDA CTC decoder) is lost, the rest works. This leans on a private module name of torchaudio 2.11, the pinned and last
release.
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
from engine.media.scan import SoundPiece
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

__all__ = ["torchaudio"]


def _refuse_alignment(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stands for torchaudio's own decorator of the same purpose, with a message that names the remedy."""

    @functools.wraps(function)
    def refuse(*_args: object, **_options: object) -> None:
        raise RuntimeError(
            f"torchaudio's {function.__name__} needs its compiled extension; install a CUDA build of torch"
        )

    return refuse


def _absent_extension() -> types.ModuleType:
    module = types.ModuleType("torchaudio._extension")
    module.__dict__.update(
        __path__=[],
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=_refuse_alignment,
    )
    return module


def _forget_partial_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]


try:
    import torchaudio
except (OSError, RuntimeError):  # libraries of CUDA missing, or of another CUDA than torch's
    _forget_partial_import()
    sys.modules["torchaudio._extension"] = _absent_extension()
    import torchaudio


BLOCK_S = 10  # of source sound resampled at once
PRESENT_SHARE = 0.95  # of a frame's samples; 2 ms are left to timestamps that are rounded to 1 ms


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Sound without a break in its timestamps."""

    start_s: float  # on the container's own clock
    samples: np.ndarray  # (n,) float32, 16 kHz mono

    @property
    def end_s(self) -> float:
        """On the container's own clock."""
        return self.start_s + len(self.samples) / SAMPLE_RATE


def place_sound(stretches: tuple[Stretch, ...], zero_s: float, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The sound on the media clock, (640 T,) float32 in [-1, 1], and (T,) bool: is there sound for all of the frame.

    `zero_s` is the container's time of the first picture; sound before it or after the last frame is left out.
    """
    length = n_frames * SAMPLES_PER_FRAME
    audio, present = np.zeros(length, np.float32), np.zeros(length, bool)
    for stretch in stretches:
        first = round((stretch.start_s - zero_s) * SAMPLE_RATE)
        start, stop = max(first, 0), min(first + len(stretch.samples), length)
        if start < stop:
            audio[start:stop] = stretch.samples[start - first : stop - first]
            present[start:stop] = True
    share = present.reshape(n_frames, SAMPLES_PER_FRAME).mean(axis=1)
    return np.clip(np.nan_to_num(audio), -1.0, 1.0), share >= PRESENT_SHARE


class BlockResampler:
    """torchaudio's windowed-sinc resampling to 16 kHz in bounded memory: the same numbers as in one piece."""

    def __init__(self, rate: int):
        self._convert = torchaudio.transforms.Resample(rate, SAMPLE_RATE)
        common = math.gcd(rate, SAMPLE_RATE)
        self._period, self._made = rate // common, SAMPLE_RATE // common  # samples in, samples out
        reach = 2 * self._convert.lowpass_filter_width * max(1.0, rate / SAMPLE_RATE)  # twice the filter's half
        self._margin = self._period * math.ceil(reach / self._period)
        self._block = self._period * math.ceil(BLOCK_S * rate / self._period)
        self._before = np.zeros(self._margin, np.float32)
        self._waiting = [np.zeros(0, np.float32)]
        self._n_waiting = 0

    def feed(self, samples: np.ndarray) -> list[np.ndarray]:
        """The blocks that are now complete."""
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
        """What is left; the next sound fed starts anew."""
        rest = self._resample(np.concatenate(self._waiting), self._n_waiting)
        self._before = np.zeros(self._margin, np.float32)
        self._waiting, self._n_waiting = [np.zeros(0, np.float32)], 0
        return rest

    def _resample(self, samples: np.ndarray, count: int) -> np.ndarray:
        with torch.inference_mode():
            made = self._convert(torch.from_numpy(np.concatenate([self._before, samples]))).numpy()
        skipped = self._margin // self._period * self._made
        wanted = math.ceil(count * self._made / self._period)
        block: np.ndarray = made[skipped : skipped + wanted]
        return block


class StretchBuilder:
    """Collects the stretches of one audio stream, piece by piece, resampled."""

    def __init__(self, max_duration_s: float):
        self._max_duration_s = max_duration_s
        self._n_samples = 0
        self._stretches: list[Stretch] = []
        self._resampler: BlockResampler | None = None
        self._rate = 0
        self._start_s = 0.0
        self._blocks: list[np.ndarray] = []
        self._is_open = False

    def add(self, piece: SoundPiece) -> None:
        """Take one piece. Raises TOO_LONG as soon as there is more sound than allowed, whatever the header says."""
        if piece.starts_s is not None or self._resampler is None:
            self._end_stretch()
            self._start_s = piece.starts_s or 0.0
            if self._resampler is None or piece.rate_hz != self._rate:
                self._rate, self._resampler = piece.rate_hz, BlockResampler(piece.rate_hz)
        self._is_open = True
        self._keep(self._resampler.feed(piece.samples))

    def finish(self) -> tuple[Stretch, ...]:
        """All stretches, in the order of the file."""
        self._end_stretch()
        return tuple(self._stretches)

    def _end_stretch(self) -> None:
        if self._resampler is not None and self._is_open:
            self._keep([self._resampler.finish()])
            self._stretches.append(Stretch(self._start_s, np.concatenate(self._blocks)))
        self._blocks, self._is_open = [], False

    def _keep(self, blocks: list[np.ndarray]) -> None:
        self._blocks += blocks
        self._n_samples += sum(len(block) for block in blocks)
        if self._n_samples > int((self._max_duration_s + 1) * SAMPLE_RATE):
            raise Code.TOO_LONG(
                f"The sound is longer than the {self._max_duration_s:.0f} seconds allowed.",
                "Cut the video into shorter parts.",
            )
