"""Features from face landmarks: lip shape without the head pose, and facial motion with the head pose.

Lip features are lip and chin points in head coordinates plus mouth blendshapes. The pose is removed in 3D by a
similarity transform of points that speech does not move, so that a nod or a turn does not look like an opening mouth.
Motion features are 52 blendshapes, which have one scale for all faces, plus the head pose; they carry little identity.
The models centre and scale both.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from engine.faces.landmarker import BLENDSHAPES
from engine.types import FaceTrack

LIPS = tuple(
    int(number)
    for number in """61 146 91 181 84 17 314 405 321 375 291 185 40 39 37 0 267 269 270 409
    78 95 88 178 87 14 317 402 318 324 308 191 80 81 82 13 312 311 310 415""".split()
)
CHIN = (152, 148, 377, 176, 400, 149, 378, 136, 365, 199, 200)
MOUTH_SHAPES = tuple(i for i, name in enumerate(BLENDSHAPES) if name.startswith(("jaw", "mouth", "cheekPuff")))
N_FEATURES = 2 * len(LIPS + CHIN) + len(MOUTH_SHAPES)

STABLE = (33, 133, 362, 263, 168, 6, 197, 195, 127, 356, 10, 151)
"""Eye corners, bridge of the nose, temples and forehead."""

STABLE_SHAPE = np.array(
    [
        [-0.5024, 0.0329, 0.0739],
        [-0.1984, 0.0601, 0.0196],
        [0.1988, 0.0627, 0.0216],
        [0.4976, 0.0329, 0.0739],
        [0.0028, 0.0547, -0.1823],
        [0.0036, 0.157, -0.2073],
        [0.0023, 0.2531, -0.2409],
        [0.0031, 0.3427, -0.2819],
        [-0.8171, -0.0611, 0.64],
        [0.8096, -0.0609, 0.6394],
        [0.0, -0.534, -0.2819],
        [0.0002, -0.3403, -0.2742],
    ]
)
"""Mean shape over the training clips, x to the right, y down; the outer eye corners are 1 apart."""


def describe_lips(track: FaceTrack) -> np.ndarray:
    """Return (T, 130) float32: x, y of 40 lip and 11 chin points over the eye distance, then 28 blendshapes."""
    points = find_poses(track.landmarks).align(track.landmarks[:, LIPS + CHIN])[:, :, :2]
    shapes = track.blendshapes[:, MOUTH_SHAPES]
    return np.hstack([points.reshape(len(points), -1), shapes]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class HeadPoses:
    """Head pose per frame: `landmarks = aligned @ rotation.T / scale + centre`."""

    centre: np.ndarray  # (T, 1, 3) float64, pixels: mean of the stable points
    rotation: np.ndarray  # (T, 3, 3), from image to head axes when multiplied from the right
    scale: np.ndarray  # (T,), one over the distance of the outer eye corners in pixels

    def align(self, landmarks: np.ndarray) -> np.ndarray:
        """Return image points (T, P, 3) in head coordinates, the outer eye corners 1 apart."""
        turned = np.einsum("tpi,tij->tpj", landmarks.astype(np.float64) - self.centre, self.rotation)
        return turned * self.scale[:, None, None]

    def restore(self, aligned: np.ndarray, row: int) -> np.ndarray:
        """Return points (P, 3) in head coordinates as pixels of one frame."""
        placed: np.ndarray = aligned @ self.rotation[row].T / self.scale[row] + self.centre[row]
        return placed


def find_poses(landmarks: np.ndarray) -> HeadPoses:
    """Estimate the pose of landmarks (T, 478, 3): least squares by Umeyama 1991 (IEEE PAMI 13(4))."""
    stable = landmarks[:, STABLE].astype(np.float64)  # (T, 12, 3)
    centre = stable.mean(1, keepdims=True)
    stable = stable - centre
    left, sizes, right = np.linalg.svd(np.einsum("tpi,pj->tij", stable, STABLE_SHAPE - STABLE_SHAPE.mean(0)))
    signs = np.ones((len(landmarks), 3))
    signs[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))  # a rotation, never a mirror
    rotation = np.einsum("tij,tj,tjk->tik", left, signs, right)
    return HeadPoses(centre, rotation, (sizes * signs).sum(1) / (stable**2).sum((1, 2)))


N_SHAPES = len(BLENDSHAPES)
N_POSE = 6
N_MOTION = N_SHAPES + N_POSE


def describe_motion(track: FaceTrack) -> np.ndarray:
    """Return (T, 58) float32: 52 blendshapes, head rotation (3, rad), position (2, eye distances) and log size."""
    poses = find_poses(track.landmarks)
    eye_px = 1 / poses.scale  # (T,)
    turn = Rotation.from_matrix(poses.rotation).as_rotvec()
    place = poses.centre[:, 0, :2] / np.median(eye_px)
    pose = np.column_stack([turn, place, np.log(eye_px)])
    return np.hstack([track.blendshapes, pose]).astype(np.float32)
