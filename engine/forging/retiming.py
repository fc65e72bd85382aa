"""Controls for motion measures: clips of one person with wrong timing, or unchanged.

Rough controls reorder the frames of the clip. Smooth ones reenact its still with weighted means of its motion over
time, without jumps or jitter; `rerendered` is the same with correct timing. Weights are (S, T): row s holds the shares
of the T frames in output frame s and sums to 1.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from engine.errors import NotForgeable
from engine.forging.kinds import Forgery, Kind, describe
from engine.forging.reenactment import Reenactment, cut_mouths
from engine.forging.source_clips import MIN_S, SourceClip

SPEEDS = (0.5, 1.8)  # local range of a smooth warp
LOW_PASS_S = 0.16  # deviation of the Gaussian: half amplitude at 1.2 Hz
SEGMENT_S, FADE_S = 0.32, 0.12
WALK_S, WALK_SPEED = 0.25, 1.5  # correlation time of the speed; its deviation, frames per frame


def pick_speed(n_frames: int, speed: float) -> np.ndarray:
    """(S,) int: frame numbers of a clip at another speed."""
    return np.minimum(np.floor(np.arange(int(n_frames / speed)) * speed + 1e-9).astype(int), n_frames - 1)


def fit_speed(n_frames: int, speed: float, fewest: int) -> float:
    """Return the speed, or the highest lower one that leaves `fewest` frames."""
    return max(1.0, min(speed, n_frames / fewest))


def interpolate(times: np.ndarray, n_frames: int) -> np.ndarray:
    """(S, T) weights of positions (S,) between frames."""
    times = np.clip(times, 0, n_frames - 1)
    before = np.minimum(times.astype(int), max(n_frames - 2, 0))
    weights = np.zeros((len(times), n_frames))
    weights[np.arange(len(times)), before] = 1 - (times - before)
    if n_frames > 1:
        weights[np.arange(len(times)), before + 1] = times - before
    return weights


def warp_smoothly(n_frames: int, rate: float, chance: np.random.Generator) -> np.ndarray:
    """(T, T) weights of a random monotone time warp."""
    speeds = _wander(n_frames - 1, 0.35 * rate, chance)
    low, high = SPEEDS
    speeds = np.exp(np.log(low) + (np.log(high) - np.log(low)) * (np.tanh(1.5 * speeds) + 1) / 2)
    times = np.concatenate([[0.0], np.cumsum(speeds)])
    return interpolate(times * (n_frames - 1) / times[-1], n_frames)


def smooth_away(n_frames: int, rate: float) -> np.ndarray:
    """(T, T) weights of a Gaussian low-pass over time."""
    return np.ascontiguousarray(gaussian_filter1d(np.eye(n_frames), LOW_PASS_S * rate, axis=0, mode="nearest"))


def permute_segments(n_frames: int, rate: float, chance: np.random.Generator) -> np.ndarray:
    """(T, T) weights: segments in random order with cross-fades, few next to their neighbour."""
    count = max(2, round(n_frames / (SEGMENT_S * rate)))
    pieces = np.array_split(np.arange(n_frames), count)
    order = _derange(count, chance)
    fade = max(1, round(FADE_S * rate / 2))
    weights, at = np.zeros((n_frames, n_frames)), 0
    for number in order:
        piece = pieces[number]
        reach = np.arange(-fade, len(piece) + fade)  # with the fades at both ends
        shares = np.clip(np.minimum(reach + fade + 0.5, len(piece) + fade - 0.5 - reach) / (2 * fade), 0, 1)
        rows = at + reach
        inside = (rows >= 0) & (rows < n_frames)
        source = np.clip(piece[0] + reach, 0, n_frames - 1)
        np.add.at(weights, (rows[inside], source[inside]), shares[inside])
        at += len(piece)
    return weights / weights.sum(1, keepdims=True)


def walk(n_frames: int, rate: float, chance: np.random.Generator) -> np.ndarray:
    """(T, T) weights: a smooth random walk through the frames, at about their speed, slower at the ends."""
    span = max(n_frames - 1, 1)
    steps = np.concatenate([[0.0], WALK_SPEED * _wander(n_frames - 1, WALK_S * rate, chance)])
    angles = chance.uniform(-np.pi, np.pi) + 2 / span * np.cumsum(steps)
    return interpolate(span * (1 + np.sin(angles)) / 2, n_frames)


def _wander(n: int, deviation: float, chance: np.random.Generator) -> np.ndarray:
    """(n,) stationary smooth noise of mean 0 and deviation 1."""
    margin = int(4 * deviation) + 1
    noise = gaussian_filter1d(chance.normal(size=n + 2 * margin), deviation)
    return noise[margin : margin + n] * np.sqrt(2 * np.sqrt(np.pi) * deviation)


def _derange(count: int, chance: np.random.Generator) -> np.ndarray:
    """Draw a permutation with the fewest consecutive numbers of 50."""
    orders = [chance.permutation(count) for _ in range(50)]
    return min(orders, key=lambda order: int((np.diff(order) == 1).sum() + (order == np.arange(count)).sum()))


FASTER, SLOWER = 1.5, 0.67
LEAST_FASTER = 1.1  # a lower speed means that the clip is too short
MAX_STORE_BYTES = 4 * 2**30
_IN_TIME = (Kind.FROZEN, Kind.RERENDERED, Kind.SMOOTHED)  # the audio stays in time


def control(kind: Kind, source: SourceClip, chance: np.random.Generator) -> Forgery:
    """Plan a control; NotForgeable for too short a clip or too large a head turn."""
    plain = describe(kind, source)
    if kind == Kind.UNTOUCHED:
        return plain
    if kind not in _IN_TIME:
        plain = replace(plain, sound=None, voice="")
    if kind in (Kind.RERENDERED, Kind.SMOOTHED, Kind.SMOOTH_WARP, Kind.SMOOTH_SEGMENTS, Kind.SMOOTH_WALK):
        source.check_frontal()
        weights = _weigh_frames(kind, len(source), float(source.rate), chance)
        performance = Reenactment(source.still, source.motion.weigh(weights), cut_mouths(source), weights.argmax(1))
        return replace(plain, outlines=performance.outline_face(), draw=performance.draw)
    order = _order_frames(kind, source, chance)
    speed = {Kind.FASTER: len(source) / len(order), Kind.SLOWER: SLOWER}.get(kind)
    return replace(plain, draw=lambda: play_frames(source, order), detail=f"speed {speed:.2f}" if speed else "")


def play_frames(source: SourceClip, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield frames of a clip in any order (S,), through a temporary file unless the order is monotone."""
    if (np.diff(order) >= 0).all():
        yield from _play_in_turn(source, order)
        return
    width, height = source.size_px
    shape = (len(source), height, width, 3)
    if np.prod(shape) > MAX_STORE_BYTES:
        raise NotForgeable(f"The frames of {source.row.written} are too many and too large to be reordered.")
    with tempfile.TemporaryFile() as file:
        store = np.memmap(file, np.uint8, "w+", shape=shape)
        for number, image in enumerate(source.read_images()):
            store[number] = image
        for number in order:
            yield np.array(store[number])


