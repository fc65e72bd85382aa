"""Consistency of a face and a voice: similarity over AV offsets, one score, drift and a timeline.

After SpeechForensics (Liang et al., NeurIPS 2024): the similarity of video-only and audio-only embeddings, maximised
over the offset. Differences, each measured in docs/compact-model.md: only real pairs enter a mean (no zero padding, no
resampling); the encoders weight each pair; half of the mean similarity of all frames of the face with all frames of
the voice is subtracted. The last two were fitted to the compact model; `PLAIN_MEAN` is the rule for every other model.
`engine/consistency/speechforensics.py` has the published method.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from engine.consistency.spans import TrackSegment, find_segments, measure_level
from engine.types import FPS, Encoded, Evidence, SyncCurve, Window

MIN_BACKGROUND = 10  # offsets needed to estimate the spread of a curve
MIN_WINDOW_SHARE = 0.5  # of the frames of a timeline window have to be evidence


@dataclass(frozen=True, slots=True)
class ConsistencyOptions:
    """Options of the score; they enter the recipe."""

    recipe_name: ClassVar = "ConsistencyOptions"

    max_offset: int = 15  # frames, K: search from audio K early to K late
    min_pairs: int = 10  # frame pairs behind a value of the curve
    baseline_share: float = 0.5  # of the mean similarity of all pairs, subtracted from the score
    overlap_power: float = 0.5  # exponent of the share of pairs at an offset, a factor of its similarity
    wide_offset: int = 50  # frames of a second search, for offsets beyond the first
    wide_margin: float = 0.15  # by which the second search has to score higher
    window: int = 50  # frames of a timeline window
    hop: int = 25  # frames between windows
    path_window: int = 125  # frames of the windows of the drift path
    drift_cost: float = 0.02  # of similarity, per frame of change between those windows
    background_offset: int = 50  # frames: range of the curve for the peak prominence
    peak_reach: int = 5  # frames around the best offset excluded from the background
    offset_cost: float = 0.1  # of similarity, at offsets of `near_offset` frames and more; less, linearly, below
    near_offset: int = 5  # frames: recordings are seldom further out of sync


PLAIN_MEAN = ConsistencyOptions(baseline_share=0.0, overlap_power=0.0, wide_offset=15, offset_cost=0.0)
"""Mean similarity of the real pairs, maximised over the offset, without fitted terms or second search."""


@dataclass(frozen=True, slots=True, eq=False)
class Consistency:
    """Measurements of one track, before the gates."""

    score: float  # see `FramePairs.find_best`; about -0.5 to 1
    offset_s: float  # positive: the audio is late
    dynamic_score: float | None  # mean similarity along the drift path, in [-1, 1]
    drift_s: float | None  # last minus first offset of the drift path; both None in paper mode
    beyond_s: float | None  # offset outside the search with a clearly better score, if any
    prominence: float  # see `measure_prominence`
    curve: SyncCurve
    windows: tuple[Window, ...]
    segments: tuple[TrackSegment, ...] = ()  # of the track; none in paper mode
    own_score: float | None = None  # the score without the foreign segments; None: too little is left


def measure_consistency(
    encoded: Encoded, evidence: Evidence, options: ConsistencyOptions | None = None
) -> Consistency | None:
    """Measure one track; None where too few pairs are real."""
    options = options or ConsistencyOptions()
    pairs = FramePairs.of(encoded, evidence, _widen(options))
    found, n_frames = _measure_pairs(pairs, options), len(encoded.lips)
    if found is None:
        return None
    pairs, best = pairs.narrow(options), round(found.offset_s * FPS)
    path, along = _track_drift(pairs)
    segments = find_segments(*_follow_offset(pairs, best, path))
    own = pairs.drop(segments).find_best(0, n_frames)
    return replace(
        found,
        dynamic_score=along,
        drift_s=int(path[-1] - path[0]) / FPS,
        windows=_measure_timeline(encoded.start, pairs, best),
        segments=segments,
        own_score=None if own is None else own.score,
    )


def measure_pooled(
    parts: Sequence[tuple[Encoded, Evidence]], options: ConsistencyOptions | None = None
) -> Consistency | None:
    """Measure several tracks as one, at one common offset, without drift and timeline; None for too few pairs."""
    options = options or ConsistencyOptions()
    return _measure_pairs(FramePairs.join([FramePairs.of(*part, _widen(options)) for part in parts]), options)


def find_offset(
    encoded: Encoded, evidence: Evidence, options: ConsistencyOptions | None = None
) -> tuple[float, int] | None:
    """Return the score and the offset in frames of `measure_consistency`; None where it returns None."""
    best = FramePairs.of(encoded, evidence, options or ConsistencyOptions()).find_best(0, len(encoded.lips))
    return None if best is None else (best.score, best.offset)


def measure_prominence(curve: SyncCurve, offset: int, peak_reach: int) -> float:
    """Peak prominence: z-score of the similarity at `offset` frames over the background; about 0 for noise.

    Comparable between models, as SyncNet's confidence (Chung & Zisserman 2016: peak minus median). The background is
    more than `peak_reach` frames away; 0 where it is too short.
    """
    similarity, middle = curve.similarity.astype(np.float64), len(curve.similarity) // 2
    away = np.abs(np.arange(len(similarity)) - middle - offset) > peak_reach
    background = similarity[away & np.isfinite(similarity)]
    if len(background) < MIN_BACKGROUND:
        return 0.0
    return float((similarity[middle + offset] - background.mean()) / max(background.std(), 1e-6))


@dataclass(frozen=True, slots=True)
class Best:
    """Best offset of a segment and its score."""

    score: float
    offset: int  # frames; positive: the audio is late


@dataclass(frozen=True, slots=True, eq=False)
class FramePairs:
    """Similarity and weight of every pair of a face frame and an audio frame in the search."""

    similarity: np.ndarray  # (T, 2K+1) float64: face frame t with audio frame t + k
    weight: np.ndarray  # (T, 2K+1) float64, 0 where the pair is not real
    lips: np.ndarray  # (T, D+1) weighted rows and their weights, 0 where not real
    speech: np.ndarray  # (T, D+1) the same
    options: ConsistencyOptions

    @classmethod
    def of(cls, encoded: Encoded, evidence: Evidence, options: ConsistencyOptions) -> "FramePairs":
        """Compare every face frame with the audio frames up to `max_offset` away.

        The pair (t, t + k) is real where the lips of frame t and the speech of frame t + k are evidence.
        """
        n_frames, reach = len(encoded.lips), options.max_offset
        partner = np.arange(n_frames)[:, None] + np.arange(-reach, reach + 1)  # (T, 2K+1)
        inside = (partner >= 0) & (partner < n_frames)
        partner = np.clip(partner, 0, n_frames - 1)
        columns = [np.einsum("td,td->t", encoded.lips, encoded.speech[partner[:, k]]) for k in range(partner.shape[1])]
        lips_weight = encoded.lips_weight * evidence.lips
        speech_weight = encoded.speech_weight * evidence.speech
        return cls(
            np.stack(columns, axis=1).astype(np.float64),
            (lips_weight[:, None] * speech_weight[partner] * inside).astype(np.float64),
            np.column_stack([encoded.lips * lips_weight[:, None], lips_weight]),
            np.column_stack([encoded.speech * speech_weight[:, None], speech_weight]),
            options,
        )

    @classmethod
    def join(cls, parts: Sequence["FramePairs"]) -> "FramePairs":
        """Concatenate the pairs of several tracks; none joins a face frame and an audio frame of two tracks."""
        return cls(
            np.concatenate([part.similarity for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.lips for part in parts]),
            np.concatenate([part.speech for part in parts]),
            parts[0].options,
        )

    def narrow(self, options: ConsistencyOptions) -> "FramePairs":
        """Restrict to the offsets of a narrower search."""
        cut = self.options.max_offset - options.max_offset
        kept = slice(cut, self.similarity.shape[1] - cut)
        return replace(self, similarity=self.similarity[:, kept], weight=self.weight[:, kept], options=options)

    def drop(self, segments: Sequence[TrackSegment]) -> "FramePairs":
        """Leave out the frames of foreign segments, on both sides."""
        kept = np.ones(len(self.weight), bool)
        for segment in segments:
            kept[segment.slice] &= not segment.is_foreign
        if kept.all():
            return self
        lips, speech = self.lips * kept[:, None], self.speech * kept[:, None]
        partner = np.arange(len(kept))[:, None] + np.arange(-self.options.max_offset, self.options.max_offset + 1)
        both = kept[:, None] & kept[np.clip(partner, 0, len(kept) - 1)]
        return replace(self, weight=self.weight * both, lips=lips, speech=speech)

    def curve(self, first: int, last: int) -> SyncCurve:
        """Weighted mean over face frames [first, last); NaN at offsets with fewer than `min_pairs` pairs."""
        similarity, weight = self.similarity[first:last], self.weight[first:last]
        counts = (weight > 0).sum(0)
        total = weight.sum(0)
        mean = (similarity * weight).sum(0) / np.where(total > 0, total, 1.0)
        offsets_s = np.arange(-self.options.max_offset, self.options.max_offset + 1, dtype=np.float32) / FPS
        enough = counts >= max(1, self.options.min_pairs)
        return SyncCurve(offsets_s, np.where(enough, mean, np.nan).astype(np.float32), counts)

    def evidence_share(self, first: int, last: int) -> float:
        """Share of the frames [first, last) that are evidence, on the side with less of it."""
        return float(min((side[first:last, -1] > 0).mean() for side in (self.lips, self.speech)))

    def baseline(self, first: int, last: int) -> float:
        """Weighted mean similarity of all face frames with all audio frames of a segment."""
        lips, speech = self.lips[first:last].sum(0), self.speech[first:last].sum(0)
        return float(lips[:-1] @ speech[:-1] / (lips[-1] * speech[-1] + 1e-9))

    def find_best(self, first: int, last: int) -> Best | None:
        """Score a segment; None where no offset has enough pairs.

        `max_k (similarity_k * (n_k / n) ** power - cost_k) - share * baseline`, with n_k pairs at offset k and n their
        maximum: the mean of few pairs is high by chance more often. The cost is a prior: the best of many offsets of
        another voice is as often far from 0 as near, that of an own voice is seldom far. The length of a segment is
        not a factor: with shuffled faces such a factor separated long clips from short ones.
        """
        height = self._heights(first, last)
        if not np.isfinite(height).any():
            return None
        best = int(np.nanargmax(height))
        return Best(float(height[best]), best - self.options.max_offset)

    def score_at(self, first: int, last: int, offset: int) -> float | None:
        """Score a segment at an offset in frames, as `find_best` does; None where that has too few pairs."""
        score = float(self._heights(first, last)[offset + self.options.max_offset])
        return score if np.isfinite(score) else None

    def _heights(self, first: int, last: int) -> np.ndarray:
        """Return (2K+1,) the score of a segment at each offset; NaN where there are too few pairs."""
        curve, options = self.curve(first, last), self.options
        most = max(float(curve.pairs.max()), 1.0)
        heights: np.ndarray = curve.similarity * (curve.pairs / most) ** options.overlap_power - self._cost()
        return heights - options.baseline_share * self.baseline(first, last)

    def _cost(self) -> np.ndarray:
        """Return (2K+1,) the cost of each offset."""
        options = self.options
        apart = np.abs(np.arange(-options.max_offset, options.max_offset + 1))
        return options.offset_cost * np.minimum(apart / options.near_offset, 1.0)


def _widen(options: ConsistencyOptions) -> ConsistencyOptions:
    """Return options with a search as wide as the second search and the background of the peak."""
    return replace(options, max_offset=max(options.max_offset, options.wide_offset, options.background_offset))


def _measure_pairs(widest: FramePairs, options: ConsistencyOptions) -> Consistency | None:
    """Measure the score and the curve of pairs of the widest search; None where too few are real."""
    wide = widest.narrow(replace(options, max_offset=max(options.max_offset, options.wide_offset)))
    pairs, n_frames = widest.narrow(options), len(widest.weight)
    best = pairs.find_best(0, n_frames)
    if best is None:
        return None
    return Consistency(
        score=best.score,
        offset_s=best.offset / FPS,
        dynamic_score=None,
        drift_s=None,
        beyond_s=_search_beyond(wide, best, options),
        prominence=measure_prominence(widest.curve(0, n_frames), best.offset, options.peak_reach),
        curve=pairs.curve(0, n_frames),
        windows=(),
    )


def _search_beyond(wide: FramePairs, best: Best, options: ConsistencyOptions) -> float | None:
    """Return the offset in seconds outside the search with a clearly better score; None where there is none."""
    found = wide.find_best(0, len(wide.weight))
    if found is None or abs(found.offset) <= options.max_offset or found.score < best.score + options.wide_margin:
        return None
    return found.offset / FPS


def follow_offset(pairs: FramePairs, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return similarity (T,) and weight (T,) of each face frame at its offset (T,) int.

    A share of the background is subtracted from the similarity: the mean over offsets more than `peak_reach` frames
    away, which any voice has.
    """
    options = pairs.options
    frames, columns = np.arange(len(pairs.weight)), offsets + options.max_offset
    away = np.abs(np.arange(pairs.weight.shape[1]) - columns[:, None]) > options.peak_reach
    weight = pairs.weight * away
    background = (pairs.similarity * weight).sum(1) / np.maximum(weight.sum(1), 1e-9)
    return pairs.similarity[frames, columns] - options.baseline_share * background, pairs.weight[frames, columns]


