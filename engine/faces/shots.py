"""Detect shot cuts: HSV difference of successive downscaled frames against a threshold and the recent differences.

Follows PySceneDetect's content and adaptive detectors.
"""

import cv2
import numpy as np

SMALL = (64, 36)  # pixels, width and height
MAX_STEP = 256  # pixels that can be summed below 2 ** 16
N_RECENT = 12  # differences within a shot in the running mean


class ShotCuts:
    """Detector of shot cuts; takes the frames of a clip in order."""

    def __init__(self, least_difference: float, least_ratio: float):
        self._least_difference, self._least_ratio = least_difference, least_ratio
        self._before: np.ndarray | None = None
        self._recent: list[float] = []

    def is_cut(self, image: np.ndarray) -> bool:
        """Return whether this RGB frame (H, W, 3) uint8 is the first of a new shot."""
        hsv = cv2.cvtColor(shrink(image, SMALL), cv2.COLOR_RGB2HSV).astype(np.float32)
        if self._before is None:
            self._before = hsv
            return False
        change = np.abs(hsv - self._before)
        change[..., 0] = np.minimum(change[..., 0], 180 - change[..., 0])  # hue is periodic with 180
        difference = float(change.mean())
        usual = float(np.mean(self._recent)) if self._recent else 0.0
        self._before = hsv
        cut = difference > self._least_difference and difference > self._least_ratio * usual
        self._recent = [] if cut else [*self._recent[1 - N_RECENT :], difference]
        return cut


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Downscale an image (H, W, 3) uint8 to (width, height) by area averaging.

    Bit-identical to OpenCV's INTER_AREA, in half the time at integer factors such as from 360p and 1080p.
    """
    (height, width), (columns, rows) = image.shape[:2], size
    down, across = height // rows, width // columns
    if height % rows or width % columns or not (3 <= min(down, across) <= max(down, across) <= MAX_STEP):
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bands = image.reshape(rows, down, width * 3)
    lines = bands[:, 0].astype(np.uint16)
    for at in range(1, down):
        lines += bands[:, at]
    parts = lines.reshape(rows, columns, across, 3)
    sums = parts[:, :, 0].astype(np.uint32)  # plain additions: a matrix product would start threads
    for at in range(1, across):
        sums += parts[:, :, at]
    return np.rint(sums.astype(np.float32) * np.float32(1 / (down * across))).astype(np.uint8)
