"""Track faces: detect every few frames, follow landmarks from frame to frame, end tracks at shot cuts.

Tracking keeps no state between calls. Landmarks of a face depend on the previous frame, so they run in sequence.
Threads run the rest in parallel: shot cuts and scheduled detection ahead, blendshapes behind, other faces alongside.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np

from engine.faces.landmarker import BLENDSHAPES, Detection, FaceNets, Mesh, Region, overlap
from engine.faces.occlusion import CoverDetector, CoverTrace
from engine.faces.shots import ShotCuts
from engine.media.clip import read_ahead
from engine.types import FaceTrack, Frame

__all__ = ["BLENDSHAPES", "FaceNets", "FaceOptions", "Faces", "track_faces"]

MAX_THREADS = 4  # a fifth face in one picture is rare
CLOSE_EVERY = 50  # frames between searches for small faces
MANY, SMALL = 4, 0.15  # that many faces, or a largest one below this share of the short side, suggest small faces


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """Options that change the tracks; part of the recipe."""

    recipe_name: ClassVar = "FaceOptions"

    detect_every: int = 5  # frames between detections
    min_presence: float = 0.5  # of the mesh network
    max_gap: int = 12  # frames a face may be missing within one track
    min_length: int = 10  # frames; shorter tracks are dropped
    max_faces: int = 40  # at a time, the largest; changes no score, so recipes ignore it
    cut_difference: float = 27.0  # mean HSV difference of a cut, PySceneDetect's content threshold
    cut_ratio: float = 3.0  # and ratio to the recent differences


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Tracks and shot cuts of a clip."""

    tracks: tuple[FaceTrack, ...]  # by first frame, then by size
    cuts: tuple[int, ...]  # first frame of each new shot
    left_out: int = 0  # most faces seen in one frame beyond `FaceOptions.max_faces`


@dataclass(slots=True, eq=False)
class _Trail:
    """Growing track: one mesh per frame, None where the face is missing."""

    start: int
    last: Mesh  # last seen; of this frame if `missed` is 0
    meshes: list[Mesh | None] = field(default_factory=list)
    blendshapes: list[Future[np.ndarray] | None] = field(default_factory=list)
    cover: CoverTrace = field(default_factory=CoverTrace)
    missed: int = 0  # frames since `last`
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros((96, 96, 3), np.uint8))
    thumbnail_px: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _ScannedFrame:
    """A frame with its shot cut and detections, before tracking."""

    frame: Frame
    is_cut: bool  # first of a new shot
    found: list[Detection] | None  # None: no detection was due


class _NetworkThreads:
    """The networks and the threads that run them."""

    def __init__(self, nets: FaceNets, cover: CoverDetector | None, pool: ThreadPoolExecutor):
        self._nets, self._cover, self._pool = nets, cover, pool

    def find(self, image: np.ndarray, closely: bool = False) -> list[Detection]:
        return self._nets.find_faces(image, closely=closely)

    def place(self, image: np.ndarray, region: Region) -> Mesh:
        return self._nets.place_landmarks(image, region)

    def place_all(self, image: np.ndarray, regions: Sequence[Region]) -> list[Mesh]:
        """Place the landmarks of several faces in parallel; of one face in this thread."""
        if len(regions) < 2:
            return [self.place(image, region) for region in regions]
        return list(self._pool.map(lambda region: self._nets.place_landmarks(image, region), regions))

    def read(self, mesh: Mesh) -> Future[np.ndarray]:
        """Start computing blendshapes; they are awaited at the end."""
        return self._pool.submit(self._nets.read_blendshapes, mesh.landmarks)

    def detect_cover(self, trace: CoverTrace, row: int, image: np.ndarray, mesh: Mesh) -> None:
        """Start detecting whether the mouth of a row is covered; do nothing without the network."""
        if self._cover is not None:
            trace.add(row, image, mesh.landmarks, self._cover, self._pool)

    def finish_cover(self, trace: CoverTrace, length: int) -> np.ndarray:
        return trace.finish(length, self._cover, self._pool)


