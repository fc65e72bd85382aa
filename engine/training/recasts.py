"""The same motion on another face: identity and dynamics parted, for the way of speaking is the motion's alone.

A still face of one clip is bent, piecewise affine, after the landmarks of another: either onto that clip's own shape,
as a face swap does, or keeping the still face's shape, as reenactment does. All in the pixels of upright faces.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

from engine.faces.face_crops import SIZE, AlignedFaces
from engine.synthesis.warping import bend, span_triangles

_RIM = np.array([(x, y) for x in (0, 21, 42, 63) for y in (0, 63)] + [(x, y) for x in (0, 63) for y in (21, 42)], float)
_PIXELS = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).astype(np.float32)  # (64, 64, 2) x, y


@dataclass(frozen=True, slots=True, eq=False)
class StillFace:
    """One picture of a face."""

    picture: np.ndarray  # (64, 64) uint8
    points: np.ndarray  # (108, 2) float32, pixels


def recast(still: StillFace, motion: np.ndarray, keep_shape: bool) -> AlignedFaces:
    """Move the still face by landmarks (T, 108, 2).

    `keep_shape`: the still face's own shape is moved; else it takes on that of the landmarks.
    """
    away = motion - np.median(motion, axis=0)
    rest = still.points if keep_shape else np.median(motion, axis=0)
    corners = np.vstack([rest, _RIM])
    based = _place(still, corners)
    weights, owners = _weigh_corners(corners)
    shifts = np.concatenate([away, np.zeros((len(away), len(_RIM), 2))], axis=1)  # (T, V, 2)
    fields = (shifts[:, owners] * weights[None, ..., None]).sum(2)  # (T, 4096, 2)
    moved = [_shift(based, field.reshape(SIZE, SIZE, 2).astype(np.float32)) for field in fields]
    return AlignedFaces(np.stack(moved), (rest + away).astype(np.float32))


def _place(still: StillFace, corners: np.ndarray) -> np.ndarray:
    """Bend the still face so that its points lie at the first of the corners (V, 2)."""
    own = np.vstack([still.points, _RIM])
    colour = np.repeat(still.picture[..., None], 3, axis=2)
    bent = bend(colour, own, corners, span_triangles(own), (0, 0, SIZE, SIZE))
    placed: np.ndarray = np.where(bent.covered, bent.image[..., 0], still.picture)
    return placed


def _weigh_corners(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(4096, 3) weights and numbers of the corners (V, 2) of the triangle that each pixel lies in."""
    mesh = Delaunay(corners)
    pixels = _PIXELS.reshape(-1, 2).astype(np.float64)
    found = mesh.find_simplex(pixels)
    found = np.where(found < 0, 0, found)
    transforms = mesh.transform[found]
    first = np.einsum("nij,nj->ni", transforms[:, :2], pixels - transforms[:, 2])
    weights = np.column_stack([first, 1 - first.sum(1)])
    return np.clip(np.nan_to_num(weights), 0, 1), mesh.simplices[found]


def _shift(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Move each pixel's content by a field (64, 64, 2), small beside the triangles."""
    source = _PIXELS - field
    return cv2.remap(picture, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