def _order_frames(kind: Kind, source: SourceClip, chance: np.random.Generator) -> np.ndarray:
    """(S,) int: frame numbers of a rough control."""
    count = len(source)
    if kind == Kind.FROZEN:
        return np.full(count, int(chance.integers(count)))
    if kind == Kind.SHUFFLED:
        return chance.permutation(count)
    if kind == Kind.REVERSED:
        return np.arange(count)[::-1]
    if kind == Kind.SLOWER:
        return pick_speed(count, SLOWER)
    if kind != Kind.FASTER:
        raise ValueError(f"{kind} is no control")
    speed = fit_speed(count, FASTER, int(1.04 * MIN_S * source.rate))
    if speed < LEAST_FASTER:
        raise NotForgeable(f"{source.row.written} is too short to be played faster and still last {MIN_S:g} s.")
    return pick_speed(count, speed)


def _weigh_frames(kind: Kind, count: int, rate: float, chance: np.random.Generator) -> np.ndarray:
    """(T, T) weights of a smooth control."""
    if kind == Kind.SMOOTHED:
        return smooth_away(count, rate)
    if kind == Kind.SMOOTH_WARP:
        return warp_smoothly(count, rate, chance)
    if kind == Kind.SMOOTH_SEGMENTS:
        return permute_segments(count, rate, chance)
    return walk(count, rate, chance) if kind == Kind.SMOOTH_WALK else np.eye(count)


def _play_in_turn(source: SourceClip, order: np.ndarray) -> Iterator[np.ndarray]:
    images = enumerate(source.read_images())
    number, image = next(images)
    for wanted in order:
        while number < wanted:
            number, image = next(images)
        yield image
