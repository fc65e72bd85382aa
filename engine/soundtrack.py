"""The sound of a file as 16 kHz mono, every stretch of it where its presentation time puts it.

Time is never invented: what the file leaves out stays out, as zeros that are marked, and what comes late comes late.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from engine._torchaudio import torchaudio
from engine.errors import MediaTooLarge
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

JUMP_S = 0.02  # timestamps off by less than half a frame are rounding, not a gap
BLOCK_S = 10  # of source sound resampled at once
PRESENT_SHARE = 0.95  # of a frame's samples; 2 ms are left to timestamps that are rounded to 1 ms
MAX_SOURCE_RATE = 192_000
MAX_PERIOD = 2000  # the exact resampler's filters grow with rate / gcd(rate, 16000)
SAFE_RATE = 48_000  # what rarer source rates are brought to first

# ITU-R BS.775: front channels before the surround ones, the low-frequency effects left out.
SIDE_WEIGHT, SURROUND_WEIGHT = math.sqrt(0.5), 0.5
CHANNEL_WEIGHTS = {"FC": 1.0, "FL": SIDE_WEIGHT, "FR": SIDE_WEIGHT, "LFE": 0.0, "LFE2": 0.0}


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


def mix_down(channels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """One channel of (C, n) float32: the weighted mean, so that it never exceeds full scale.

    `names` are FFmpeg's: FL, FR, FC, LFE, BL, BR, SL, SR ... A lone or unnamed channel counts as a front one.
    """
    weights = np.array([CHANNEL_WEIGHTS.get(name, SURROUND_WEIGHT) for name in names], np.float32)
    if len(channels) == 1 or weights.sum() == 0:
        weights = np.ones(len(channels), np.float32)
    mono: np.ndarray = (weights / weights.sum()) @ channels
    return mono


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


class SoundReader:
    """Collects the stretches of one audio stream, packet by packet."""

    def __init__(self, max_duration_s: float):
        self.damaged = False  # a packet is incomplete or could not be decoded
        self._max_samples = int((max_duration_s + 1) * SAMPLE_RATE)
        self._n_samples = 0
        self._stretches: list[Stretch] = []
        self._shape: tuple[str, str, int] | None = None
        self._converter: AudioResampler | None = None
        self._resampler: BlockResampler | None = None
        self._rate = 0
        self._start_s = 0.0
        self._heard = 0  # samples at the source's rate since `_start_s`; 0: no stretch is open
        self._blocks: list[np.ndarray] = []

    def add(self, packet: "Packet[AudioStream]") -> None:
        """Decode a packet; the empty packet at the end flushes the decoder.

        Raises MediaTooLarge as soon as more sound than allowed was decoded, whatever the header says.
        """
        self.damaged = self.damaged or packet.is_corrupt
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self.damaged = True
            return
        for frame in frames:
            for channels in self._convert(frame):
                self._append(channels)

    def finish(self) -> tuple[Stretch, ...]:
        """All stretches, in the order of the file."""
        self._end_stretch()
        return tuple(self._stretches)

    def _convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """The same sound as planar float32 at a rate the exact resampler can serve."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or shape != self._shape:
            self._end_stretch()
            rate = frame.sample_rate
            exact = rate <= MAX_SOURCE_RATE and rate // math.gcd(rate, SAMPLE_RATE) <= MAX_PERIOD
            self._rate = rate if exact else SAFE_RATE
            self._shape, self._converter = shape, AudioResampler("fltp", frame.layout, self._rate)
            self._resampler = BlockResampler(self._rate)
        yield from self._converter.resample(frame)

    def _append(self, frame: AudioFrame) -> None:
        assert self._resampler is not None
        expected_s = self._start_s + (self._heard / self._rate)
        time_s = expected_s if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self._heard == 0 or abs(time_s - expected_s) > JUMP_S:
            self._end_stretch()
            self._start_s = time_s
        mono = mix_down(frame.to_ndarray(), tuple(channel.name for channel in frame.layout.channels))
        self._heard += len(mono)
        self._keep(self._resampler.feed(mono))

    def _end_stretch(self) -> None:
        if self._resampler is not None and self._heard:
            self._keep([self._resampler.finish()])
            self._stretches.append(Stretch(self._start_s, np.concatenate(self._blocks)))
            self._start_s += self._heard / self._rate
        self._blocks, self._heard = [], 0

    def _keep(self, blocks: list[np.ndarray]) -> None:
        self._blocks += blocks
        self._n_samples += sum(len(block) for block in blocks)
        if self._n_samples > self._max_samples:
            allowed_s = self._max_samples / SAMPLE_RATE - 1
            raise MediaTooLarge(
                f"The sound is longer than the {allowed_s:.0f} seconds allowed.", "Cut the video into shorter parts."
            )
