"""Swap faces and mouths frame by frame, as the graphics-based swaps of FaceForensics++.

Face swap: the donor's still face is warped to the landmarks of the target (Delaunay triangles, piecewise affine),
colour-matched and blended with Poisson's equation (Perez et al. 2003, `cv2.seamlessClone`) within the oval. Its shape
is the donor's, displaced as the target's; the surroundings are warped to meet it; the mouth interior is the target's.

Mouth swap: the driver's lips, with shape, motion and interior, replace those of the clip; head, eyes and brows stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from engine.forging.source_clips import FaceShape, SourceClip
from engine.synthesis import portrait
from engine.synthesis.portrait import INNER_LIPS, LIP_STRIP, LOWER, N_MESH, OVAL, UPPER, Portrait
from engine.synthesis.warping import Bent, Box, bend, order_by_depth, span_triangles

INSET = 0.1  # of the oval's size: distance from the oval to the blending edge
FOREHEAD = 0.35  # share from the hairline to the brows by which the mask is lowered
RIM, MAX_APART = 0.16, 20.0  # of the mask's size; grey levels of difference allowed at the rim
SPREAD = (0.7, 1.4)  # bounds of the contrast gain
BROWS = np.array([70, 63, 105, 66, 107, 336, 296, 334, 293, 300])
UPPER_OVAL = np.array([*range(7), *range(30, 36)])  # rows of OVAL above the eyes


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """Colour transfer of skin: mean and deviation in CIELAB (Reinhard et al. 2001)."""

    gain: np.ndarray  # (3,)
    offset: np.ndarray  # (3,)

    def turn(self, image: np.ndarray) -> np.ndarray:
        """Transfer (H, W, 3) uint8 RGB."""
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) * self.gain + self.offset
        return cv2.cvtColor(np.clip(np.rint(lab), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def match_colours(source: Portrait, target: Portrait) -> Colours:
    """Fit the colour transfer from one face to another."""
    found, wanted = _read_skin(source), _read_skin(target)
    gain = np.clip(wanted.std(0) / np.maximum(found.std(0), 1.0), *SPREAD)
    return Colours(gain, wanted.mean(0) - found.mean(0) * gain)


def outline_mask(points: np.ndarray) -> np.ndarray:
    """(36, 2) pixels: outline of the replaced region of a face (468, 2+), from brows to chin."""
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

    Poisson's equation (Perez et al. 2003): gradients of the patch, colours of the frame at the rim.
    """
    x0, y0, x1, y1 = box
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [np.round(outline - [x0, y0]).astype(np.int32)], 255)
    mask[[0, 1, -1, -2]] = 0  # the equation needs a known rim
    mask[:, [0, 1, -1, -2]] = 0
    blended = frame.copy()
    if not mask.any():
        return blended
    patch = _calm_rim(patch, frame[y0:y1, x0:x1], mask)
    left, top, width, height = cv2.boundingRect(mask)
    middle = (left + width // 2, top + height // 2)
    under = np.ascontiguousarray(frame[y0:y1, x0:x1])
    solved = cv2.seamlessClone(patch, under, mask.copy(), middle, cv2.NORMAL_CLONE)  # writes into its mask
    np.copyto(blended[y0:y1, x0:x1], solved, where=mask[..., None] > 0)  # and rounds pixels around it
    return blended


def box_around(points: np.ndarray, frame: np.ndarray, margin: int = 6) -> Box:
    """Bounding box of points (P, 2) with a margin, within the frame."""
    height, width = frame.shape[:2]
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
    x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int) + margin + 1, [width, height])
    return int(x0), int(y0), int(max(x1, x0 + 4)), int(max(y1, y0 + 4))


def _calm_rim(patch: np.ndarray, under: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Clip large differences at the rim of a patch, such as hair over skin, which blending would smear inwards."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    nearness = np.clip(1 - depth / (RIM * np.sqrt(float((mask > 0).sum()))), 0, 1)[..., None]  # 1 on the rim
    apart = under.astype(np.float32) - patch
    excess = apart - np.clip(apart, -MAX_APART, MAX_APART)
    return np.clip(np.rint(patch + nearness * excess), 0, 255).astype(np.uint8)


def _read_skin(portrait: Portrait) -> np.ndarray:
    """(n, 3) float32 CIELAB of the replaced region, without the mouth interior."""
    mask = np.zeros(portrait.image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(outline_mask(portrait.landmarks)).astype(np.int32)], 1)
    cv2.fillPoly(mask, [np.round(portrait.landmarks[INNER_LIPS, :2]).astype(np.int32)], 0)
    lab: np.ndarray = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB).astype(np.float32)
    return lab[mask > 0]


RINGS, RING_SHARE = (1.3, 1.75), 0.4  # of the oval's size; share of the oval's motion that the inner ring follows


@dataclass(frozen=True)  # not slotted: what follows from the fields is kept
class Donor:
    """A still source face for swaps."""

    still: Portrait
    shape: FaceShape

    @cached_property
    def triangles(self) -> np.ndarray:
        """(M, 3) triangles of the face, without the mouth opening."""
        opened = self.still.rest + self.still.basis[portrait.OPEN]
        return span_triangles(opened, opened[INNER_LIPS])


def place_donor(source: SourceClip, donor: Donor) -> np.ndarray:
    """(T, 468, 3) pixels: landmarks of the donor face in each frame of the clip."""
    motion = source.motion
    return np.stack(
        [
            source.poses.restore(donor.shape.move(motion.deform[row], motion.lids[row]), row)
            for row in range(len(motion))
        ]
    )


