"""Piecewise affine warp of an image over a triangle mesh, independent of faces."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

Box = tuple[int, int, int, int]
"""`x0, y0, x1, y1` in pixels, the last two excluded."""


@dataclass(frozen=True, slots=True, eq=False)
class Bent:
    """Warped region of a frame."""

    image: np.ndarray  # (h, w, 3) uint8
    covered: np.ndarray  # (h, w) bool: inside a triangle; elsewhere `image` is undefined

    def paint(self, part: np.ndarray) -> None:
        """Copy the covered pixels into a region of the same box, (h, w, 3) uint8."""
        np.copyto(part, self.image, where=self.covered[..., None])


def span_triangles(points: np.ndarray, hole: np.ndarray | None = None) -> np.ndarray:
    """(M, 3) Delaunay triangles of points (V, 2), without those in the polygon `hole` (P, 2)."""
    triangles = Delaunay(points).simplices
    if hole is None:
        return triangles
    rim, middles = hole.astype(np.float32), points[triangles].mean(1)
    inside = [cv2.pointPolygonTest(rim, (float(x), float(y)), False) > 0 for x, y in middles]
    return triangles[~np.array(inside)]


def bend(image: np.ndarray, source: np.ndarray, target: np.ndarray, triangles: np.ndarray, box: Box) -> Bent:
    """Warp points `source` (V, 2) of the image to `target` (V, 2), within `box`.

    `triangles` (M, 3) are painted in their order, so a later one hides an earlier one.
    """
    x0, y0, x1, y1 = box
    owner = _paint_owners(target, triangles, box)
    linear, offset = _map_back(source, target, triangles)
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    a = linear[owner]  # (h, w, 2, 2)
    b = offset[owner]
    map_x = a[..., 0, 0] * xs + a[..., 0, 1] * ys + b[..., 0]
    map_y = a[..., 1, 0] * xs + a[..., 1, 1] * ys + b[..., 1]
    bent = cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Bent(bent, owner >= 0)


def order_by_depth(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Sort the triangles of points (V, 3), farthest first."""
    return triangles[np.argsort(-points[triangles, 2].mean(1), kind="stable")]


def _paint_owners(target: np.ndarray, triangles: np.ndarray, box: Box) -> np.ndarray:
    """(h, w) int32: index of the triangle at each pixel of the box, -1 for none."""
    x0, y0, x1, y1 = box
    owner = np.full((y1 - y0, x1 - x0), -1, np.int32)
    corners = np.round((target[triangles] - [x0, y0]) * 16).astype(np.int32)
    for number, triangle in enumerate(corners):
        cv2.fillConvexPoly(owner, triangle, number, cv2.LINE_8, 4)
    return owner


def _map_back(source: np.ndarray, target: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2, 2) and (M, 2) float32: each triangle's affine map from the drawn frame to the image."""
    to, back = target[triangles].astype(np.float64), source[triangles].astype(np.float64)
    edges_to = np.stack([to[:, 1] - to[:, 0], to[:, 2] - to[:, 0]], axis=2)
    edges_back = np.stack([back[:, 1] - back[:, 0], back[:, 2] - back[:, 0]], axis=2)
    flat = np.abs(np.linalg.det(edges_to)) < 1e-3  # closed lids or lips cover no pixel
    edges_to[flat] = np.eye(2)
    linear = edges_back @ np.linalg.inv(edges_to)
    offset = back[:, 0] - (linear @ to[:, 0, :, None])[..., 0]
    return linear.astype(np.float32), offset.astype(np.float32)