def _follow_offset(pairs: FramePairs, offset: int, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow an offset in frames, or a steady drift between the ends of the path where that fits better."""
    steady = follow_offset(pairs, np.full(len(pairs.weight), offset))
    first, last = int(path[0]) - pairs.options.max_offset, int(path[-1]) - pairs.options.max_offset
    ends = np.flatnonzero(pairs.weight.any(1))[[0, -1]]  # a pause before or after the speech has no part in the drift
    line = np.interp(np.arange(len(pairs.weight)), ends, (first, last))
    drifting = follow_offset(pairs, line.round().astype(int))
    return max(steady, drifting, key=lambda followed: measure_level(*followed))


def _measure_timeline(start: int, pairs: FramePairs, offset: int) -> tuple[Window, ...]:
    """Score each window alone and at the offset of the track, in frames; skip windows with too little evidence."""
    windows = []
    for first, last in _spans(len(pairs.weight), pairs.options.window, pairs.options.hop):
        best = pairs.find_best(first, last)
        if best is not None and pairs.evidence_share(first, last) >= MIN_WINDOW_SHARE:
            seconds = (start + first) / FPS, (start + last) / FPS
            at_offset = pairs.score_at(first, last, offset)
            windows.append(Window(*seconds, best.score, best.offset / FPS, at_offset))
    return tuple(windows)


def _track_drift(pairs: FramePairs) -> tuple[np.ndarray, float]:
    """Find the path through the windows' curves with the highest mean similarity, less a cost per frame of change.

    Viterbi algorithm; returns (W,) int columns of the curves and the mean similarity along them. A window counts by its
    share of evidence; one without enough pairs neither costs nor moves.
    """
    length = pairs.options.path_window
    spans = _spans(len(pairs.weight), length, length)
    curves = np.stack([pairs.curve(first, last).similarity for first, last in spans])
    if not np.isfinite(curves).any():  # only all windows together have enough pairs
        spans = [(0, len(pairs.weight))]
        curves = pairs.curve(*spans[0]).similarity[None]
    shares = np.isfinite(curves).any(1) * np.array([pairs.evidence_share(first, last) for first, last in spans])
    gains = shares[:, None] * np.nan_to_num(curves, nan=-1.0).astype(np.float64)
    columns = np.arange(gains.shape[1])
    moves = pairs.options.drift_cost * np.abs(columns[:, None] - columns)  # (to, from)
    best, came_from = gains[0], []
    for gain in gains[1:]:
        reached = best - moves
        came_from.append(reached.argmax(1))
        best = reached.max(1) + gain
    path = [int(best.argmax())]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    path.reverse()
    return np.array(path), float(gains[np.arange(len(path)), path].sum() / shares.sum())


def _spans(n_frames: int, length: int, hop: int) -> list[tuple[int, int]]:
    """[first, last) of windows that cover all frames; one short window below `length` frames."""
    if n_frames <= length:
        return [(0, n_frames)]
    starts = list(range(0, n_frames - length + 1, hop))
    if starts[-1] + length < n_frames:
        starts.append(n_frames - length)
    return [(start, start + length) for start in starts]
