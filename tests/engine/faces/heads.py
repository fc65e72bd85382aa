"""Landmarks without the head pose."""

import numpy as np

from engine.faces.landmark_features import find_poses


def align_heads(landmarks: np.ndarray) -> np.ndarray:
    """Align landmarks (T, 478, 3) to the mean shape of the stable points, per frame."""
    return find_poses(landmarks).align(landmarks)
