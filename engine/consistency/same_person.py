"""Find faces seen at the same time with the same motion: one person, shown twice.

A mirrored screen, a split screen or an original next to its face swap shows one head motion, one blink and one lip gap
in two places. The signals compared are equal in a mirror: the mean of a left and a right blendshape, pitch, lip gap.
"""

from collections.abc import Sequence

import numpy as np

from engine.faces.landmarker import BLENDSHAPES
from engine.features.records import FaceFeatures

MIN_FRAMES = 50  # seen together
MAX_DELAY = 8  # frames of one picture after the other
MIN_GAP = 0.7  # correlation of the lip gaps
MIN_SCALE = 1e-6  # variance of a constant signal
MIN_MEAN = 0.7  # mean correlation of all signals
PAIRS = (("eyeBlinkLeft", "eyeBlinkRight"), ("mouthLowerDownLeft", "mouthLowerDownRight"), ("jawOpen", "jawOpen"))
COLUMNS = tuple((BLENDSHAPES.index(left), BLENDSHAPES.index(right)) for left, right in PAIRS)
PITCH = len(BLENDSHAPES)  # column of the motion features


def match_faces(faces: Sequence[FaceFeatures]) -> tuple[int | None, ...]:
    """Return for each face the number of the first face with the same motion at the same time; None without one."""
    signals = [_describe(face) for face in faces]
    first: list[int | None] = []
    for number, face in enumerate(faces):
        equal = (i for i in range(number) if first[i] is None and _is_same(faces[i], face, signals[i], signals[number]))
        first.append(next(equal, None))
    return tuple(first)


def _describe(face: FaceFeatures) -> np.ndarray:
    """Return (T, 5) signals that a mirror does not change, the lip gap first."""
    shapes = [(face.motion[:, left] + face.motion[:, right]) / 2 for left, right in COLUMNS]
    return np.column_stack([face.gap, *shapes, face.motion[:, PITCH]])


def _is_same(one: FaceFeatures, other: FaceFeatures, left: np.ndarray, right: np.ndarray) -> bool:
    return any(
        correlations[0] >= MIN_GAP and correlations.mean() >= MIN_MEAN
        for delay in range(-MAX_DELAY, MAX_DELAY + 1)
        if (correlations := _correlate(one, other, left, right, delay)) is not None
    )


def _correlate(
    one: FaceFeatures, other: FaceFeatures, left: np.ndarray, right: np.ndarray, delay: int
) -> np.ndarray | None:
    """Return the correlations with the other face `delay` frames later, the lip gap first, constant signals left out.

    None if too few frames are common, or for lips that do not move.
    """
    start, end = max(one.start, other.start - delay), min(one.end, other.end - delay)
    mine, theirs = (
        slice(start - one.start, end - one.start),
        slice(start + delay - other.start, end + delay - other.start),
    )
    if end - start < MIN_FRAMES:
        return None
    seen = one.seen[mine] & other.seen[theirs]
    if seen.sum() < MIN_FRAMES:
        return None
    a, b = (rows - rows.mean(0) for rows in (left[mine][seen], right[theirs][seen]))
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    varies = scale > MIN_SCALE * len(a)
    return (a * b).sum(0)[varies] / scale[varies] if varies[0] else None
