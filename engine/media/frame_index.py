"""Collect the presentation times of all frames of a file or range, packet by packet; decode only the first frame."""

from dataclasses import dataclass

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from engine.errors import Code
from engine.media.clock import Run, is_step, unwrap
from engine.media.limits import check_frames
from engine.settings import MediaLimits
from engine.types import MediaSelection

ROUNDING_S = 1e-3  # of timestamps
DAMAGED_INDEX = "No frame of the video has a time."


@dataclass(frozen=True, slots=True, eq=False)
class IndexedFrames:
    """Times of the frames on the joined clock, in units of the stream."""

    times: np.ndarray  # (n,) int64, sorted, from the first frame to decode
    zero: int  # time of the first picture of the file
    n_skipped: int  # packets before the first frame to decode
    last_duration_s: float  # of the frame shown last; 0: unknown
    shifts: tuple[tuple[int, int], ...]  # number of a packet, and what is added to its time and those of the next ones
    keys: np.ndarray  # (k, 2) int64: number of the packet of each key frame of the range, and its time


class FrameIndex:
    """Times of all frames, as the packets come."""

    def __init__(self, stream: VideoStream, limits: MediaLimits, selection: MediaSelection, wrap_s: float = 0.0):
        self.first: VideoFrame | None = None
        self.limits = limits
        self.n_packets = self.n_damaged = 0
        self.unit_s = float(stream.time_base or 0)
        self._selection, self._wrap_s = selection, wrap_s  # the latter as in `clock.join_runs`
        self._zero: int | None = None  # before a seek: time of the first picture of the file
        self._first_time = 0
        self._times: list[int] = []
        self._durations: list[int] = []
        self._is_key: list[bool] = []
        self._is_shown: list[bool] = []
        self._steps: list[tuple[int, int]] = []  # numbers of the packets that begin a run, and their positions
        self._expected: int | None = None  # decoding time of the next packet
        self._delay = 0  # from decoding to presentation of the latest packet
        self._corrections: dict[int, int] = {}  # number of a packet, and what was added to its time
        self._earlier_s = 0.0  # duration of the runs before the last
        self._n_in_range = 0
        self._earliest = self._latest = 0  # of the last run

    @property
    def elapsed_s(self) -> float:
        """Time of the latest frame after the first, in seconds; the runs follow each other."""
        return self._earlier_s + (self._latest - self._earliest) * self.unit_s

    @property
    def zero_s(self) -> float:
        """Time of the first picture of the file on its own clock, as far as it is known."""
        if self._zero is not None:
            return self._zero * self.unit_s
        return self._first_time * self.unit_s

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of timestamps, in the order of the file."""
        bounds = [number for number, _ in self._steps] + [len(self._times)]
        return tuple(
            Run(
                min(self._times[first:last]) * self.unit_s,
                self._end_of(first, last) * self.unit_s,
                position,
            )
            for (first, position), last in zip(self._steps, bounds[1:], strict=True)
        )

    def add(self, packet: "Packet[VideoStream]", position: int) -> None:
        """Add a packet. Raises the code of a limit as soon as it is exceeded, whatever the header says."""
        if self.first is None:
            self._decode_first(packet)
        time = packet.pts if packet.pts is not None else packet.dts
        if packet.size == 0 or time is None:  # flush
            return
        self.n_packets += 1
        self.n_damaged += packet.is_corrupt
        decoded = packet.dts if packet.dts is not None else time
        time = self._correct(time, decoded)
        if self._expected is None or is_step(self._expected * self.unit_s, decoded * self.unit_s):
            self._begin(time, position)
        self._expected = decoded + (packet.duration or 0)
        if not packet.is_discard:  # an edit list cuts a frame off, and others may refer to it
            self._earliest, self._latest = min(time, self._earliest), max(time, self._latest)
        if not self._times:
            self._first_time = time
        self._times.append(time)
        self._durations.append(packet.duration or 0)
        self._is_key.append(packet.is_keyframe)
        self._is_shown.append(not packet.is_discard)
        if not packet.is_discard:
            self._count(self._earlier_s + (time - self._earliest) * self.unit_s)

    def restart(self, from_s: float) -> float | None:
        """Forget the frames of the file's start; return where to seek, on the clock of the container, in seconds."""
        shown = [time for time, is_shown in zip(self._times, self._is_shown, strict=True) if is_shown]
        if not shown:
            return None
        zero = min(shown)
        self._zero, self._expected = zero, None
        self._times, self._durations, self._is_key, self._is_shown, self._steps = [], [], [], [], []
        self._corrections = {}
        self._n_in_range = 0
        return zero * self.unit_s + from_s

    def finish(self, shifts_s: tuple[float, ...]) -> IndexedFrames:
        """Return the frames from the last key frame before the range to its end, on the clock joined by these shifts.

        Frames before the first key frame, in decoding or presentation order, cannot be decoded and are left out.
        Raises UNREADABLE_VIDEO where there is none, and BAD_SELECTION for a range behind the end.
        """
        numbers = [number for number, _ in self._steps]
        shifts = [round(shift / self.unit_s) for shift in shifts_s]
        times = np.array(self._times, np.int64)
        added = np.repeat(np.array(shifts, np.int64), np.diff([*numbers, len(times)]))
        times += added
        added[list(self._corrections)] += np.array(list(self._corrections.values()), np.int64)
        shown, keys = np.array(self._is_shown, bool), np.flatnonzero(self._is_key)
        first_key = int(keys[0]) if len(keys) else 0
        decodable = shown & (np.arange(len(times)) >= first_key)
        decodable &= times >= (times[first_key] if len(times) else 0)
        if not decodable.any():
            raise Code.UNREADABLE_VIDEO(DAMAGED_INDEX, "It may be damaged; export it again, as H.264 in MP4.")
        zero = self._zero if self._zero is not None else int(times[decodable].min())
        skipped = self._find_start(times, keys, zero)
        decodable[:skipped] = False
        last = self._find_end(times, decodable, zero)
        decodable &= times <= last
        return IndexedFrames(
            times=np.unique(times[decodable]),
            zero=zero,
            n_skipped=skipped,
            last_duration_s=self._durations[int(np.flatnonzero(decodable & (times == last))[0])] * self.unit_s,
            shifts=tuple((int(i), int(added[i])) for i in np.flatnonzero(np.diff(added, prepend=0))),
            keys=np.column_stack([keys, times[keys]])[decodable[keys]],
        )

    def _begin(self, time: int, position: int) -> None:
        if self._steps:
            self._earlier_s += (self._end_of(self._steps[-1][0], len(self._times)) - self._earliest) * self.unit_s
        elif self._zero is not None:
            self._earlier_s = (time - self._zero) * self.unit_s
        self._steps.append((len(self._times), position))
        self._earliest = self._latest = time

    def _correct(self, time: int, decoded: int) -> int:
        """Return a plausible presentation time: FFmpeg guesses that of the last frame of a part from the next part."""
        if is_step(unwrap(decoded * self.unit_s, time * self.unit_s, self._wrap_s), time * self.unit_s):
            corrected = decoded + self._delay
            self._corrections[len(self._times)] = corrected - time
            return corrected
        self._delay = time - decoded
        return time

    def _end_of(self, first: int, last: int) -> int:
        return max(
            time + length for time, length in zip(self._times[first:last], self._durations[first:last], strict=True)
        )

    def _count(self, time_s: float) -> None:
        """Count a frame of the range against the limits; `time_s` is after the first frame."""
        from_s, to_s = self._selection.from_s, self._selection.to_s
        if from_s - ROUNDING_S <= time_s < (float("inf") if to_s is None else to_s - ROUNDING_S):
            self._n_in_range += 1
            check_frames(self._n_in_range, time_s - from_s, self.limits)

    def _find_start(self, times: np.ndarray, keys: np.ndarray, zero: int) -> int:
        """Return the number of packets before the last key frame that is not behind the start of the range."""
        before = keys[(times[keys] - zero) * self.unit_s <= self._selection.from_s] if len(keys) else keys
        return int(before[-1]) if len(before) and self._selection.from_s > 0 else 0

    def _find_end(self, times: np.ndarray, decodable: np.ndarray, zero: int) -> int:
        """Return the time of the last frame of the range."""
        selection = self._selection
        elapsed_s = (times - zero) * self.unit_s
        end_s = float(elapsed_s[decodable].max()) if decodable.any() else 0.0
        if not decodable.any() or end_s < selection.from_s:
            raise Code.BAD_SELECTION(
                f"The range begins at {selection.from_s:.1f} s, and the last picture is at {end_s:.1f} s.",
                "Choose a range within the recording.",
            )
        kept = decodable if selection.to_s is None else decodable & (elapsed_s < selection.to_s - ROUNDING_S)
        return int(times[kept].max()) if kept.any() else int(times[decodable].min())

    def _decode_first(self, packet: "Packet[VideoStream]") -> None:
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            return
        self.first = frames[0] if frames else None
