"""What a face does, apart from whose face it is: shape at rest, and motion away from it, in the head's own axes.

Everything is measured in distances of the outer eye corners, so that one face's motion fits another's shape.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from engine.faces.landmark_features import HeadPoses, find_poses
from engine.faces.landmarker import BLENDSHAPES
from engine.synthesis.portrait import LOWER_LIDS, N_MESH, UPPER_LIDS, Portrait
from engine.types import FaceTrack

N_NEUTRAL = 15  # frames whose median is the shape at rest
_FINE = 200.0  # pixels an eye distance has where lips are closed: the method is made for pictures
_MOUTH_SHAPES = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight", "mouthPressLeft")
_LID_SHAPES = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True, slots=True, eq=False)
class FaceShape:
    """A face that does nothing: lips just closed, eyes open."""

    points: np.ndarray  # (468, 3) float64, head axes, eye distances
    lids: np.ndarray  # (14, 3): from each point of the lower lids to its partner above

    def move(self, deform: np.ndarray, lids: np.ndarray) -> np.ndarray:
        """(468, 3): the face displaced by (468, 3), its eyes open to shares (14,) of their width at rest."""
        moved = self.points + deform
        moved[UPPER_LIDS] = moved[LOWER_LIDS] + self.lids * lids[:, None]
        return moved


@dataclass(frozen=True)  # not slotted: what follows from the fields is kept
class HeadMotion:
    """What a head and its face do, one row a frame."""

    deform: np.ndarray  # (T, 468, 3): away from the shape at rest, head axes, eye distances
    lids: np.ndarray  # (T, 14): 0 shut, 1 as open as at rest
    turn: np.ndarray  # (T, 3) rotation vectors in the picture's axes, radians, about the mean pose
    shift: np.ndarray  # (T, 2) eye distances, in the picture, from the mean place
    size: np.ndarray  # (T,) over the mean size

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.size)

    @cached_property
    def linear(self) -> np.ndarray:
        """(T, 3, 3): turn and size as what multiplies points from the right."""
        return Rotation.from_rotvec(self.turn).as_matrix() * self.size[:, None, None]

    def weigh(self, weights: np.ndarray) -> "HeadMotion":
        """Another motion, each row a weighted mean (S, T) of the rows of this one: slowed, smoothed, reordered ..."""
        fields = (self.deform, self.lids, self.turn, self.shift, self.size)
        return HeadMotion(*(np.tensordot(weights, field, axes=1) for field in fields))


def measure_unrest(track: FaceTrack, poses: HeadPoses) -> np.ndarray:
    """(T,) from 0, a face seen from the front, at rest, its eyes open; 1 is a turn of 15 degrees, or half a blink."""
    mouth, lids = (
        track.blendshapes[:, [BLENDSHAPES.index(name) for name in names]].astype(np.float64)
        for names in (_MOUTH_SHAPES, _LID_SHAPES)
    )
    unrest: np.ndarray = measure_turn(poses) / 15 + mouth.sum(1) + 2 * lids.mean(1) + 100 * ~track.seen
    return unrest


def measure_turn(poses: HeadPoses) -> np.ndarray:
    """(T,) degrees between the line of sight and where the head faces."""
    turned: np.ndarray = np.degrees(np.arccos(np.clip(poses.rotation[:, 2, 2], -1, 1)))
    return turned


def find_shape(aligned: np.ndarray) -> FaceShape:
    """Shape at rest of neutral frames (K, 478, 3) in head axes: their median, the lips closed."""
    median = np.median(aligned, axis=0)
    closed = Portrait(np.zeros((1, 1, 3), np.uint8), median * _FINE).rest / _FINE
    points = np.column_stack([closed, median[:N_MESH, 2]])
    return FaceShape(points, points[UPPER_LIDS] - points[LOWER_LIDS])


def measure_motion(landmarks: np.ndarray, shape: FaceShape) -> HeadMotion:
    """Motion of landmarks (T, 478, 3) in pixels away from a shape at rest."""
    poses = find_poses(landmarks)
    aligned = poses.align(landmarks)[:, :N_MESH]
    to_picture = Rotation.from_matrix(poses.rotation.transpose(0, 2, 1))  # head axes to the picture's, from the right
    turn = Rotation.from_matrix(
        np.einsum("ij,tjk->tik", to_picture.mean().as_matrix().T, to_picture.as_matrix())
    ).as_rotvec()
    eye_px = 1 / poses.scale
    centre = poses.centre[:, 0, :2]
    return HeadMotion(
        deform=aligned - shape.points,
        lids=_measure_lids(aligned, shape),
        turn=turn,
        shift=(centre - centre.mean(0)) / eye_px.mean(),
        size=eye_px / eye_px.mean(),
    )


def _measure_lids(aligned: np.ndarray, shape: FaceShape) -> np.ndarray:
    """(T, 14): how far each lid is open, over how far it is at rest, along the opening at rest."""
    opening = aligned[:, UPPER_LIDS] - aligned[:, LOWER_LIDS]
    widths = np.maximum(np.square(shape.lids).sum(1), 1e-6)
    return np.clip((opening * shape.lids).sum(2) / widths, 0.0, 1.5)
