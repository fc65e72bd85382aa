"""Do this face and this voice belong to the same speech: similarity over offsets, one number, and a timeline.

After SpeechForensics (Liang et al., NeurIPS 2024): the similarity of the video-only and the audio-only features, best
over the offset. Differences, each measured in docs/compact-model.md: only real pairs enter a mean (nothing is
zero-padded, nothing stretched); each pair counts by how much the two encoders say there is to compare; half of what
any moment of this face shares with any moment of this voice is taken off. The last two were fitted to the compact
model; `PLAIN_MEAN` is the rule for models on which nothing was fitted. `engine/consistency/speechforensics.py` has
the method without any of this.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from engine.types import FPS, Encoded, SyncCurve, Window

MIN_BACKGROUND = 10  # offsets from which the spread of a curve can be told


@dataclass(frozen=True, slots=True)
class ConsistencyOptions:
    """What changes a score; enters the recipe."""

    recipe_name: ClassVar = "ConsistencyOptions"

    max_offset: int = 15  # frames, K: the sound is tried from K early to K late
    min_pairs: int = 10  # frame pairs behind a value of the curve
    baseline_share: float = 0.5  # of the similarity of all times with all times, taken off the score
    overlap_power: float = 0.5  # of the share of pairs that an offset has, by which its similarity is multiplied
    wide_offset: int = 50  # frames of a second search, which only tells that the sound lies beyond the first
    wide_margin: float = 0.15  # how much higher the second must score to tell so
    window: int = 50  # frames of a timeline window
    hop: int = 25  # frames between windows
    path_window: int = 125  # frames of the windows along which the offset may move
    drift_cost: float = 0.02  # similarity that one frame of change between those windows must earn
    background_offset: int = 50  # frames up to which the curve is looked at to tell how clear its peak is
    peak_reach: int = 5  # frames around the best offset that are no background


PLAIN_MEAN = ConsistencyOptions(baseline_share=0.0, overlap_power=0.0, wide_offset=15)
"""The mean over the real pairs, best over the offset, and nothing fitted: no second search either, with its margin."""


@dataclass(frozen=True, slots=True, eq=False)
class Consistency:
    """What was measured of one track, before any gate judges it."""

    score: float  # see `FramePairs.find_best`; about -0.5 to 1
    offset_s: float  # positive: the sound comes late
    dynamic_score: float | None  # mean similarity along the path of slowly changing offset, in [-1, 1]
    drift_s: float | None  # last minus first offset of that path; both None in paper mode
    beyond_s: float | None  # where the sound fits clearly better outside the search, if it does
    clarity: float  # see `measure_clarity`
    curve: SyncCurve
    windows: tuple[Window, ...]


def measure_consistency(
    encoded: Encoded, mask: np.ndarray, options: ConsistencyOptions | None = None
) -> Consistency | None:
    """All figures of one track; None where too few frames are real on both sides.

    `mask` (T,) bool: frames whose face is seen and whose sound is there.
    """
    options = options or ConsistencyOptions()
    reach = max(options.max_offset, options.wide_offset)
    widest = FramePairs.of(encoded, mask, replace(options, max_offset=max(reach, options.background_offset)))
    wide, pairs = widest.narrow(replace(options, max_offset=reach)), widest.narrow(options)
    best = pairs.find_best(0, len(mask))
    if best is None:
        return None
    path, along = _follow_offset(pairs)
    return Consistency(
        score=best.score,
        offset_s=best.offset / FPS,
        dynamic_score=along,
        drift_s=int(path[-1] - path[0]) / FPS,
        beyond_s=_look_beyond(wide, best, options),
        clarity=measure_clarity(widest.curve(0, len(mask)), best.offset, options.peak_reach),
        curve=pairs.curve(0, len(mask)),
        windows=_draw_timeline(encoded.start, pairs),
    )


def find_offset(
    encoded: Encoded, mask: np.ndarray, options: ConsistencyOptions | None = None
) -> tuple[float, int] | None:
    """Give the score and the offset in frames that `measure_consistency` would; None where it would give none."""
    best = FramePairs.of(encoded, mask, options or ConsistencyOptions()).find_best(0, len(mask))
    return None if best is None else (best.score, best.offset)


def measure_clarity(curve: SyncCurve, offset: int, peak_reach: int) -> float:
    """How many standard deviations the similarity at `offset` frames stands above that elsewhere; about 0 for noise.

    A figure without a scale of its own, so it can be had of any model: after SyncNet's confidence (Chung & Zisserman
    2016), peak against median. Elsewhere is more than `peak_reach` frames away; 0 where there is too little of it.
    """
    similarity, middle = curve.similarity.astype(np.float64), len(curve.similarity) // 2
    away = np.abs(np.arange(len(similarity)) - middle - offset) > peak_reach
    background = similarity[away & np.isfinite(similarity)]
    if len(background) < MIN_BACKGROUND:
        return 0.0
    return float((similarity[middle + offset] - background.mean()) / max(background.std(), 1e-6))


@dataclass(frozen=True, slots=True)
class Best:
    """The best offset of a span and what it scores."""

    score: float
    offset: int  # frames; positive: the sound comes late


@dataclass(frozen=True, slots=True, eq=False)
class FramePairs:
    """Similarity and weight of every pair of a face frame and a sound frame that the search compares."""

    similarity: np.ndarray  # (T, 2K+1) float64: face frame t with sound frame t + k
    weight: np.ndarray  # (T, 2K+1) float64, 0 where the pair is not real
    lips: np.ndarray  # (T, D+1) weighted rows and their weights, 0 where not real
    speech: np.ndarray  # (T, D+1) the same
    options: ConsistencyOptions

    @classmethod
    def of(cls, encoded: Encoded, mask: np.ndarray, options: ConsistencyOptions) -> "FramePairs":
        """Compare every frame with its neighbours up to `max_offset` away."""
        n_frames, reach = len(mask), options.max_offset
        partner = np.arange(n_frames)[:, None] + np.arange(-reach, reach + 1)  # (T, 2K+1)
        inside = (partner >= 0) & (partner < n_frames)
        partner = np.clip(partner, 0, n_frames - 1)
        columns = [np.einsum("td,td->t", encoded.lips, encoded.speech[partner[:, k]]) for k in range(partner.shape[1])]
        lips_weight, speech_weight = encoded.lips_weight * mask, encoded.speech_weight * mask
        return cls(
            np.stack(columns, axis=1).astype(np.float64),
            (lips_weight[:, None] * speech_weight[partner] * inside).astype(np.float64),
            np.column_stack([encoded.lips * lips_weight[:, None], lips_weight]),
            np.column_stack([encoded.speech * speech_weight[:, None], speech_weight]),
            options,
        )

    def narrow(self, options: ConsistencyOptions) -> "FramePairs":
        """Keep the offsets of a narrower search."""
        cut = self.options.max_offset - options.max_offset
        kept = slice(cut, self.similarity.shape[1] - cut)
        return replace(self, similarity=self.similarity[:, kept], weight=self.weight[:, kept], options=options)

    def curve(self, first: int, last: int) -> SyncCurve:
        """Weighted mean over the face frames `first` to `last`; NaN at offsets with fewer than `min_pairs` pairs."""
        similarity, weight = self.similarity[first:last], self.weight[first:last]
        counts = (weight > 0).sum(0)
        total = weight.sum(0)
        mean = (similarity * weight).sum(0) / np.where(total > 0, total, 1.0)
        offsets_s = np.arange(-self.options.max_offset, self.options.max_offset + 1, dtype=np.float32) / FPS
        enough = counts >= max(1, self.options.min_pairs)
        return SyncCurve(offsets_s, np.where(enough, mean, np.nan).astype(np.float32), counts)

    def baseline(self, first: int, last: int) -> float:
        """Weighted mean similarity of all face frames with all sound frames of a span, however far apart."""
        lips, speech = self.lips[first:last].sum(0), self.speech[first:last].sum(0)
        return float(lips[:-1] @ speech[:-1] / (lips[-1] * speech[-1] + 1e-9))

    def find_best(self, first: int, last: int) -> Best | None:
        """Score a span; None where no offset has pairs enough.

        `max_k similarity_k * (n_k / n) ** power - share * baseline`, with n_k pairs at offset k and n the most at any:
        the mean of few pairs is high by chance more often. The length of a span is no part of its score: a factor for
        it would part long clips from short ones, and shuffled faces showed that it did.
        """
        curve, options = self.curve(first, last), self.options
        if not np.isfinite(curve.similarity).any():
            return None
        most = float(curve.pairs.max())
        height = curve.similarity * (curve.pairs / most) ** options.overlap_power
        best = int(np.nanargmax(height))
        score = float(height[best]) - options.baseline_share * self.baseline(first, last)
        return Best(score, best - options.max_offset)


def _look_beyond(wide: FramePairs, best: Best, options: ConsistencyOptions) -> float | None:
    """Search wider: seconds at which the sound fits clearly better than anywhere in the search, None where nowhere."""
    found = wide.find_best(0, len(wide.weight))
    if found is None or abs(found.offset) <= options.max_offset or found.score < best.score + options.wide_margin:
        return None
    return found.offset / FPS


def _draw_timeline(start: int, pairs: FramePairs) -> tuple[Window, ...]:
    """Score each window by itself; windows with too few real pairs are left out."""
    windows = []
    for first, last in _spans(len(pairs.weight), pairs.options.window, pairs.options.hop):
        best = pairs.find_best(first, last)
        if best is not None:
            windows.append(Window((start + first) / FPS, (start + last) / FPS, best.score, best.offset / FPS))
    return tuple(windows)


def _follow_offset(pairs: FramePairs) -> tuple[np.ndarray, float]:
    """Find the path through the windows' curves with the highest mean similarity, each frame of change paid for.

    Viterbi's algorithm; gives (W,) int columns of the curves and the mean similarity along them. A window with
    nothing to compare costs nothing and moves nothing.
    """
    length = pairs.options.path_window
    spans = _spans(len(pairs.weight), length, length)
    curves = np.stack([pairs.curve(first, last).similarity for first, last in spans])
    if not np.isfinite(curves).any():  # no window has pairs enough, only all of them together
        curves = pairs.curve(0, len(pairs.weight)).similarity[None]
    heard = np.isfinite(curves).any(1)
    gains = np.where(heard[:, None], np.nan_to_num(curves, nan=-1.0), 0.0).astype(np.float64)
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
    return np.array(path), float(gains[np.arange(len(path)), path][heard].mean())


def _spans(n_frames: int, length: int, hop: int) -> list[tuple[int, int]]:
    """(first, last) of windows that cover all frames; one short window where there are fewer than `length`."""
    if n_frames <= length:
        return [(0, n_frames)]
    starts = list(range(0, n_frames - length + 1, hop))
    if starts[-1] + length < n_frames:
        starts.append(n_frames - length)
    return [(start, start + length) for start in starts]
