"""Reenact a still image with the motion of a clip, relative to the shape at rest.

The still's face is displaced as the driver's from its own rest, in eye distances; head pose, position and size follow
the driver's about its mean; hair and background follow smoothly. The mouth interior is the driver's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from engine.faces.face_crops import CropPlan, cut_crops
from engine.faces.landmark_features import find_poses
from engine.forging.face_swap import Colours, box_around
from engine.forging.source_clips import HeadMotion, SourceClip, find_shape
from engine.synthesis.animation import HeadMesh
from engine.synthesis.portrait import INNER_LIPS, LIP_STRIP, OVAL, Portrait
from engine.synthesis.warping import Bent, Box, bend

MAX_TURN_RAD, MAX_SHIFT = np.deg2rad(30.0), 0.6  # soft limits; eye distances
MIN_SIZE, MAX_SIZE = 0.8, 1.25
CORNERS = (78, 308)  # of the inner lips
MOUTH_PX = (64, 96)  # height and width of a kept mouth
_CORNERS_IN_CROP = (16.0, 80.0)  # x, at half the height


@dataclass(frozen=True, slots=True, eq=False)
class Mouths:
    """Mouth interior of a clip, frame by frame."""

    images: np.ndarray  # (T, 64, 96, 3) uint8 RGB
    rims: np.ndarray  # (T, 20, 2) float64: INNER_LIPS in the pixels of each


@dataclass(frozen=True)  # not slotted: what follows from the fields is kept
class Reenactment:
    """A still image and its driving motion."""

    still: Portrait
    motion: HeadMotion
    mouths: Mouths
    which: np.ndarray  # (T,) int: the row of `mouths` for each frame

    @cached_property
    def mesh(self) -> HeadMesh:
        """Triangles over the still."""
        return HeadMesh(self.still)

    @cached_property
    def points(self) -> np.ndarray:
        """(T, V, 2) pixels: vertices of the mesh in each frame."""
        landmarks = self.still.landmarks[None]
        poses = find_poses(landmarks)
        shape = find_shape(poses.align(landmarks))
        motion = _limit(self.motion, _find_room(self.still, self.mesh))
        return np.stack(
            [
                self.mesh.place(
                    poses.restore(shape.move(motion.deform[row], motion.lids[row]), 0),
                    motion.linear[row].T[:2],
                    motion.shift[row] * self.still.eye_px,
                )
                for row in range(len(motion))
            ]
        )

    def outline_face(self) -> list[np.ndarray]:
        """(36, 2) pixels of each frame."""
        return list(self.points[:, OVAL])

    def draw(self) -> Iterator[np.ndarray]:
        """Yield (H, W, 3) uint8 RGB frames without the mark."""
        x0, y0, x1, y1 = self.mesh.box
        for points, number in zip(self.points, self.which, strict=True):
            frame = self.still.image.copy()
            bent = bend(frame, self.mesh.source, points, self.mesh.triangles, self.mesh.box)
            bent.paint(frame[y0:y1, x0:x1])
            _fill_mouth(frame, points[INNER_LIPS], self.mouths, int(number), bent.covered, self.mesh.box)
            yield frame


def cut_mouths(source: SourceClip, colours: Colours | None = None) -> Mouths:
    """Crop the mouth interior of every frame, with optional colour matching; frames are streamed."""
    transforms = _place_crops(source.landmarks[:, CORNERS, :2])  # (T, 2, 3)
    rims = source.landmarks[:, INNER_LIPS, :2]
    rims = np.einsum("tij,tpj->tpi", transforms[:, :, :2], rims) + transforms[:, None, :, 2]
    plan = CropPlan(source.track.start, transforms, (*MOUTH_PX, 3), _cut_mouth)
    (images,) = cut_crops(source.read_frames(), [plan])
    if colours is not None:
        images = np.stack([colours.turn(image) for image in images])
    return Mouths(images, rims)


def _cut_mouth(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, transform, MOUTH_PX[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _place_crops(corners: np.ndarray) -> np.ndarray:
    """(T, 2, 3) similarity transforms of the mouth corners (T, 2, 2) to their positions in the crop."""
    right, left = corners[:, 0] @ (1, 1j), corners[:, 1] @ (1, 1j)  # (T,)
    x0, x1 = _CORNERS_IN_CROP
    a = (x1 - x0) / (left - right)
    b = x0 + 0.5j * MOUTH_PX[0] - a * right
    return np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], axis=1)


def _fill_mouth(
    frame: np.ndarray,
    rim: np.ndarray,
    mouths: Mouths,
    number: int,
    covered: np.ndarray,
    box: Box,
) -> None:
    """Draw a mouth interior into the open lips of the warped face, in place."""
    x0, y0, x1, y1 = box_around(rim, frame, margin=2)
    inner = bend(mouths.images[number], mouths.rims[number], rim, LIP_STRIP, (x0, y0, x1, y1))
    free = np.ones(frame.shape[:2], bool)
    free[box[1] : box[3], box[0] : box[2]] = ~covered
    Bent(inner.image, inner.covered & free[y0:y1, x0:x1]).paint(frame[y0:y1, x0:x1])


def _find_room(still: Portrait, mesh: HeadMesh) -> float:
    """Maximum shift, in eye distances, before the face folds over the fixed border."""
    oval, (x0, y0, x1, y1) = still.landmarks[OVAL, :2], mesh.box
    left = min(*(oval.min(0) - [x0, y0]), *([x1, y1] - oval.max(0)))
    return float(np.clip(0.6 * left / still.eye_px, 0.01, MAX_SHIFT))


def _limit(motion: HeadMotion, max_shift: float) -> HeadMotion:
    """Limit the motion to the range that one view and one background allow."""
    return HeadMotion(
        motion.deform,
        motion.lids,
        _soften(motion.turn, MAX_TURN_RAD),
        _soften(motion.shift, max_shift),
        np.clip(motion.size, MIN_SIZE, MAX_SIZE),
    )


def _soften(vectors: np.ndarray, limit: float) -> np.ndarray:
    """(T, n): soft limit of the vector norms."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    softened: np.ndarray = vectors * (limit * np.tanh(lengths / limit) / lengths)
    return softened