def track_faces(
    frames: Iterable[Frame],
    nets: FaceNets,
    options: FaceOptions | None = None,
    on_frame: Callable[[int], None] = lambda index: None,
    cover: CoverDetector | None = None,
) -> Faces:
    """Track every face; call `on_frame(index)` after each frame. Without `cover` no mouth counts as covered."""
    options = options or FaceOptions()
    active: list[_Trail] = []
    ended: list[_Trail] = []
    cuts: list[int] = []
    left_out = 0
    threads = min(os.cpu_count() or 1, MAX_THREADS)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="faces") as pool,
        closing(read_ahead(_scan_frames(frames, nets, options))) as scanned_frames,
    ):
        networks = _NetworkThreads(nets, cover, pool)
        for scanned in scanned_frames:
            frame = scanned.frame
            if scanned.is_cut:
                cuts.append(frame.index)
                ended, active = ended + active, []
            if frame.is_new:
                active, n_more = _follow(scanned, active, networks, options)
                left_out = max(left_out, n_more)
            else:
                active = _hold(active)
            ended += [trail for trail in active if trail.missed > options.max_gap]
            active = [trail for trail in active if trail.missed <= options.max_gap]
            on_frame(frame.index)
        tracks = [track for trail in ended + active for track in _finish(trail, networks, options)]
    return Faces(tuple(sorted(tracks, key=lambda track: (track.start, -_width(track)))), tuple(cuts), left_out)


def _scan_frames(frames: Iterable[Frame], nets: FaceNets, options: FaceOptions) -> Iterator[_ScannedFrame]:
    shots = ShotCuts(options.cut_difference, options.cut_ratio)
    for frame in frames:
        is_due = frame.is_new and frame.index % options.detect_every == 0
        is_cut = frame.is_new and shots.is_cut(frame.image)
        yield _ScannedFrame(frame, is_cut, nets.find_faces(frame.image) if is_due else None)


def _hold(active: list[_Trail]) -> list[_Trail]:
    """Repeat the last meshes for a repeated frame; a missing face stays missing."""
    for trail in active:
        trail.meshes.append(trail.meshes[-1])
        trail.blendshapes.append(trail.blendshapes[-1])
        trail.missed += trail.missed > 0
    return active


def _follow(
    scanned: _ScannedFrame, active: list[_Trail], networks: _NetworkThreads, options: FaceOptions
) -> tuple[list[_Trail], int]:
    """Follow each trail, detect new faces when due or needed; return old and new trails and the faces left out."""
    frame, found = scanned.frame, scanned.found
    _place(frame, active, networks, options)
    if found is None and (not active or any(trail.missed for trail in active)):
        found = networks.find(frame.image)
    if found is None:
        return active, 0
    if frame.index % CLOSE_EVERY == 0 and _may_hide_small_faces(found, active, frame.image):
        found = networks.find(frame.image, closely=True)
    started, left_out = _discover(frame, found, active, networks, options)
    return active + started, left_out


def _may_hide_small_faces(found: list[Detection], active: list[_Trail], image: np.ndarray) -> bool:
    """Return whether small faces may be missed: no face in sight, many faces, or small ones alone."""
    sides = [_side(one.box) for one in found] + [_side(trail.last.box()) for trail in active]
    return max(len(found), len(active)) >= MANY or max(sides, default=0.0) < SMALL * min(image.shape[:2])


def _place(frame: Frame, active: list[_Trail], networks: _NetworkThreads, options: FaceOptions) -> None:
    """Append this frame's mesh to each trail, placed from its last region, or None.

    A face belongs to the one trail that it continues best: a trail that slid onto a neighbour misses.
    """
    meshes = networks.place_all(frame.image, [trail.last.region() for trail in active])
    steadiness = [overlap(mesh.box(), trail.last.box()) for mesh, trail in zip(meshes, active, strict=True)]
    taken: list[Mesh] = []
    for i in sorted(range(len(active)), key=lambda i: -steadiness[i]):
        plausible = meshes[i].presence >= options.min_presence and steadiness[i] > 0.2
        if plausible and not _is_taken(meshes[i], taken):
            taken.append(meshes[i])
            _append(active[i], meshes[i], frame, networks)
        else:
            _miss(active[i])


def _is_taken(mesh: Mesh, taken: list[Mesh]) -> bool:
    """Return whether one of the others is the same face: boxes of two visible heads seldom overlap by half."""
    return any(overlap(mesh.box(), other.box()) > 0.5 for other in taken)


def _miss(trail: _Trail) -> None:
    trail.meshes.append(None)
    trail.blendshapes.append(None)
    trail.missed += 1


