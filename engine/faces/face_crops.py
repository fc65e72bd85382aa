"""Crop aligned faces and other planned regions in a second pass over the frames of a clip.

Five points of the face, averaged over five frames, define a similarity transform to the mean face, as for the mouths
(`engine/faces/mouth_crops.py`), here onto 64 x 64 pixels with the outer eye corners 37 apart. The average is centred,
so a crop does not lag behind its frame, and short, so a nod stays visible in the crop.

Transforms are known only after tracking, so the frames are streamed a second time, one at a time. All crops stay in
memory: a mouth takes 9 kB per frame, 14 MB per minute and face.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from engine.faces.mouth_crops import SQUARE, STABLE_POINTS, align_to_mean_face, stable_points
from engine.types import FaceTrack, Frame

Cut = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`cut(image (H, W, 3) uint8 RGB, transform (2, 3)) -> crop`, of constant shape."""


@dataclass(frozen=True, slots=True, eq=False)
class CropPlan:
    """One crop from each of a range of frames."""

    start: int  # frame number of row 0
    transforms: np.ndarray  # (T, 2, 3) float64: from frame pixels to crop pixels
    shape: tuple[int, ...]  # of a crop
    cut: Cut

    @property
    def end(self) -> int:
        """Frame number after the last row."""
        return self.start + len(self.transforms)


def cut_crops(
    frames: Iterable[Frame], plans: Sequence[CropPlan], on_frame: Callable[[int], None] = lambda index: None
) -> list[np.ndarray]:
    """Crop all plans in one pass and return one array (T, *shape) uint8 per plan; call `on_frame(index)` per frame.

    Frames are read up to the end of the last plan; ValueError if a planned frame is missing.
    """
    crops = make_crops(plans)
    fill_crops(frames, plans, crops, (0, max((plan.end for plan in plans), default=0)), on_frame)
    return crops


def make_crops(plans: Sequence[CropPlan]) -> list[np.ndarray]:
    """Return one empty array (T, *shape) uint8 per plan."""
    return [np.empty((len(plan.transforms), *plan.shape), np.uint8) for plan in plans]


def fill_crops(
    frames: Iterable[Frame],
    plans: Sequence[CropPlan],
    crops: Sequence[np.ndarray],
    bounds: tuple[int, int],
    on_frame: Callable[[int], None],
) -> None:
    """Crop the planned frames of a range into the arrays of `make_crops`; ValueError if one is missing."""
    first, last = bounds
    due = sum(max(0, min(plan.end, last) - max(plan.start, first)) for plan in plans)
    for frame in frames if first < last else ():
        for plan, rows in zip(plans, crops, strict=True):
            if plan.start <= frame.index < plan.end:
                row = frame.index - plan.start
                rows[row] = plan.cut(frame.image, plan.transforms[row])
                due -= 1
        on_frame(frame.index)
        if frame.index + 1 >= last:
            break
    if due:
        raise ValueError(f"{due} of the planned frames are missing")


SIZE = 64
CORNER = (SQUARE // 4, SQUARE // 4 + 4)  # of the crop on the square of the mean face, x and y
SCALE = 0.5  # from that square to the crop
AROUND = 2  # frames before and after that are averaged with this one

# Below this scale the frame is blurred first, by so many pixels of the crop, against aliasing.
FINE_SCALE, BLUR = 0.6, 0.45
BLUR_REACH = 4  # sigmas: OpenCV's kernel for bytes ends at 3

# Vertices of the face mesh by facial part, in the order of the rows of points.
# fmt: off
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)
BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
JAW = (
    234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454,
)
EYES = (33, 160, 159, 158, 133, 153, 145, 144, 263, 387, 386, 385, 362, 380, 374, 373)
CHEEKS = (50, 280, 205, 425, 187, 411, 98, 327, 2, 94, 4)
# fmt: on
POINTS = LIPS + BROWS + JAW + EYES + CHEEKS
N_POINTS = len(POINTS)


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFaces:
    """Aligned crops and points of one face through one shot."""

    pictures: np.ndarray  # (T, 64, 64) uint8 grey; black beyond the border of the frame
    points: np.ndarray  # (T, 108, 2) float32, pixels of the crop: x and y of `POINTS`

    def __post_init__(self) -> None:
        n_frames = len(self.points)
        if self.pictures.shape != (n_frames, SIZE, SIZE) or self.pictures.dtype != np.uint8:
            raise ValueError(f"pictures are {self.pictures.dtype} {self.pictures.shape}, wanted uint8 (T, 64, 64)")
        if self.points.shape != (n_frames, N_POINTS, 2) or self.points.dtype != np.float32:
            raise ValueError(f"points are {self.points.dtype} {self.points.shape}, wanted float32 (T, {N_POINTS}, 2)")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.points)

    def __getitem__(self, frames: slice) -> "AlignedFaces":
        """Return a range of the frames."""
        return AlignedFaces(self.pictures[frames], self.points[frames])


def plan_faces(track: FaceTrack) -> CropPlan:
    """Plan the aligned crops of a track."""
    return CropPlan(track.start, place_faces(track.landmarks), (SIZE, SIZE), cut_face)


def place_faces(landmarks: np.ndarray) -> np.ndarray:
    """Return transforms (T, 2, 3) onto the crop for landmarks (T, 478, 3) in pixels."""
    stable = stable_points(landmarks)[:, : len(STABLE_POINTS)]
    held = np.pad(stable, ((AROUND, AROUND), (0, 0), (0, 0)), mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(held, 2 * AROUND + 1, axis=0).mean(axis=-1)  # (T, 5, 2)
    transforms = align_to_mean_face(smooth)
    transforms[:, :, 2] -= CORNER
    return transforms * SCALE


def place_points(landmarks: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Map `POINTS` of landmarks (T, 478, 3) by `transforms` (T, 2, 3) to crop pixels, (T, 108, 2) float32."""
    points = landmarks[:, POINTS, :2].astype(np.float64)
    placed = np.einsum("tij,tpj->tpi", transforms[:, :, :2], points) + transforms[:, None, :, 2]
    return placed.astype(np.float32)


def cut_face(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Crop one face: (H, W, 3) uint8 RGB and a (2, 3) of `place_faces` to (64, 64) uint8 grey.

    Only the part of the frame that the crop shows is processed: blurring a whole frame takes far longer.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    sigma = BLUR / scale if scale < FINE_SCALE else 0.0
    (left, top), (right, bottom) = _find_source(image, transform, sigma)
    if left >= right or top >= bottom:
        return np.zeros((SIZE, SIZE), np.uint8)  # the face is outside the frame
    grey = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(grey, (0, 0), sigma) if sigma else grey
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ (left, top)
    return cv2.warpAffine(smooth, moved, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def _find_source(image: np.ndarray, transform: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last corner (x, y) of the frame pixels that the crop depends on."""
    corners = np.array([(0, 0), (SIZE, 0), (0, SIZE), (SIZE, SIZE)], np.float64)
    there = np.linalg.solve(transform[:, :2], (corners - transform[:, 2]).T).T  # (4, 2)
    margin = np.ceil(BLUR_REACH * sigma) + 2
    size = image.shape[1::-1]
    first = np.clip(np.floor(there.min(axis=0)) - margin, 0, size).astype(int)
    last = np.clip(np.ceil(there.max(axis=0)) + margin, 0, size).astype(int)
    return first, last
