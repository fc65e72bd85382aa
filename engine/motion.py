"""How a face and its head move, as rows of numbers that say little of whose face it is.

Expression as 52 blendshapes, which the network reads off any face on one scale, and the head's pose. Nothing is centred
or scaled here: the model does that.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from engine.facenets import BLENDSHAPES
from engine.lips import find_poses
from engine.types import FaceTrack

N_SHAPES = len(BLENDSHAPES)
N_POSE = 6
N_MOTION = N_SHAPES + N_POSE


def describe_motion(track: FaceTrack) -> np.ndarray:
    """(T, 58) float32: 52 blendshapes, then turn (3, radians), place (2, eye distances) and log size of the head."""
    poses = find_poses(track.landmarks)
    eye_px = 1 / poses.scale  # (T,)
    turn = Rotation.from_matrix(poses.rotation).as_rotvec()
    place = poses.centre[:, 0, :2] / np.median(eye_px)
    pose = np.column_stack([turn, place, np.log(eye_px)])
    return np.hstack([track.blendshapes, pose]).astype(np.float32)
