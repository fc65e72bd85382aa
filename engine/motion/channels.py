"""Channels of a motion signature: 43 sums and differences of the motion features, with region and parity.

Left and right blendshapes become their mean and their half difference. A mirrored picture then keeps the channels of
even parity and negates those of odd parity. Four blendshapes that the network hardly ever raises (cheek puff, cheek
squint, jaw forward, nose sneer) are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from engine.faces.landmark_features import N_MOTION
from engine.faces.landmarker import BLENDSHAPES


class MotionRegion(StrEnum):
    """Part of the face with motion of its own."""

    HEAD = "head"
    EYES = "eyes"  # lids, gaze and brows
    MOUTH = "mouth"  # jaw and lips


POSE = ("pitch", "yaw", "roll", "x", "y", "size")  # after the blendshapes in `landmark_features.describe_motion`
COLUMNS = {name: column for column, name in enumerate(BLENDSHAPES + POSE)}


@dataclass(frozen=True, slots=True)
class Channel:
    """A weighted sum of motion features."""

    name: str
    region: MotionRegion
    parity: int  # -1: the sign changes in a mirrored picture
    weights: tuple[tuple[str, float], ...]  # feature and weight


def _single(names: str, region: MotionRegion, parity: int = 1) -> Iterator[Channel]:
    for name in names.split():
        yield Channel(name, region, parity, ((name, 1.0),))


def _sides(names: str, region: MotionRegion) -> Iterator[Channel]:
    """Yield the mean and the half difference of the two sides."""
    for name in names.split():
        for suffix, sign in (("", 1), ("Difference", -1)):
            yield Channel(name + suffix, region, sign, ((name + "Left", 0.5), (name + "Right", 0.5 * sign)))


def _gaze() -> Iterator[Channel]:
    across = (("eyeLookOutLeft", 0.5), ("eyeLookInRight", 0.5), ("eyeLookInLeft", -0.5), ("eyeLookOutRight", -0.5))
    up = (("eyeLookUpLeft", 0.5), ("eyeLookUpRight", 0.5), ("eyeLookDownLeft", -0.5), ("eyeLookDownRight", -0.5))
    yield Channel("gazeAcross", MotionRegion.EYES, -1, across)
    yield Channel("gazeUp", MotionRegion.EYES, 1, up)


_LISTED = (
    *_single("pitch y size", MotionRegion.HEAD),
    *_single("yaw roll x", MotionRegion.HEAD, -1),
    *_sides("eyeBlink eyeSquint eyeWide browDown browOuterUp", MotionRegion.EYES),
    *_single("browInnerUp", MotionRegion.EYES),
    *_gaze(),
    *_single("jawOpen mouthClose mouthFunnel mouthPucker", MotionRegion.MOUTH),
    *_single("mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper", MotionRegion.MOUTH),
    Channel("jawSide", MotionRegion.MOUTH, -1, (("jawLeft", 1.0), ("jawRight", -1.0))),
    Channel("mouthSide", MotionRegion.MOUTH, -1, (("mouthLeft", 1.0), ("mouthRight", -1.0))),
    *_sides(
        "mouthSmile mouthStretch mouthPress mouthLowerDown mouthUpperUp mouthFrown mouthDimple", MotionRegion.MOUTH
    ),
)
REGIONS = tuple(MotionRegion)
CHANNELS = tuple(sorted(_LISTED, key=lambda channel: (REGIONS.index(channel.region), -channel.parity)))
"""By region, those of even parity first."""
N_CHANNELS = len(CHANNELS)
REGION = np.array([REGIONS.index(channel.region) for channel in CHANNELS])  # (C,) number of the region
PARITY = np.array([channel.parity for channel in CHANNELS], np.float32)  # (C,)


def _build_matrix() -> np.ndarray:
    matrix = np.zeros((N_MOTION, N_CHANNELS))
    for column, channel in enumerate(CHANNELS):
        for name, weight in channel.weights:
            matrix[COLUMNS[name], column] = weight
    return matrix


MATRIX = _build_matrix()  # (58, C): motion features to channels
GROUP_STARTS = [
    next(i for i, channel in enumerate(CHANNELS) if (channel.region, channel.parity) == (region, parity))
    for region in REGIONS
    for parity in (1, -1)
]
"""First channel of each region and parity."""


def sum_regions(values: np.ndarray) -> np.ndarray:
    """Sum channels (..., C) by region: (..., R)."""
    return np.add.reduceat(values, GROUP_STARTS[::2], axis=-1)
