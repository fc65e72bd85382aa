"""A face of one clip on the head of another, frame by frame, as the graphics swaps of FaceForensics++ do.

The donor's still face is bent after the landmarks of the target (Delaunay triangles, piecewise affine), matched in
colour and blended by Poisson's equation (Perez et al. 2003, `cv2.seamlessClone`) within the oval. Its shape is the
donor's, displaced as the target's is; the surroundings of the target's face are bent to meet it. What is seen through
open lips is the target's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.evaluation.blending import box_around, clone, match_colours, outline_mask
from engine.evaluation.headmotion import FaceShape
from engine.evaluation.takes import Take
from engine.synthesis import portrait
from engine.synthesis.portrait import INNER_LIPS, LIP_STRIP, N_MESH, OVAL, Portrait
from engine.synthesis.warping import bend, order_by_depth, span_triangles

RINGS, RING_SHARE = (1.3, 1.75), 0.4  # of the oval's size; how far the inner one goes along with the oval


@dataclass(frozen=True)  # not slotted: what follows from the fields is kept
class Donor:
    """A still face that is put on others."""

    still: Portrait
    shape: FaceShape

    @cached_property
    def triangles(self) -> np.ndarray:
        """(M, 3) over the face, the opening of the mouth left out."""
        opened = self.still.rest + self.still.basis[portrait.OPEN]
        return span_triangles(opened, opened[INNER_LIPS])


def place_donor(take: Take, donor: Donor) -> np.ndarray:
    """(T, 468, 3) pixels: where the donor's points lie in each frame of the take."""
    motion = take.motion
    return np.stack(
        [take.poses.restore(donor.shape.move(motion.deform[row], motion.lids[row]), row) for row in range(len(motion))]
    )


def swap_face(take: Take, donor: Donor, span: range | None = None) -> Iterator[np.ndarray]:
    """Yield the frames of a take, those of the span with the donor's face: (H, W, 3) uint8 RGB, as yet unmarked."""
    image = match_colours(donor.still, take.still).turn(donor.still.image)
    placed = place_donor(take, donor)
    around = span_triangles(_surround(take.still.landmarks[:N_MESH, :2], 0.0))
    for row, frame in enumerate(take.read_images()):
        if span is not None and row not in span:
            yield frame
            continue
        own, points = take.landmarks[row, :N_MESH], placed[row]
        fitted = _fit_surroundings(frame, own[:, :2], points[:, :2], around)
        yield _paint_face(fitted, frame, image, donor, points, own)


def _surround(face: np.ndarray, moved: np.ndarray | float) -> np.ndarray:
    """(540, 2): a face (468, 2) and two rings about it; the inner one moves a little with the oval (36, 2)."""
    oval = face[OVAL]
    centre = oval.mean(0)
    inner, outer = (centre + size * (oval - centre) for size in RINGS)
    return np.vstack([face, inner + RING_SHARE * np.asarray(moved), outer])


def _fit_surroundings(frame: np.ndarray, own: np.ndarray, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The frame with its face (468, 2) bent to another's shape, and what is about it bent along."""
    fitted = frame.copy()
    target = _surround(own, points[OVAL] - own[OVAL])
    target[:N_MESH] = points
    x0, y0, x1, y1 = box = box_around(target, frame)
    bend(frame, _surround(own, 0.0), target, triangles, box).paint(fitted[y0:y1, x0:x1])
    return fitted


def _paint_face(
    fitted: np.ndarray, frame: np.ndarray, image: np.ndarray, donor: Donor, points: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """The donor's picture over a frame that fits it; the mouth's inside is from the frame as it was."""
    outline = outline_mask(points)
    x0, y0, x1, y1 = box = box_around(outline, frame)
    patch = fitted[y0:y1, x0:x1].copy()
    bend(frame, own[INNER_LIPS, :2], points[INNER_LIPS, :2], LIP_STRIP, box).paint(patch)
    triangles = order_by_depth(donor.triangles, points)
    bend(image, donor.still.landmarks[:N_MESH, :2], points[:, :2], triangles, box).paint(patch)
    return clone(patch, fitted, outline, box)
