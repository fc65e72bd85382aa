"""The sound of a file, packet by packet: decoded and mixed to one channel, with the times at which it begins anew."""

import math
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from engine.limits import check_sound
from engine.scans import SoundPiece, is_exact
from engine.settings import MediaLimits

JUMP_S = 0.02  # timestamps off by less than half a frame are rounding, not a gap
SAFE_RATE = 48_000  # what source rates are brought to first that the exact resampler cannot serve
PIECE = 2**16  # samples handed on at once

# ITU-R BS.775: front channels before the surround ones, the low-frequency effects left out.
SIDE_WEIGHT, SURROUND_WEIGHT = math.sqrt(0.5), 0.5
CHANNEL_WEIGHTS = {"FC": 1.0, "FL": SIDE_WEIGHT, "FR": SIDE_WEIGHT, "LFE": 0.0, "LFE2": 0.0}


def mix_down(channels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """One channel of (C, n) float32: the weighted mean, so that it never exceeds full scale.

    `names` are FFmpeg's: FL, FR, FC, LFE, BL, BR, SL, SR ... A lone or unnamed channel counts as a front one.
    """
    weights = np.array([CHANNEL_WEIGHTS.get(name, SURROUND_WEIGHT) for name in names], np.float32)
    if len(channels) == 1 or weights.sum() == 0:
        weights = np.ones(len(channels), np.float32)
    mono: np.ndarray = (weights / weights.sum()) @ channels
    return mono


class SoundReader:
    """Decodes one audio stream and hands it on in pieces."""

    def __init__(self, hand_on: Callable[[SoundPiece], None], limits: MediaLimits):
        self.damaged = False  # a packet is incomplete or could not be decoded
        self._hand_on, self._limits = hand_on, limits
        self._shape: tuple[str, str, int] | None = None
        self._converter: AudioResampler | None = None
        self._rate = 0
        self._start_s = 0.0
        self._heard = 0  # samples at the source's rate since `_start_s`; 0: no stretch is open
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._is_new = True  # what waits begins a stretch

    def add(self, packet: "Packet[AudioStream]") -> None:
        """Decode a packet; the empty packet at the end flushes the decoder. Raises SOUND_TOO_LARGE."""
        self.damaged = self.damaged or packet.is_corrupt
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.damaged = True
            return
        for frame in frames:
            for channels in self._convert(frame):
                self._append(channels)

    def finish(self) -> None:
        """Hand on what is left."""
        if self._n_waiting:
            starts_s = self._start_s if self._is_new else None
            self._hand_on(SoundPiece(np.concatenate(self._waiting), self._rate, starts_s))
        self._waiting, self._n_waiting, self._is_new = [], 0, False

    def _convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """The same sound as float32 at a rate the exact resampler can serve, its channels interleaved.

        PyAV 18 counts one plane too many of eight, and reads it.
        """
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or shape != self._shape:
            check_sound(frame.layout.nb_channels, frame.sample_rate, self._limits)
            self.finish()
            self._heard = 0
            self._rate = frame.sample_rate if is_exact(frame.sample_rate) else SAFE_RATE
            self._shape, self._converter = shape, AudioResampler("flt", frame.layout, self._rate)
        yield from self._converter.resample(frame)

    def _append(self, frame: AudioFrame) -> None:
        expected_s = self._start_s + (self._heard / self._rate)
        time_s = expected_s if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self._heard == 0 or abs(time_s - expected_s) > JUMP_S:
            self.finish()
            self._start_s, self._heard, self._is_new = time_s, 0, True
        names = tuple(channel.name for channel in frame.layout.channels)
        mono = mix_down(np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(names)).T), names)
        self._heard += len(mono)
        self._waiting.append(mono)
        self._n_waiting += len(mono)
        if self._n_waiting >= PIECE:
            self.finish()
