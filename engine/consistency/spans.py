"""TrackSegment a track into spans that fit one voice and spans that do not, at the AV offset of the track.

A second voice has no part in choosing the offset, so its similarity at that offset is low by chance: mean 0.1, own
voices 0.3 to 0.7, both with a deviation of 0.2 that is correlated over 16 frames. Two normal distributions make a
log-likelihood ratio of each frame; optimal partitioning (Jackson et al. 2005) with a cost per foreign span and a least
length finds the spans. The constants were chosen on the clips of docs/spans.md, by networks that had not seen them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

MEAN_WEIGHT = 0.6  # of a frame pair of the compact model


@dataclass(frozen=True, slots=True)
class SpanOptions:
    """Options of the segmentation; they enter the recipe of span scores."""

    recipe_name: ClassVar = "SpanOptions"

    min_frames: int = 25  # with evidence, of a span
    break_frames: int = 50  # without evidence between two frames: a span of its own
    level_window: int = 35  # frames with evidence behind a first estimate of the own level
    level_percentile: float = 85.0  # of those windows: up to half of a track may be another voice
    least_level: float = 0.2  # of similarity; below it a track fits no voice, and has no spans
    rounds: int = 3  # of segmentation, each with the level of the own spans of the last one
    other: float = 0.06  # similarity of another voice
    variance: float = 0.74  # of similarity, times the number of frames that count as one
    change_cost: float = 1.5  # of a foreign span, natural logarithm
    least_gain: float = 0.3  # share of the own level by which one frame may lie above the middle
    border_drop: float = 2.0  # of the log-likelihood within the uncertainty of a border


@dataclass(frozen=True, slots=True)
class TrackSegment:
    """Frames [first, last) of one kind; a border is within its range."""

    first: int
    last: int
    first_range: tuple[int, int]
    last_range: tuple[int, int]
    is_foreign: bool
    score: float | None  # see `score_frames`; None: too little evidence

    @property
    def slice(self) -> slice:
        """Return the frames as a slice."""
        return slice(self.first, self.last)


def find_segments(
    similarity: np.ndarray, weight: np.ndarray, options: SpanOptions | None = None
) -> tuple[TrackSegment, ...]:
    """Split T frames by similarity (T,) and weight (T,) at the own offset; () where no voice fits the track."""
    options = options or SpanOptions()
    kept = np.flatnonzero(weight > 0)
    if len(kept) < 2 * options.min_frames:
        return ()
    islands = _split_islands(kept, options)
    own = np.ones(len(similarity), bool)
    level = _first_level(similarity[kept], weight[kept], options)
    for _ in range(options.rounds):
        if level < options.least_level:
            return ()
        parts = [_split_island(island, similarity, weight, level, options) for island in islands]
        own = _mark_own(parts, len(similarity))
        if (own[kept]).sum() < options.min_frames:
            return ()
        last_level, level = level, measure_level(similarity, weight * own)
    return tuple(_complete(parts, similarity, weight, last_level, level, options))


def measure_level(similarity: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean similarity; 0 without weight."""
    total = float(weight.sum())
    return float((similarity * weight).sum()) / total if total > 0 else 0.0


def score_frames(similarity: np.ndarray, weight: np.ndarray, level: float) -> float:
    """Weighted mean similarity of frames, less half the level of the own voice elsewhere in the track."""
    return measure_level(similarity, weight) - level / 2


def _first_level(similarity: np.ndarray, weight: np.ndarray, options: SpanOptions) -> float:
    """Percentile of the means of windows of frames with evidence."""
    length = min(options.level_window, len(weight))
    sums, totals = (np.convolve(one, np.ones(length), "valid") for one in (similarity * weight, weight))
    return float(np.percentile(sums / totals, options.level_percentile))


def _split_islands(kept: np.ndarray, options: SpanOptions) -> list[np.ndarray]:
    """Split the numbers of frames with evidence at long gaps."""
    return np.split(kept, np.flatnonzero(np.diff(kept) > options.break_frames) + 1)


def _gain(similarity: np.ndarray, weight: np.ndarray, level: float, options: SpanOptions) -> np.ndarray:
    """Log-likelihood ratio of each frame for another voice; single frames that fit well are no proof."""
    deficit = (level + options.other) / 2 - similarity
    deficit = np.maximum(deficit, -options.least_gain * level)
    gain: np.ndarray = (level - options.other) / options.variance * deficit * weight / MEAN_WEIGHT
    return gain


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """One island: its frames, and the first place and kind of each part."""

    frames: np.ndarray  # (N,) frame numbers with evidence
    starts: tuple[int, ...]  # into `frames`
    foreign: tuple[bool, ...]
    gains: np.ndarray  # (N + 1,) sums before each place

    def ends(self) -> tuple[int, ...]:
        """Return the place after each part."""
        return (*self.starts[1:], len(self.frames))


