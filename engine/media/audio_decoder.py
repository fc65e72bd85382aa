"""Decode one audio track in chunks, with the runs of its timestamps and the power of its channels."""

from collections import deque
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from engine.media.channels import MIX, ChannelMeter, downmix
from engine.media.clock import Run, is_step
from engine.media.limits import check_audio
from engine.media.scan import AudioChunk, is_exactly_resampled
from engine.settings import MediaLimits

JUMP_S = 0.02  # timestamps off by less than half a frame are rounding, not a gap
JITTER_S = 0.5  # timestamps that return within this time are jitter, not a gap
SAFE_RATE = 48_000  # first step for source rates that the exact resampler does not support
CHUNK = 2**16  # samples per chunk

Samples = tuple[np.ndarray, tuple[str, ...]]
"""Samples (C, n) float32 and the names of their channels."""


class AudioDecoder:
    """Decode one audio stream and pass it on in chunks."""

    def __init__(self, on_chunk: Callable[[AudioChunk], None], limits: MediaLimits, track: int = 1, channel: str = MIX):
        self.n_packets = self.n_damaged = 0
        self.meter = ChannelMeter()
        self._on_chunk, self._limits, self._track, self._channel = on_chunk, limits, track, channel
        self._shape: tuple[str, str, int] | None = None
        self._converter: AudioResampler | None = None
        self._rate = 0
        self._runs: list[Run] = []
        self._end_s = 0.0  # of the decoded audio by its timestamps
        self._start_s = 0.0
        self._n_decoded = 0  # samples at the source rate since `_start_s`; 0: no segment is open
        self._late: deque[tuple[float, Samples]] = deque()  # frames off the clock of the segment, by their own times
        self._pending: list[Samples] = []
        self._n_pending = 0
        self._is_new = True  # the pending samples begin a segment
        self._position = 0

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of timestamps so far; each chunk names its own by its number."""
        return tuple(self._runs)

    def add(self, packet: "Packet[AudioStream]", position: int = 0) -> None:
        """Decode a packet, the `position`-th of the file; the empty one at the end flushes. Raises SOUND_TOO_LARGE."""
        self.n_packets += packet.size > 0
        self.n_damaged += packet.is_corrupt
        self._position = position
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.n_damaged += 1
            return
        for frame in frames:
            for converted in self._convert(frame):
                self._place(converted)

    def finish(self) -> None:
        """Pass on the pending samples."""
        self._settle()
        self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            starts_s = self._start_s if self._is_new else None
            mono = np.concatenate([downmix(samples, names, self._channel) for samples, names in self._pending])
            self._on_chunk(AudioChunk(mono, self._rate, starts_s, self._track, max(len(self._runs) - 1, 0)))
            names = self._pending[0][1]
            if len(names) > 1 and all(own == names for _, own in self._pending):
                self.meter.add(np.concatenate([samples for samples, _ in self._pending], axis=1), names, self._rate)
        self._pending, self._n_pending, self._is_new = [], 0, False

    def _convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """Convert to interleaved float32 at a rate that the exact resampler supports.

        Not planar: PyAV 18 reads one plane too many of eight.
        """
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or shape != self._shape:
            check_audio(frame.layout.nb_channels, frame.sample_rate, self._limits)
            self.finish()
            self._n_decoded = 0
            self._rate = frame.sample_rate if is_exactly_resampled(frame.sample_rate) else SAFE_RATE
            self._shape, self._converter = shape, AudioResampler("flt", frame.layout, self._rate)
        yield from self._converter.resample(frame)

    def _place(self, frame: AudioFrame) -> None:
        """Append a frame to the segment, or hold it while its time is off: jitter returns, a gap does not."""
        names = tuple(channel.name for channel in frame.layout.channels)
        samples = np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(names)).T)
        expected_s = self._expect()
        time_s = expected_s if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        is_new_run = not self._runs or is_step(self._end_s, time_s)
        if self._n_decoded == 0 or is_new_run or is_step(expected_s, time_s):
            self._settle()
            self._begin(time_s, is_new_run)
        self._add_held(time_s, (samples, names))
        if self._held_s() > JITTER_S:
            self._settle_first()
        self._end_s = time_s + samples.shape[1] / self._rate
        run = self._runs[-1]
        self._runs[-1] = Run(min(run.start_s, time_s), max(run.end_s, self._end_s), run.position)

    def _expect(self) -> float:
        """Return the time at which the next frame of the segment is due."""
        return self._start_s + self._n_decoded / self._rate

    def _held_s(self) -> float:
        return sum(samples.shape[1] for _, (samples, _) in self._late) / self._rate

    def _add_held(self, time_s: float, frame: Samples) -> None:
        """Append a frame that is on time, and those held before it; hold another."""
        if abs(time_s - self._expect() - self._held_s()) > JUMP_S and self._n_decoded:
            self._late.append((time_s, frame))
            return
        while self._late:
            self._append(*self._late.popleft()[1])
        self._append(*frame)

    def _settle(self) -> None:
        """Append all held frames."""
        while self._late:
            self._settle_first()

    def _settle_first(self) -> None:
        """Begin a segment with the first held frame, and place the others in it.

        Its start is the median of what the held timestamps state, up to the next gap, so that it does not jitter.
        """
        held, (first_s, first) = list(self._late), self._late[0]
        self._late.clear()
        lengths_s = np.cumsum([0.0, *(samples.shape[1] / self._rate for _, (samples, _) in held)])[:-1]
        starts_s = np.array([time_s for time_s, _ in held]) - lengths_s
        same = np.abs(starts_s - first_s) <= JUMP_S
        self._begin(float(np.median(starts_s[: int(np.argmin(same)) or len(same)])), is_step=False)
        self._append(*first)
        for time_s, frame in held[1:]:
            self._add_held(time_s, frame)

    def _begin(self, time_s: float, is_step: bool) -> None:
        """Begin a segment, and with a step of the clock a run."""
        self._flush()
        if is_step or not self._runs:
            self._runs.append(Run(time_s, time_s, self._position))
        self._start_s, self._n_decoded, self._is_new = time_s, 0, True

    def _append(self, samples: np.ndarray, names: tuple[str, ...]) -> None:
        self._n_decoded += samples.shape[1]
        self._pending.append((samples, names))
        self._n_pending += samples.shape[1]
        if self._n_pending >= CHUNK:
            self._flush()