def swap_face(source: SourceClip, donor: Donor, span: range | None = None) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames of a clip, without the mark; those of the span show the donor's face."""
    image = match_colours(donor.still, source.still).turn(donor.still.image)
    placed = place_donor(source, donor)
    around = span_triangles(_surround(source.still.landmarks[:N_MESH, :2], 0.0))
    for row, frame in enumerate(source.read_images()):
        if span is not None and row not in span:
            yield frame
            continue
        own, points = source.landmarks[row, :N_MESH], placed[row]
        fitted = _fit_surroundings(frame, own[:, :2], points[:, :2], around)
        yield _paint_face(fitted, frame, image, donor, points, own)


def _surround(face: np.ndarray, moved: np.ndarray | float) -> np.ndarray:
    """(540, 2): a face (468, 2) and two rings around it; the inner one partly follows the oval (36, 2)."""
    oval = face[OVAL]
    centre = oval.mean(0)
    inner, outer = (centre + size * (oval - centre) for size in RINGS)
    return np.vstack([face, inner + RING_SHARE * np.asarray(moved), outer])


def _fit_surroundings(frame: np.ndarray, own: np.ndarray, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Warp a frame with its face (468, 2) to another shape, surroundings included."""
    fitted = frame.copy()
    target = _surround(own, points[OVAL] - own[OVAL])
    target[:N_MESH] = points
    x0, y0, x1, y1 = box = box_around(target, frame)
    bend(frame, _surround(own, 0.0), target, triangles, box).paint(fitted[y0:y1, x0:x1])
    return fitted


def _paint_face(
    fitted: np.ndarray, frame: np.ndarray, image: np.ndarray, donor: Donor, points: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Blend the donor image over a fitted frame, with the mouth interior of the original frame."""
    outline = outline_mask(points)
    x0, y0, x1, y1 = box = box_around(outline, frame)
    patch = fitted[y0:y1, x0:x1].copy()
    bend(frame, own[INNER_LIPS, :2], points[INNER_LIPS, :2], LIP_STRIP, box).paint(patch)
    triangles = order_by_depth(donor.triangles, points)
    bend(image, donor.still.landmarks[:N_MESH, :2], points[:, :2], triangles, box).paint(patch)
    return clone(patch, fitted, outline, box)


NEAR, FAR = 0.06, 0.36  # eye distances from the lips: driver only below the first, none beyond the second
NOSE = (2, 98, 327)
CUT = 0.35  # share of the driver at the blending edge


def swap_mouth(source: SourceClip, driver: SourceClip) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames of a clip with the driver's mouth, without the mark, to the shorter end."""
    share = _share_of_driver(source.shape)
    triangles = _span_mouth(source, share)
    colours = match_colours(driver.still, source.still)
    for row, (frame, other, number) in enumerate(_pair_frames(source, driver)):
        points = _place_mouth(source, driver, share, row, number)
        hull = cv2.convexHull(points[share > CUT, :2].astype(np.float32))[:, 0]
        box = box_around(hull, frame)
        x0, y0, x1, y1 = box
        bent = bend(other, driver.landmarks[number, :N_MESH, :2], points[:, :2], order_by_depth(triangles, points), box)
        patch = frame[y0:y1, x0:x1].copy()
        Bent(colours.turn(bent.image), bent.covered).paint(patch)
        yield clone(patch, frame, hull, box)


def count_shared(source: SourceClip, driver: SourceClip) -> int:
    """Count the frames of the clip to the shorter end."""
    return min(len(source), int((len(driver) - 1) * source.rate / driver.rate) + 1)


def _pair_frames(source: SourceClip, driver: SourceClip) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield each frame with the driver's frame of the same time and its number."""
    others = enumerate(driver.read_images())
    number, other = next(others)
    for row, frame in zip(range(count_shared(source, driver)), source.read_images(), strict=False):
        wanted = min(round(row * driver.rate / source.rate), len(driver) - 1)
        while number < wanted:
            number, other = next(others)
        yield frame, other, number


def _share_of_driver(shape: FaceShape) -> np.ndarray:
    """(468,) share of the driver: 1 on the lips to 0 far away, on the oval and on the nose."""
    flat = shape.points[:, :2]
    lips = np.unique([*UPPER.ravel(), *LOWER.ravel()])
    apart = np.linalg.norm(flat[:, None] - flat[lips], axis=2).min(1)
    share = np.clip((FAR - apart) / (FAR - NEAR), 0.0, 1.0)
    share[flat[:, 1] < flat[list(NOSE), 1].max()] = 0.0
    share[OVAL] = 0.0
    share[lips] = 1.0
    return share


def _span_mouth(source: SourceClip, share: np.ndarray) -> np.ndarray:
    """(M, 3) triangles around the mouth, opening included."""
    still = source.still
    triangles = span_triangles(still.rest + still.basis[portrait.OPEN])
    return triangles[(share[triangles] > 0).any(1)]


def _place_mouth(source: SourceClip, driver: SourceClip, share: np.ndarray, row: int, number: int) -> np.ndarray:
    """(468, 3) pixels: landmarks of the clip, blended into the driver's around the mouth."""
    own = source.shape.points + source.motion.deform[row]
    lips = np.unique([*UPPER.ravel(), *LOWER.ravel()])
    apart = source.shape.points[lips].mean(0) - driver.shape.points[lips].mean(0)
    foreign = driver.shape.points + driver.motion.deform[number] + apart
    return source.poses.restore(own + share[:, None] * (foreign - own), row)