def _split_island(
    frames: np.ndarray, similarity: np.ndarray, weight: np.ndarray, level: float, options: SpanOptions
) -> _Parts:
    gain = _gain(similarity[frames], weight[frames], level, options)
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    starts, foreign = _partition(sums, options)
    return _Parts(frames, starts, foreign, sums)


def _partition(sums: np.ndarray, options: SpanOptions) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Maximise the gain within foreign parts less a cost for each, with a least length of every part."""
    n, least = len(sums) - 1, options.min_frames
    if n < least:
        return (0,), (False,)
    totals = sums.tolist()
    best = [[-np.inf] * (n + 1), [-np.inf] * (n + 1)]  # of parts up to a place, the last own or foreign
    came = [[0] * (n + 1), [0] * (n + 1)]  # where the last part begins
    reached, begins = [-np.inf, -np.inf], [0, 0]
    for end in range(least, n + 1):
        start = end - least
        entries = (best[1][start], best[0][start] - options.change_cost - totals[start])
        if start == 0:
            entries = (0.0, -options.change_cost)
        for kind, entry in enumerate(entries):
            if entry > reached[kind]:
                reached[kind], begins[kind] = entry, start
            came[kind][end] = begins[kind]
        best[0][end], best[1][end] = reached[0], reached[1] + totals[end]
    kind, end = int(best[1][n] > best[0][n]), n
    found: list[tuple[int, bool]] = []
    while end > 0:
        end, kind = came[kind][end], 1 - kind
        found.append((end, kind == 0))
    starts, foreign = zip(*reversed(found), strict=True)
    return starts, foreign


def _mark_own(parts: list[_Parts], n_frames: int) -> np.ndarray:
    """Return (T,) bool: frames outside every foreign part."""
    own = np.ones(n_frames, bool)
    for part in parts:
        for start, end, foreign in zip(part.starts, part.ends(), part.foreign, strict=True):
            if foreign:
                own[part.frames[start] : part.frames[end - 1] + 1] = False
    return own


def _complete(
    parts: list[_Parts],
    similarity: np.ndarray,
    weight: np.ndarray,
    level: float,
    own_level: float,
    options: SpanOptions,
) -> Iterator[TrackSegment]:
    """Yield the segments of all frames in order: parts of islands, and what lies between them."""
    n_frames, reached = len(similarity), 0
    for part in parts:
        first, last = int(part.frames[0]), int(part.frames[-1]) + 1
        if first - reached > options.break_frames:
            yield TrackSegment(reached, first, (reached, reached), (first, first), False, None)
        else:
            first = reached
        if part is parts[-1] and n_frames - last <= options.break_frames:
            last = n_frames
        ranges = [(first, first), *_find_ranges(part, options), (last, last)]
        borders = [first, *(int(part.frames[start]) for start in part.starts[1:]), last]
        for number, foreign in enumerate(part.foreign):
            start, end = borders[number], borders[number + 1]
            enough = int((weight[start:end] > 0).sum()) >= options.min_frames
            score = score_frames(similarity[start:end], weight[start:end], own_level) if enough else None
            yield TrackSegment(start, end, ranges[number], ranges[number + 1], foreign and enough, score)
        reached = last
    if reached < n_frames:
        yield TrackSegment(reached, n_frames, (reached, reached), (n_frames, n_frames), False, None)


def _find_ranges(part: _Parts, options: SpanOptions) -> Iterator[tuple[int, int]]:
    """Yield the frames between which each inner border may lie: where the likelihood falls by `border_drop` at most."""
    ends = part.ends()
    for number, border in enumerate(part.starts[1:], start=1):
        low, high = part.starts[number - 1] + 1, ends[number] - 1
        sign = -1.0 if part.foreign[number] else 1.0  # own before foreign: a later border loses its gain
        lost = sign * (part.gains[border] - part.gains[low : high + 1])
        beyond = np.concatenate([[low - 1], np.flatnonzero(lost > options.border_drop) + low, [high + 1]])
        after = int(np.searchsorted(beyond, border))
        yield int(part.frames[beyond[after - 1] + 1]), int(part.frames[beyond[after] - 1])
