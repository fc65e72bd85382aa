"""Putting a piece of one picture into another: which part of a face, in which colours, and without a seam."""

from dataclasses import dataclass

import cv2
import numpy as np

from engine.synthesis.portrait import INNER_LIPS, OVAL, Portrait
from engine.synthesis.warping import Box

INSET = 0.1  # of the oval's size: where the blending ends, inside of it
FOREHEAD = 0.35  # how far the upper part of the mask comes down from the hairline to the brows
RIM, MAX_APART = 0.16, 20.0  # of the mask's size; grey levels that the equation may carry inwards
SPREAD = (0.7, 1.4)  # bounds of what colour matching may do to contrast
BROWS = np.array([70, 63, 105, 66, 107, 336, 296, 334, 293, 300])
UPPER_OVAL = np.array([*range(7), *range(30, 36)])  # rows of OVAL above the eyes


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """How one face's skin becomes another's: mean and spread in CIELAB (Reinhard et al. 2001)."""

    gain: np.ndarray  # (3,)
    offset: np.ndarray  # (3,)

    def turn(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB in the colours of the other."""
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) * self.gain + self.offset
        return cv2.cvtColor(np.clip(np.rint(lab), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def match_colours(source: Portrait, target: Portrait) -> Colours:
    """Compare the skin of two faces."""
    found, wanted = _read_skin(source), _read_skin(target)
    gain = np.clip(wanted.std(0) / np.maximum(found.std(0), 1.0), *SPREAD)
    return Colours(gain, wanted.mean(0) - found.mean(0) * gain)


def outline_mask(points: np.ndarray) -> np.ndarray:
    """(36, 2) pixels: the part of a face (468, 2+) that is replaced, from the brows to the chin."""
    oval = points[OVAL, :2].astype(np.float64)
    brows = points[BROWS, :2].mean(0)
    down = points[152, :2] - points[10, :2]
    down = down / np.linalg.norm(down)
    above = np.maximum((brows - oval[UPPER_OVAL]) @ down, 0)
    oval[UPPER_OVAL] += FOREHEAD * above[:, None] * down
    centre = oval.mean(0)
    outline: np.ndarray = centre + (1 - INSET) * (oval - centre)
    return outline


def clone(patch: np.ndarray, frame: np.ndarray, outline: np.ndarray, box: Box) -> np.ndarray:
    """Blend `patch` (h, w, 3), which covers `box`, into a copy of the frame within an outline (P, 2) in pixels.

    By Poisson's equation (Perez et al. 2003): the patch lends its gradients, the frame the colours of the rim.
    """
    x0, y0, x1, y1 = box
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [np.round(outline - [x0, y0]).astype(np.int32)], 255)
    mask[[0, 1, -1, -2]] = 0  # the equation wants a rim that is known
    mask[:, [0, 1, -1, -2]] = 0
    blended = frame.copy()
    if not mask.any():
        return blended
    patch = _calm_rim(patch, frame[y0:y1, x0:x1], mask)
    left, top, width, height = cv2.boundingRect(mask)
    middle = (left + width // 2, top + height // 2)
    under = np.ascontiguousarray(frame[y0:y1, x0:x1])
    solved = cv2.seamlessClone(patch, under, mask.copy(), middle, cv2.NORMAL_CLONE)  # it writes into its mask
    np.copyto(blended[y0:y1, x0:x1], solved, where=mask[..., None] > 0)  # and rounds some pixels around it
    return blended


def box_around(points: np.ndarray, frame: np.ndarray, margin: int = 6) -> Box:
    """The pixels about points (P, 2), within the frame."""
    height, width = frame.shape[:2]
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
    x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int) + margin + 1, [width, height])
    return int(x0), int(y0), int(max(x1, x0 + 4)), int(max(y1, y0 + 4))


def _calm_rim(patch: np.ndarray, under: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Take from the rim of a patch what is hair there and skin beneath: the equation would smear it inwards."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    nearness = np.clip(1 - depth / (RIM * np.sqrt(float((mask > 0).sum()))), 0, 1)[..., None]  # 1 on the rim
    apart = under.astype(np.float32) - patch
    excess = apart - np.clip(apart, -MAX_APART, MAX_APART)
    return np.clip(np.rint(patch + nearness * excess), 0, 255).astype(np.uint8)


def _read_skin(portrait: Portrait) -> np.ndarray:
    """(n, 3) float32 CIELAB of the part that is replaced, without the opening of the lips."""
    mask = np.zeros(portrait.image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(outline_mask(portrait.landmarks)).astype(np.int32)], 1)
    cv2.fillPoly(mask, [np.round(portrait.landmarks[INNER_LIPS, :2]).astype(np.int32)], 0)
    lab: np.ndarray = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB).astype(np.float32)
    return lab[mask > 0]
