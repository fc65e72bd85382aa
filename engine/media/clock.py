"""Join the timestamps of a file's streams to one continuous clock.

The timestamps of a file restart where recordings were concatenated or resumed, and jump where a clock was set. The runs
between such places become parts that follow each other, with the same shift for picture and sound, so that the picture
of one part never meets the sound of another. Pure functions of seconds; `demux` finds the runs while it reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.types import ClockSeam

BACK_S = 0.3  # a smaller step back is jitter of the timestamps, or an overlap of two pieces
FORWARD_S = 3.0  # a smaller step forward is a gap: lost packets, a held picture
NEAR_S = 5.0  # within which the streams of a part begin and end
WRAP_S = 2**33 / 90_000  # after which the timestamps of MPEG streams begin at zero again


@dataclass(frozen=True, slots=True)
class Run:
    """Timestamps of one stream without a step back or far forward."""

    start_s: float
    end_s: float
    position: int  # number of the first packet in the file, over all streams


@dataclass(frozen=True, slots=True)
class JoinedClock:
    """Seconds to add to the timestamps of each run, and the places where the shift changes."""

    video_s: tuple[float, ...]
    audio_s: tuple[tuple[float, ...], ...]  # per track
    seams: tuple[ClockSeam, ...]  # `at_s` on the joined clock, which begins as the file's does


def is_step(expected_s: float, time_s: float) -> bool:
    """Return True where a timestamp begins a new run."""
    return not -BACK_S <= time_s - expected_s <= FORWARD_S


def unwrap(time_s: float, near_s: float, wrap_s: float) -> float:
    """Add the multiple of `wrap_s` that brings a time nearest to another; 0 for timestamps that do not wrap."""
    return time_s - wrap_s * round((time_s - near_s) / wrap_s) if wrap_s else time_s


class Elapsed:
    """Time of the packets of one stream as they come, with steps of its clock left out."""

    def __init__(self) -> None:
        self.now_s = float("-inf")  # of the latest packet
        self._shift_s = 0.0
        self._expected_s: float | None = None

    def add(self, time_s: float, length_s: float) -> float:
        """Return the time of a packet on the clock that begins as the stream's does."""
        if self._expected_s is not None and is_step(self._expected_s, time_s):
            self._shift_s += self._expected_s - time_s
        self._expected_s = time_s + length_s
        self.now_s = time_s + self._shift_s
        return self.now_s


def join_runs(video: Sequence[Run], tracks: Sequence[Sequence[Run]], wrap_s: float = 0.0) -> JoinedClock:
    """Join the runs of the video stream and of each audio track, each in the order of the file.

    Timestamps wrap after `wrap_s`, as a first frame of audio before time zero does; 0: never.
    """
    if wrap_s and video:
        near_s = video[0].start_s
        moves = [[unwrap(run.start_s, near_s, wrap_s) - run.start_s for run in runs] for runs in (video, *tracks)]
        moved, *others = (
            [Run(run.start_s + move, run.end_s + move, run.position) for run, move in zip(runs, own, strict=True)]
            for runs, own in zip((video, *tracks), moves, strict=True)
        )
        joined = join_runs(moved, others)
        pairs = [
            zip(shifts, own, strict=True) for shifts, own in zip((joined.video_s, *joined.audio_s), moves, strict=True)
        ]
        added = [tuple(shift + move for shift, move in own) for own in pairs]
        return JoinedClock(added[0], tuple(added[1:]), joined.seams)
    firsts = [0, *(i for i in range(1, len(video)) if _is_seam(video[i - 1], video[i], tracks))]
    parts = [_find_parts(track, [video[i] for i in firsts]) for track in tracks]
    shifts: list[float] = [0.0]
    seams: list[ClockSeam] = []
    for part, first in enumerate(firsts[1:], 1):
        before = video[first - 1]
        start_s, end_s = video[first].start_s, before.end_s + shifts[-1]
        for runs, own in zip(tracks, parts, strict=True):
            start_s = min([start_s, *(run.start_s for run in _first_of(part, runs, own))])
            ends_s = [run.end_s + shifts[-1] for run, of in zip(runs, own, strict=True) if of == part - 1]
            # a track that goes on through the seam ends far behind it
            end_s = max([end_s, *(end for end in ends_s if end < before.end_s + shifts[-1] + NEAR_S)])
        shifts.append(end_s - start_s)
        seams.append(ClockSeam(end_s, before.end_s, start_s))
    counts = [sum(first <= i for first in firsts) - 1 for i in range(len(video))]
    audio = tuple(_shift_track(runs, own, shifts) for runs, own in zip(tracks, parts, strict=True))
    return JoinedClock(tuple(shifts[part] for part in counts), audio, tuple(seams))


def _is_seam(before: Run, after: Run, tracks: Sequence[Sequence[Run]]) -> bool:
    """Return True where the clock itself stepped: back, or forward with every audio track.

    A picture that is held while the sound goes on is no step of the clock.
    """
    if not is_step(before.end_s, after.start_s):
        return False
    if after.start_s < before.end_s:
        return True
    heard = [[run for run in runs if run.position < after.position][-1:] for runs in tracks if runs]
    return bool(heard) and not any(
        run.start_s < after.start_s - 1 and run.end_s > before.end_s + 1 for runs in heard for run in runs
    )


def _find_parts(runs: Sequence[Run], begins: Sequence[Run]) -> list[int]:
    """Return the part of each run of a track; `begins` are the first video runs of the parts."""
    found: list[int] = []
    for number, run in enumerate(runs):
        least = found[-1] + 1 if found else 0
        near = [
            part
            for part in range(least, len(begins))
            if abs(run.start_s - begins[part].start_s) < NEAR_S and (number or begins[part].position <= run.position)
        ]
        found.append(
            min(near, key=lambda part: abs(begins[part].position - run.position)) if near else max(least - 1, 0)
        )
    return found


def _first_of(part: int, runs: Sequence[Run], parts: Sequence[int]) -> list[Run]:
    return [run for run, own in zip(runs, parts, strict=True) if own == part][:1]


def _shift_track(runs: Sequence[Run], parts: Sequence[int], shifts: Sequence[float]) -> tuple[float, ...]:
    """Return the shift of each run; a step back of this track alone goes on where the track ended."""
    found: list[float] = []
    for number, (run, part) in enumerate(zip(runs, parts, strict=True)):
        shift = shifts[part]
        if number and part == parts[number - 1]:
            end_s = runs[number - 1].end_s + found[-1]
            shift = max(found[-1], end_s - run.start_s) if run.start_s + found[-1] < end_s - BACK_S else found[-1]
        found.append(shift)
    return tuple(found)