def _append(trail: _Trail, mesh: Mesh, frame: Frame, networks: _NetworkThreads) -> None:
    networks.detect_cover(trail.cover, len(trail.meshes), frame.image, mesh)
    trail.meshes.append(mesh)
    trail.blendshapes.append(networks.read(mesh))
    trail.last, trail.missed = mesh, 0
    box = mesh.box()
    if box[2] - box[0] > 1.1 * trail.thumbnail_px:
        trail.thumbnail, trail.thumbnail_px = _thumbnail(frame.image, box), float(box[2] - box[0])


def _discover(
    frame: Frame, found: list[Detection], active: list[_Trail], networks: _NetworkThreads, options: FaceOptions
) -> tuple[list[_Trail], int]:
    """Assign detections to trails that lost their face; start trails for the others, the largest first.

    Return the new trails and the number of faces beyond the maximum.
    """
    started: list[_Trail] = []
    left_out = 0
    for detection in sorted(found, key=lambda detection: -_side(detection.box)):
        trails = active + started
        owner = _owner(detection, trails)
        if owner is None and len(trails) >= options.max_faces:
            left_out += 1
            continue
        if owner is not None and not owner.missed:
            continue  # its landmarks are not needed
        mesh = networks.place(frame.image, detection.region())
        if mesh.presence < options.min_presence or _is_taken(mesh, [t.last for t in trails if not t.missed]):
            continue
        if owner is None:
            owner = _Trail(frame.index, mesh)
            started.append(owner)
        else:
            owner.meshes.pop()
            owner.blendshapes.pop()
        _append(owner, mesh, frame, networks)
    return started, left_out


def _owner(detection: Detection, trails: list[_Trail]) -> _Trail | None:
    """Return the nearest trail of similar size within reach; a missing face may have moved further.

    The detector's box spans brows to chin, a trail's box all landmarks: centres and sizes agree only roughly.
    """
    near: list[tuple[float, _Trail]] = []
    for trail in trails:
        box, side = trail.last.box(), _side(trail.last.box())
        distance = float(np.abs(_centre(detection.box) - _centre(box)).max())
        similar = 0.5 < _side(detection.box) / side < 2.0
        if similar and distance < side * (1.0 if trail.missed else 0.5):
            near.append((distance, trail))
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _side(box: np.ndarray) -> float:
    return max(1.0, float((box[2:] - box[:2]).max()))


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _finish(trail: _Trail, networks: _NetworkThreads, options: FaceOptions) -> list[FaceTrack]:
    """Convert a trail to a track with interpolated gaps, without its missing end; none if it is too short."""
    length = max((i + 1 for i, mesh in enumerate(trail.meshes) if mesh is not None), default=0)
    if length < options.min_length:
        return []
    landmarks = _interpolate([mesh.landmarks if mesh else None for mesh in trail.meshes[:length]])
    blendshapes = _interpolate([shape.result() if shape else None for shape in trail.blendshapes[:length]])
    seen = np.array([mesh is not None for mesh in trail.meshes[:length]])
    boxes = np.concatenate([landmarks[:, :, :2].min(1), landmarks[:, :, :2].max(1)], axis=1)
    covered = networks.finish_cover(trail.cover, length)
    return [FaceTrack(trail.start, boxes, landmarks, blendshapes, seen, trail.thumbnail, covered)]


def _interpolate(known: Sequence[np.ndarray | None]) -> np.ndarray:
    """Interpolate missing rows linearly, (T, ...) float32; the first and the last row are known."""
    present = {i: row for i, row in enumerate(known) if row is not None}
    rows = np.empty((len(known), *present[0].shape), np.float32)  # the only copy: ten minutes are 86 MB per face
    for i, row in present.items():
        rows[i] = row
    for left, right in pairwise(present):
        share = (np.arange(1, right - left) / (right - left)).astype(np.float32)
        share = share.reshape(-1, *[1] * (rows.ndim - 1))
        rows[left + 1 : right] = rows[left] * (1 - share) + rows[right] * share
    return rows


def _thumbnail(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return (96, 96, 3) uint8: the square around the box, black outside the frame."""
    centre, side = _centre(box), 1.3 * _side(box)
    scale = side / 96
    to_image = np.array([[scale, 0, centre[0] - side / 2], [0, scale, centre[1] - side / 2]])
    return cv2.warpAffine(image, to_image, (96, 96), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _width(track: FaceTrack) -> float:
    return float(np.median(track.boxes[:, 2] - track.boxes[:, 0]))
