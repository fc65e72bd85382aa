"""The moving mouth of one clip in the face of another, at the place of its own, frame by frame.

The driver's lips, their shape, their motion and what is between them replace those of the take; head, eyes and brows
stay.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from engine.evaluation.blending import box_around, clone, match_colours
from engine.evaluation.headmotion import FaceShape
from engine.evaluation.takes import Take
from engine.synthesis import portrait
from engine.synthesis.portrait import LOWER, N_MESH, OVAL, UPPER
from engine.synthesis.warping import Bent, bend, order_by_depth, span_triangles

NEAR, FAR = 0.06, 0.36  # eye distances from the lips: within the first all is the driver's, beyond the second nothing
NOSE = (2, 98, 327)
CUT = 0.35  # share of the driver at which the picture is cut and blended


def swap_mouth(take: Take, driver: Take) -> Iterator[np.ndarray]:
    """Yield the frames of a take with the driver's mouth, while both last: (H, W, 3) uint8 RGB, as yet unmarked."""
    share = _share_of_driver(take.shape)
    triangles = _span_mouth(take, share)
    colours = match_colours(driver.still, take.still)
    for row, (frame, other, number) in enumerate(_pair_frames(take, driver)):
        points = _place_mouth(take, driver, share, row, number)
        hull = cv2.convexHull(points[share > CUT, :2].astype(np.float32))[:, 0]
        box = box_around(hull, frame)
        x0, y0, x1, y1 = box
        bent = bend(other, driver.landmarks[number, :N_MESH, :2], points[:, :2], order_by_depth(triangles, points), box)
        patch = frame[y0:y1, x0:x1].copy()
        Bent(colours.turn(bent.image), bent.covered).paint(patch)
        yield clone(patch, frame, hull, box)


def count_shared(take: Take, driver: Take) -> int:
    """Frames of the take until one of the two ends."""
    return min(len(take), int((len(driver) - 1) * take.rate / driver.rate) + 1)


def _pair_frames(take: Take, driver: Take) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Each frame of the take with the driver's of the same time and that one's number."""
    others = enumerate(driver.read_images())
    number, other = next(others)
    for row, frame in zip(range(count_shared(take, driver)), take.read_images(), strict=False):
        wanted = min(round(row * driver.rate / take.rate), len(driver) - 1)
        while number < wanted:
            number, other = next(others)
        yield frame, other, number


def _share_of_driver(shape: FaceShape) -> np.ndarray:
    """(468,) from 0 far from the lips, on the oval and on the nose, to 1 on the lips."""
    flat = shape.points[:, :2]
    lips = np.unique([*UPPER.ravel(), *LOWER.ravel()])
    apart = np.linalg.norm(flat[:, None] - flat[lips], axis=2).min(1)
    share = np.clip((FAR - apart) / (FAR - NEAR), 0.0, 1.0)
    share[flat[:, 1] < flat[list(NOSE), 1].max()] = 0.0
    share[OVAL] = 0.0
    share[lips] = 1.0
    return share


def _span_mouth(take: Take, share: np.ndarray) -> np.ndarray:
    """(M, 3) triangles about the mouth, its opening included: the driver's picture shows what is in there."""
    still = take.still
    triangles = span_triangles(still.rest + still.basis[portrait.OPEN])
    return triangles[(share[triangles] > 0).any(1)]


def _place_mouth(take: Take, driver: Take, share: np.ndarray, row: int, number: int) -> np.ndarray:
    """(468, 3) pixels: the take's points, those about the mouth giving way to the driver's."""
    own = take.shape.points + take.motion.deform[row]
    lips = np.unique([*UPPER.ravel(), *LOWER.ravel()])
    apart = take.shape.points[lips].mean(0) - driver.shape.points[lips].mean(0)
    foreign = driver.shape.points + driver.motion.deform[number] + apart
    return take.poses.restore(own + share[:, None] * (foreign - own), row)
