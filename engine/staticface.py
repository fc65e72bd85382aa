"""The shape of a face at rest as an embedding: what a way of speaking must not be, to hold it against.

A baseline for evaluations alone: it follows the face and not the motion, so a forged clip leads it to whose face is
shown. Points of an upright face, averaged over a second, less those of a mean face, so that a cosine tells people apart
and not faces from nothing.
"""

import numpy as np

from engine.dynamics import Nature, join_windows
from engine.faces.face_crops import AlignedFaces
from engine.features.extractor import FACES_VERSION
from engine.features.records import Observation, ObservedTrack
from engine.types import FPS, DynamicEmbedding
from engine.weights.recipes import write_recipe

STATIC_VERSION = 1
"""Raise it when the same observation would give another embedding."""
ANY = Nature(mean=0.0, between=0.0, within=0.0)  # evidence is always 0, and nothing is refused

# `alignedfaces.POINTS` on the mean of 122 people of the development clips, each counted once, pixels of the crop.
# fmt: off
MEAN_SHAPE = np.array((
    (21.86, 44.17), (22.79, 45.81), (24.14, 47.42), (26.30, 49.26), (29.26, 50.46), (32.73, 50.86), (36.31, 50.43),
    (39.36, 49.18), (41.60, 47.39), (43.03, 45.71), (43.88, 44.15), (22.71, 43.04), (24.14, 41.92), (26.24, 40.77),
    (29.39, 39.81), (32.66, 40.38), (36.00, 39.78), (39.21, 40.75), (41.46, 41.89), (42.97, 43.05), (23.01, 44.14),
    (24.61, 44.71), (25.96, 45.11), (27.81, 45.56), (30.06, 45.87), (32.76, 46.12), (35.49, 45.96), (37.86, 45.52),
    (39.71, 45.10), (41.16, 44.69), (42.78, 44.14), (24.47, 43.79), (25.94, 43.43), (27.78, 43.08), (30.06, 43.02),
    (32.69, 43.12), (35.44, 43.05), (37.77, 43.10), (39.65, 43.39), (41.17, 43.77), (7.63, 6.32), (10.22, 3.75),
    (14.24, 2.34), (19.67, 2.54), (25.95, 3.46), (26.88, 7.25), (20.18, 5.15), (15.24, 4.80), (11.65, 5.71),
    (9.21, 7.68), (57.78, 5.97), (54.97, 3.44), (50.74, 2.06), (45.17, 2.35), (38.78, 3.34), (37.99, 7.13),
    (44.71, 4.96), (49.74, 4.49), (53.52, 5.39), (56.17, 7.33), (2.47, 21.50), (2.96, 28.34), (4.12, 35.68),
    (6.10, 43.58), (8.85, 49.80), (11.92, 54.28), (15.82, 58.19), (19.20, 60.88), (22.88, 63.28), (27.24, 65.12),
    (32.89, 65.67), (38.63, 65.10), (43.13, 63.26), (46.98, 60.86), (50.53, 58.09), (54.61, 54.11), (57.86, 49.62),
    (60.70, 43.31), (62.71, 35.44), (63.73, 28.09), (64.12, 21.16), (13.58, 13.34), (16.37, 11.78), (18.43, 11.43),
    (20.54, 11.53), (25.12, 13.79), (21.12, 14.49), (19.02, 14.75), (16.91, 14.69), (51.75, 13.05), (48.81, 11.56),
    (46.82, 11.23), (44.62, 11.34), (40.13, 13.72), (44.08, 14.33), (46.27, 14.53), (48.33, 14.44), (11.44, 28.05),
    (54.16, 27.79), (15.26, 31.85), (50.28, 31.71), (9.67, 34.55), (56.22, 34.33), (25.60, 32.64), (39.72, 32.59),
    (32.60, 33.45), (32.56, 32.80), (32.42, 27.40),
))
# fmt: on


class StaticFace:
    """Tells what the face looks like; its motion has no part in it."""

    nature = ANY

    def __init__(self) -> None:
        self.recipe = write_recipe([], (STATIC_VERSION, FACES_VERSION, MEAN_SHAPE.tobytes()), ["static"])

    def embed(self, observation: Observation, track: ObservedTrack) -> DynamicEmbedding | None:
        """Embed one face; None where it is seen for less than a second. ValueError where no faces were cut."""
        if track.faces is None:
            raise ValueError("the faces of this observation were not cut: observe with `cut_faces`")
        shapes = _average_seconds(track.faces, track.seen)  # (n, 216)
        vectors = shapes / np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-9)
        return join_windows(vectors, np.zeros(len(vectors)), int(track.seen.sum()) / FPS, self.recipe, ANY)


def _average_seconds(faces: AlignedFaces, seen: np.ndarray) -> np.ndarray:
    """(n, 216) float64: the mean points of each whole second that is seen, less the mean shape."""
    points = faces.points[seen].astype(np.float64)
    n_seconds = len(points) // FPS
    parts = np.array_split(points, n_seconds) if n_seconds else []
    shapes = [part.mean(axis=0) - MEAN_SHAPE for part in parts]
    return np.array(shapes).reshape(n_seconds, MEAN_SHAPE.size)
