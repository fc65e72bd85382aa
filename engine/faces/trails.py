"""Grow, assign and finish the trails of faces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np

from engine.faces.landmarker import Detection, Mesh, overlap
from engine.faces.network_threads import NetworkThreads, Shapes
from engine.faces.occlusion import CoverTrace, mark_covered
from engine.types import FaceTrack, Frame

CLOSE_EVERY = 50  # frames between searches for small faces
MANY, SMALL = 4, 0.15  # that many faces, or a largest one below this share of the short side, suggest small faces


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """Options that change the tracks; part of the recipe."""

    recipe_name: ClassVar = "FaceOptions"

    detect_every: int = 5  # frames between key frames
    min_presence: float = 0.5  # of the mesh network
    max_gap: int = 12  # frames a face may be missing within one track
    min_length: int = 10  # frames; shorter tracks are dropped
    max_faces: int = 40  # at a time, the largest; changes no score, so recipes ignore it
    cut_difference: float = 27.0  # mean HSV difference of a cut, PySceneDetect's content threshold
    cut_ratio: float = 3.0  # and ratio to the recent differences


@dataclass(slots=True, eq=False)
class Trail:
    """Growing track: one mesh per frame, None where the face is missing."""

    start: int
    last: Mesh  # last seen; of this frame if `missed` is 0
    last_index: int  # its frame
    meshes: list[Mesh | None] = field(default_factory=list)
    blendshapes: list[Shapes | None] = field(default_factory=list)
    cover: CoverTrace = field(default_factory=CoverTrace)
    missed: int = 0  # frames since `last`
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros((96, 96, 3), np.uint8))
    thumbnail_px: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ScannedFrame:
    """A frame with its shot cut and detections, before tracking."""

    frame: Frame
    is_cut: bool  # first of a new shot
    found: list[Detection] | None  # None: no detection was due


@dataclass(slots=True, eq=False)
class Trails:
    """Faces of the clip so far."""

    active: list[Trail] = field(default_factory=list)
    ended: list[Trail] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    left_out: int = 0  # most faces seen in one frame beyond `FaceOptions.max_faces`

    def cut(self, index: int) -> None:
        """End all trails at the first frame of a new shot."""
        self.cuts.append(index)
        self.ended, self.active = self.ended + self.active, []

    def retire(self, max_gap: int) -> None:
        """End the trails that have been missing for too long."""
        self.ended += [trail for trail in self.active if trail.missed > max_gap]
        self.active = [trail for trail in self.active if trail.missed <= max_gap]


def hold(active: Sequence[Trail]) -> None:
    """Repeat the last meshes for a repeated frame; a missing face stays missing."""
    for trail in active:
        trail.meshes.append(trail.meshes[-1])
        trail.blendshapes.append(trail.blendshapes[-1])
        trail.missed += trail.missed > 0


def may_hide_small_faces(found: Sequence[Detection], active: Sequence[Trail], image: np.ndarray) -> bool:
    """Return whether small faces may be missed: no face in sight, many faces, or small ones alone."""
    sides = [measure_side(one.box) for one in found] + [measure_side(trail.last.box()) for trail in active]
    return max(len(found), len(active)) >= MANY or max(sides, default=0.0) < SMALL * min(image.shape[:2])


def accept(
    meshes: Sequence[Mesh], boxes: Sequence[np.ndarray], options: FaceOptions, min_overlap: float = 0.2
) -> list[bool]:
    """Return which meshes continue the trails with these boxes.

    A face belongs to the one trail that it continues best: a trail that slid onto a neighbour misses.
    """
    steadiness = [overlap(mesh.box(), box) for mesh, box in zip(meshes, boxes, strict=True)]
    taken: list[Mesh] = []
    accepted = [False] * len(meshes)
    for i in sorted(range(len(meshes)), key=lambda i: -steadiness[i]):
        plausible = meshes[i].presence >= options.min_presence and steadiness[i] > min_overlap
        if plausible and not _is_taken(meshes[i], taken):
            taken.append(meshes[i])
            accepted[i] = True
    return accepted


def _is_taken(mesh: Mesh, taken: Sequence[Mesh]) -> bool:
    """Return whether one of the others is the same face: boxes of two visible heads seldom overlap by half."""
    return any(overlap(mesh.box(), other.box()) > 0.5 for other in taken)


def miss(trail: Trail) -> None:
    """Append a frame in which the face is missing."""
    trail.meshes.append(None)
    trail.blendshapes.append(None)
    trail.missed += 1


def append(trail: Trail, mesh: Mesh, shapes: Shapes, frame: Frame, networks: NetworkThreads) -> None:
    """Append a frame in which the face is seen."""
    networks.detect_cover(trail.cover, len(trail.meshes), frame.image, mesh)
    trail.meshes.append(mesh)
    trail.blendshapes.append(shapes)
    trail.last, trail.last_index, trail.missed = mesh, frame.index, 0
    box = mesh.box()
    if box[2] - box[0] > 1.1 * trail.thumbnail_px:
        trail.thumbnail, trail.thumbnail_px = _thumbnail(frame.image, box), float(box[2] - box[0])


def discover(
    frame: Frame, found: Sequence[Detection], trails: Trails, networks: NetworkThreads, options: FaceOptions
) -> None:
    """Assign detections to trails that lost their face; start trails for the others, the largest first."""
    known = list(trails.active)
    left_out = 0
    for detection in sorted(found, key=lambda detection: -measure_side(detection.box)):
        owner = _owner(detection, known)
        if owner is None and len(known) >= options.max_faces:
            left_out += 1
            continue
        if owner is not None and not owner.missed:
            continue  # its landmarks are not needed
        mesh = networks.place_detected(frame.image, detection, options.min_presence)
        if mesh.presence < options.min_presence or _is_taken(mesh, [t.last for t in known if not t.missed]):
            continue
        if owner is None:
            owner = Trail(frame.index, mesh, frame.index)
            known.append(owner)
        else:
            owner.meshes.pop()
            owner.blendshapes.pop()
        append(owner, mesh, networks.read(mesh), frame, networks)
    trails.active, trails.left_out = known, max(trails.left_out, left_out)


def _owner(detection: Detection, trails: list[Trail]) -> Trail | None:
    """Return the nearest trail of similar size within reach; a missing face may have moved further.

    The detector's box spans brows to chin, a trail's box all landmarks: centres and sizes agree only roughly.
    """
    near: list[tuple[float, Trail]] = []
    for trail in trails:
        distance = measure_distance(detection.box, trail.last.box(), 1.0 if trail.missed else 0.5)
        if distance is not None:
            near.append((distance, trail))
    return min(near, key=lambda pair: pair[0])[1] if near else None


def measure_distance(box: np.ndarray, known: np.ndarray, reach: float) -> float | None:
    """Return the pixels between the centres of two boxes.

    None if one is twice the size of the other, or the distance is not within `reach` sides of the known box.
    """
    side = measure_side(known)
    distance = float(np.abs(_centre(box) - _centre(known)).max())
    similar = 0.5 < measure_side(box) / side < 2.0
    return distance if similar and distance < side * reach else None


def measure_side(box: np.ndarray) -> float:
    """Return the longer side of a box in pixels, at least 1."""
    return max(1.0, float((box[2:] - box[:2]).max()))


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def finish(trail: Trail, networks: NetworkThreads, options: FaceOptions) -> list[FaceTrack]:
    """Convert a trail to a track with interpolated gaps, without its missing end; none if it is too short."""
    length = max((i + 1 for i, mesh in enumerate(trail.meshes) if mesh is not None), default=0)
    if length < options.min_length:
        return []
    landmarks = _interpolate([mesh.landmarks if mesh else None for mesh in trail.meshes[:length]])
    blendshapes = _interpolate([shape.result() if shape else None for shape in trail.blendshapes[:length]])
    seen = np.array([mesh is not None for mesh in trail.meshes[:length]])
    boxes = find_boxes(landmarks)
    cover = networks.finish_cover(trail.cover, length)
    thumbnail, covered = trail.thumbnail, mark_covered(cover)
    return [FaceTrack(trail.start, boxes, landmarks, blendshapes, seen, thumbnail, covered, cover)]


def _interpolate(known: Sequence[np.ndarray | None]) -> np.ndarray:
    """Interpolate missing rows linearly, (T, ...) float32; the first and the last row are known."""
    present = {i: row for i, row in enumerate(known) if row is not None}
    rows = np.empty((len(known), *present[0].shape), np.float32)  # the only copy: ten minutes are 86 MB per face
    for i, row in present.items():
        rows[i] = row
    for left, right in pairwise(present):
        fill_between(rows, left, right)
    return rows


def fill_between(rows: np.ndarray, left: int, right: int) -> None:
    """Interpolate the rows between two of (T, ...) float32 linearly, in place."""
    share = (np.arange(1, right - left) / (right - left)).astype(np.float32)
    share = share.reshape(-1, *[1] * (rows.ndim - 1))
    rows[left + 1 : right] = rows[left] * (1 - share) + rows[right] * share


def find_boxes(landmarks: np.ndarray) -> np.ndarray:
    """Return the boxes (T, 4) x0 y0 x1 y1 of landmarks (T, 478, 3)."""
    return np.concatenate([landmarks[:, :, :2].min(1), landmarks[:, :, :2].max(1)], axis=1)


def _thumbnail(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return (96, 96, 3) uint8: the square around the box, black outside the frame."""
    centre, side = _centre(box), 1.3 * measure_side(box)
    scale = side / 96
    to_image = np.array([[scale, 0, centre[0] - side / 2], [0, scale, centre[1] - side / 2]])
    return cv2.warpAffine(image, to_image, (96, 96), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def width(track: FaceTrack) -> float:
    """Return the median width of a face in pixels."""
    return float(np.median(track.boxes[:, 2] - track.boxes[:, 0]))
