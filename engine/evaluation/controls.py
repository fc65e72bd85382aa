"""Controls: nobody else is in them; the time is wrong, or nothing at all.

The rough ones show the clip's own frames at other times. The smooth ones move its own still by its own motion, weighted
anew over time, so that no jump and no tremor tells of them; `rerendered` is the same with the time left right.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from engine.errors import NotForgeable
from engine.evaluation.forgery import Forgery, Kind, describe
from engine.evaluation.reenactment import Performance, cut_mouths
from engine.evaluation.takes import MIN_S, Take
from engine.evaluation.timelines import fit_speed, permute_segments, pick_speed, smooth_away, walk, warp_smoothly

FASTER, SLOWER = 1.5, 0.67
LEAST_FASTER = 1.1  # below it a clip is too short to be played faster and still last a second
MAX_STORE_BYTES = 4 * 2**30
_IN_TIME = (Kind.FROZEN, Kind.RERENDERED, Kind.SMOOTHED)  # their sound is still of their time


def control(kind: Kind, take: Take, chance: np.random.Generator) -> Forgery:
    """Plan a control; NotForgeable where the take is too short for it, or turned away too far to be drawn."""
    plain = describe(kind, take)
    if kind == Kind.UNTOUCHED:
        return plain
    if kind not in _IN_TIME:
        plain = replace(plain, sound=None, voice="")
    if kind in (Kind.RERENDERED, Kind.SMOOTHED, Kind.SMOOTH_WARP, Kind.SMOOTH_SEGMENTS, Kind.SMOOTH_WALK):
        take.check_frontal()
        weights = _weigh_frames(kind, len(take), float(take.rate), chance)
        performance = Performance(take.still, take.motion.weigh(weights), cut_mouths(take), weights.argmax(1))
        return replace(plain, outlines=performance.outline_face(), draw=performance.draw)
    order = _order_frames(kind, take, chance)
    speed = {Kind.FASTER: len(take) / len(order), Kind.SLOWER: SLOWER}.get(kind)
    return replace(plain, draw=lambda: play_frames(take, order), detail=f"speed {speed:.2f}" if speed else "")


def play_frames(take: Take, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield frames of a take in any order (S,); those that do not come in turn are kept in a temporary file."""
    if (np.diff(order) >= 0).all():
        yield from _play_in_turn(take, order)
        return
    width, height = take.size_px
    shape = (len(take), height, width, 3)
    if np.prod(shape) > MAX_STORE_BYTES:
        raise NotForgeable(f"The pictures of {take.row.written} are too many and too large to be reordered.")
    with tempfile.TemporaryFile() as file:
        store = np.memmap(file, np.uint8, "w+", shape=shape)
        for number, image in enumerate(take.read_images()):
            store[number] = image
        for number in order:
            yield np.array(store[number])


def _order_frames(kind: Kind, take: Take, chance: np.random.Generator) -> np.ndarray:
    """(S,) int: frame numbers of a rough control."""
    count = len(take)
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
    speed = fit_speed(count, FASTER, int(1.04 * MIN_S * take.rate))
    if speed < LEAST_FASTER:
        raise NotForgeable(f"{take.row.written} is too short to be played faster and still last {MIN_S:g} s.")
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


def _play_in_turn(take: Take, order: np.ndarray) -> Iterator[np.ndarray]:
    images = enumerate(take.read_images())
    number, image = next(images)
    for wanted in order:
        while number < wanted:
            number, image = next(images)
        yield image
