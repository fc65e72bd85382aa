"""Do this face and this voice belong to the same speech: similarity over offsets, one number, and a timeline.

After SpeechForensics (Liang et al., NeurIPS 2024): the similarity of the video-only and the audio-only features,
best over the offset. Two differences: only real pairs enter a mean (nothing is zero-padded, nothing stretched), and each
pair counts by how much the two encoders say there is to compare.
"""

from dataclasses import dataclass

import numpy as np

from engine.types import FPS, Encoded, SyncCurve, Window


@dataclass(frozen=True, slots=True)
class ConsistencyOptions:
    """What changes a score; enters the recipe."""

    max_offset: int = 15  # frames, K: the sound is tried from K early to K late
    min_pairs: int = 10  # frame pairs behind a value of the curve
    window: int = 50  # frames of a timeline window
    hop: int = 25  # frames between windows
    path_window: int = 125  # frames of the windows along which the offset may move
    drift_cost: float = 0.02  # similarity that one frame of change between those windows must earn


@dataclass(frozen=True, slots=True, eq=False)
class Consistency:
    """What was measured of one track, before any gate judges it."""

    score: float  # mean similarity at the best offset, in [-1, 1]
    offset_s: float  # positive: the sound comes late
    dynamic_score: float  # the same along the path of slowly changing offset
    drift_s: float  # last minus first offset of that path
    curve: SyncCurve
    windows: tuple[Window, ...]


def measure_consistency(
    encoded: Encoded, mask: np.ndarray, options: ConsistencyOptions | None = None
) -> Consistency | None:
    """All figures of one track; None where too few frames are real on both sides.

    `mask` (T,) bool: frames whose face is seen and whose sound is there.
    """
    options = options or ConsistencyOptions()
    pairs = Pairs.of(encoded, mask, options.max_offset)
    curve = pairs.curve(0, len(mask), options.min_pairs)
    if not np.isfinite(curve.similarity).any():
        return None
    best = int(np.nanargmax(curve.similarity))
    path, along = _follow_offset(pairs, options)
    return Consistency(
        score=float(curve.similarity[best]),
        offset_s=float(curve.offsets_s[best]),
        dynamic_score=along,
        drift_s=float(curve.offsets_s[path[-1]] - curve.offsets_s[path[0]]),
        curve=curve,
        windows=_draw_timeline(encoded.start, pairs, options),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Similarity and weight of every pair of a face frame and a sound frame that the search compares."""

    similarity: np.ndarray  # (T, 2K+1) float64: face frame t with sound frame t + k
    weight: np.ndarray  # (T, 2K+1) float64, 0 where the pair is not real

    @classmethod
    def of(cls, encoded: Encoded, mask: np.ndarray, max_offset: int) -> "Pairs":
        """Compare every frame with its neighbours up to `max_offset` away."""
        n_frames = len(mask)
        t = np.arange(n_frames)[:, None]
        partner = t + np.arange(-max_offset, max_offset + 1)  # (T, 2K+1)
        inside = (partner >= 0) & (partner < n_frames)
        partner = np.clip(partner, 0, n_frames - 1)
        columns = [np.einsum("td,td->t", encoded.lips, encoded.speech[partner[:, k]]) for k in range(partner.shape[1])]
        real = inside & mask[:, None] & mask[partner]
        weight = encoded.lips_weight[:, None] * encoded.speech_weight[partner] * real
        return cls(np.stack(columns, axis=1).astype(np.float64), weight.astype(np.float64))

    def curve(self, first: int, last: int, min_pairs: int) -> SyncCurve:
        """Weighted mean over the face frames `first` to `last`; NaN at offsets with fewer than `min_pairs` pairs."""
        similarity, weight = self.similarity[first:last], self.weight[first:last]
        counts = (weight > 0).sum(0)
        total = weight.sum(0)
        mean = (similarity * weight).sum(0) / np.where(total > 0, total, 1.0)
        reach = self.similarity.shape[1] // 2
        offsets_s = np.arange(-reach, reach + 1, dtype=np.float32) / FPS
        return SyncCurve(offsets_s, np.where(counts >= max(1, min_pairs), mean, np.nan).astype(np.float32), counts)


def _draw_timeline(start: int, pairs: Pairs, options: ConsistencyOptions) -> tuple[Window, ...]:
    """Each window's own best similarity and offset; windows with too few real pairs are left out."""
    windows = []
    for first, last in _spans(len(pairs.weight), options.window, options.hop):
        curve = pairs.curve(first, last, options.min_pairs)
        if np.isfinite(curve.similarity).any():
            best = int(np.nanargmax(curve.similarity))
            begin, end = (start + first) / FPS, (start + last) / FPS
            windows.append(Window(begin, end, float(curve.similarity[best]), float(curve.offsets_s[best])))
    return tuple(windows)


def _follow_offset(pairs: Pairs, options: ConsistencyOptions) -> tuple[np.ndarray, float]:
    """The path through the windows' curves with the highest mean similarity, each frame of change paid for.

    Viterbi's algorithm; gives (W,) int columns of the curves and the mean similarity along them. A window with
    nothing to compare costs nothing and moves nothing.
    """
    spans = _spans(len(pairs.weight), options.path_window, options.path_window)
    curves = np.stack([pairs.curve(first, last, options.min_pairs).similarity for first, last in spans])
    gains = np.nan_to_num(curves, nan=-1.0).astype(np.float64)
    gains[~np.isfinite(curves).any(1)] = 0.0
    columns = np.arange(gains.shape[1])
    moves = options.drift_cost * np.abs(columns[:, None] - columns)  # (to, from)
    best, came_from = gains[0], []
    for gain in gains[1:]:
        reached = best - moves
        came_from.append(reached.argmax(1))
        best = reached.max(1) + gain
    path = [int(best.argmax())]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    path.reverse()
    return np.array(path), float(gains[np.arange(len(path)), path].mean())


def _spans(n_frames: int, length: int, hop: int) -> list[tuple[int, int]]:
    """(first, last) of windows that cover all frames; one short window where there are fewer than `length`."""
    if n_frames <= length:
        return [(0, n_frames)]
    starts = list(range(0, n_frames - length + 1, hop))
    if starts[-1] + length < n_frames:
        starts.append(n_frames - length)
    return [(start, start + length) for start in starts]
