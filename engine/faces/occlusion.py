"""Find covered mouths: a hand, mask, microphone, scarf or other thing in front of the lips.

Landmarks are placed on a covered mouth too, at chance. A small network therefore reads a patch of the lower face every
few frames, aligned by the points that speech does not move. It gates a result and changes no score of a clear mouth, so
it is not part of the recipe; `MOUTH_COVER_VERSION` counts its changes. Trained by `wayspeak train cover`, see
docs/mouth-cover.md.
"""

from concurrent.futures import Executor, Future
from typing import Protocol

import cv2
import numpy as np

from engine.faces.landmark_features import STABLE_SHAPE, find_poses

MOUTH_COVER_VERSION = 1
COVER_EVERY = 5  # frames of a face between two patches
PATCH_PX = 48
LEFT, RIGHT, TOP, BOTTOM = -0.75, 0.75, -0.1, 1.4  # of the patch in head coordinates, the outer eye corners 1 apart
MAX_FINE = 8  # a large face is cut this many times finer, then averaged
BATCH = 16  # patches
MEDIAN = 5  # patches of the running median
MIN_CLEAR = 50  # frames; a shorter time between two covers is no evidence
MARGIN = 5  # frames before and after a cover in which it moves


class CoverDetector(Protocol):
    """Network that detects a covered mouth."""

    def detect(self, patches: np.ndarray, /) -> np.ndarray:
        """Return the log-odds (B,) that the mouths of patches (B, 48, 48, 3) uint8 RGB are covered."""
        ...


class CoverTrace:
    """Log-odds of a covered mouth every few rows of a growing track, computed in batches."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._patches: list[np.ndarray] = []  # not yet in a batch
        self._batches: list[Future[np.ndarray]] = []

    def add(self, row: int, image: np.ndarray, landmarks: np.ndarray, detector: CoverDetector, pool: Executor) -> None:
        """Cut the patch of a row, if one is due, and start a full batch."""
        if self._rows and row < self._rows[-1] + COVER_EVERY:
            return
        self._rows.append(row)
        self._patches.append(cut_lower_face(image, landmarks))
        if len(self._patches) == BATCH:
            self._start(detector, pool)

    def finish(self, length: int, detector: CoverDetector | None, pool: Executor) -> np.ndarray:
        """Return the log-odds (length,) float32, NaN in the rows without a patch."""
        if self._patches and detector is not None:
            self._start(detector, pool)
        log_odds = [value for batch in self._batches for value in batch.result()]
        found = np.full(length, np.nan, np.float32)
        for row, value in zip(self._rows, log_odds, strict=True):
            if row < length:
                found[row] = value
        return found

    def _start(self, detector: CoverDetector, pool: Executor) -> None:
        self._batches.append(pool.submit(detector.detect, np.stack(self._patches)))
        self._patches = []


def cut_lower_face(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Cut the patch (48, 48, 3) uint8 of landmarks (478, 3) in pixels from an RGB image."""
    corners = np.array([[LEFT, TOP, 0], [RIGHT, TOP, 0], [LEFT, BOTTOM, 0]]) - STABLE_SHAPE.mean(0)
    placed = find_poses(landmarks[None].astype(np.float64)).restore(corners, 0)[:, :2]
    side = np.sqrt(abs(np.linalg.det(placed[1:] - placed[0])))
    fine = int(np.clip(round(side / PATCH_PX), 1, MAX_FINE))
    size = fine * PATCH_PX
    to_patch = cv2.getAffineTransform(placed.astype(np.float32), np.array([[0, 0], [size, 0], [0, size]], np.float32))
    patch = cv2.warpAffine(image, to_patch, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return patch if fine == 1 else cv2.resize(patch, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_AREA)


def mark_covered(log_odds: np.ndarray) -> np.ndarray:
    """Return (T,) bool: rows with a covered mouth, from log-odds (T,) with NaN in most rows, smoothed over time."""
    length, rows = len(log_odds), np.flatnonzero(~np.isnan(log_odds))
    covered = np.zeros(length, bool)
    if not len(rows):
        return covered
    reach = MEDIAN // 2
    held = np.pad(log_odds[rows], reach, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(held, MEDIAN), axis=1)
    for row, value in zip(rows, smooth, strict=True):
        if value > 0:
            covered[max(0, row - MARGIN) : row + MARGIN + 1] = True
    if not covered.any():
        return covered
    edges = np.flatnonzero(np.diff(np.concatenate([[True], covered, [True]]).astype(int)))
    for start, end in edges.reshape(-1, 2):  # each clear run
        if end - start < MIN_CLEAR:
            covered[start:end] = True
    return covered
