"""Tracks of every face: found every few frames, followed from frame to frame, ended by shot cuts.

Tracking is pure: frames in, tracks out; nothing is kept between calls. A face is followed from where it was a frame
ago, so its landmarks wait for each other. All else is done beside them, by threads: shot cuts and due looks for new
faces ahead of them, blendshapes after them, other faces with them.
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
from engine.faces.shots import ShotCuts
from engine.media.clip import read_ahead
from engine.types import FaceTrack, Frame

__all__ = ["BLENDSHAPES", "FaceNets", "FaceOptions", "Faces", "track_faces"]

MAX_THREADS = 4  # a fifth face in one picture is rare


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """What changes the tracks; enters the recipe."""

    recipe_name: ClassVar = "FaceOptions"

    detect_every: int = 5  # frames between looks for new faces
    min_presence: float = 0.5  # of the mesh net
    max_gap: int = 12  # frames a face may be unseen within one track
    min_length: int = 10  # frames; shorter tracks are dropped
    max_faces: int = 8  # the largest at any time
    cut_difference: float = 27.0  # mean HSV difference of a cut, PySceneDetect's content threshold
    cut_ratio: float = 3.0  # and how far above the recent differences


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """All that was found in a clip."""

    tracks: tuple[FaceTrack, ...]  # by first frame, then by size
    cuts: tuple[int, ...]  # first frame of each new shot


@dataclass(slots=True, eq=False)
class _Trail:
    """A track while it grows: one mesh a frame, None where the face was not seen."""

    start: int
    last: Mesh  # seen last; of this frame exactly when nothing is missed
    meshes: list[Mesh | None] = field(default_factory=list)
    blendshapes: list[Future[np.ndarray] | None] = field(default_factory=list)
    missed: int = 0  # frames since `last`
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros((96, 96, 3), np.uint8))
    thumbnail_px: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Glance:
    """What can be told of a frame before any face is followed into it."""

    frame: Frame
    is_cut: bool  # first of a new shot
    found: list[Detection] | None  # None: no look was due


class _Crew:
    """The networks, and the threads that run them."""

    def __init__(self, nets: FaceNets, pool: ThreadPoolExecutor):
        self._nets, self._pool = nets, pool

    def find(self, image: np.ndarray) -> list[Detection]:
        return self._nets.find_faces(image)

    def place(self, image: np.ndarray, region: Region) -> Mesh:
        return self._nets.place_landmarks(image, region)

    def place_all(self, image: np.ndarray, regions: Sequence[Region]) -> list[Mesh]:
        """The landmarks of several faces, side by side; of one without the way to a thread and back."""
        if len(regions) < 2:
            return [self.place(image, region) for region in regions]
        return list(self._pool.map(lambda region: self._nets.place_landmarks(image, region), regions))

    def read(self, mesh: Mesh) -> Future[np.ndarray]:
        """The blendshapes, which nothing waits for before the end."""
        return self._pool.submit(self._nets.read_blendshapes, mesh.landmarks)


def track_faces(
    frames: Iterable[Frame],
    nets: FaceNets,
    options: FaceOptions | None = None,
    on_frame: Callable[[int], None] = lambda index: None,
) -> Faces:
    """Follow every face through the frames; `on_frame(index)` is called after each."""
    options = options or FaceOptions()
    active: list[_Trail] = []
    ended: list[_Trail] = []
    cuts: list[int] = []
    threads = min(os.cpu_count() or 1, MAX_THREADS)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="faces") as pool,
        closing(read_ahead(_look_ahead(frames, nets, options))) as glances,
    ):
        crew = _Crew(nets, pool)
        for glance in glances:
            frame = glance.frame
            if glance.is_cut:
                cuts.append(frame.index)
                ended, active = ended + active, []
            active = _follow(glance, active, crew, options) if frame.is_new else _hold(active)
            ended += [trail for trail in active if trail.missed > options.max_gap]
            active = [trail for trail in active if trail.missed <= options.max_gap]
            on_frame(frame.index)
    tracks = [track for trail in ended + active for track in _finish(trail, options)]
    return Faces(tuple(sorted(tracks, key=lambda track: (track.start, -_width(track)))), tuple(cuts))


def _look_ahead(frames: Iterable[Frame], nets: FaceNets, options: FaceOptions) -> Iterator[_Glance]:
    shots = ShotCuts(options.cut_difference, options.cut_ratio)
    for frame in frames:
        is_due = frame.is_new and frame.index % options.detect_every == 0
        is_cut = frame.is_new and shots.is_cut(frame.image)
        yield _Glance(frame, is_cut, nets.find_faces(frame.image) if is_due else None)


def _hold(active: list[_Trail]) -> list[_Trail]:
    """The picture stood still, so did the faces; one that was not seen is not seen for longer."""
    for trail in active:
        trail.meshes.append(trail.meshes[-1])
        trail.blendshapes.append(trail.blendshapes[-1])
        trail.missed += trail.missed > 0
    return active


def _follow(glance: _Glance, active: list[_Trail], crew: _Crew, options: FaceOptions) -> list[_Trail]:
    """Place each trail in this frame, look for new faces when due or needed; the old trails and the begun."""
    frame, found = glance.frame, glance.found
    _place(frame, active, crew, options)
    if found is None and (not active or any(trail.missed for trail in active)):
        found = crew.find(frame.image)
    return active if found is None else active + _discover(frame, found, active, crew, options)


def _place(frame: Frame, active: list[_Trail], crew: _Crew, options: FaceOptions) -> None:
    """Append this frame's mesh to each trail, found where its face was last, or None.

    A face belongs to one trail, to the one that it continues best: a trail that slid onto a neighbour misses.
    """
    meshes = crew.place_all(frame.image, [trail.last.region() for trail in active])
    steadiness = [overlap(mesh.box(), trail.last.box()) for mesh, trail in zip(meshes, active, strict=True)]
    taken: list[Mesh] = []
    for i in sorted(range(len(active)), key=lambda i: -steadiness[i]):
        plausible = meshes[i].presence >= options.min_presence and steadiness[i] > 0.2
        if plausible and not _is_taken(meshes[i], taken):
            taken.append(meshes[i])
            _append(active[i], meshes[i], frame, crew)
        else:
            _miss(active[i])


def _is_taken(mesh: Mesh, taken: list[Mesh]) -> bool:
    """One of the others is the same face: two heads seldom share half of their boxes, and then one hides the other."""
    return any(overlap(mesh.box(), other.box()) > 0.5 for other in taken)


def _miss(trail: _Trail) -> None:
    trail.meshes.append(None)
    trail.blendshapes.append(None)
    trail.missed += 1


def _append(trail: _Trail, mesh: Mesh, frame: Frame, crew: _Crew) -> None:
    trail.meshes.append(mesh)
    trail.blendshapes.append(crew.read(mesh))
    trail.last, trail.missed = mesh, 0
    box = mesh.box()
    if box[2] - box[0] > 1.1 * trail.thumbnail_px:
        trail.thumbnail, trail.thumbnail_px = _thumbnail(frame.image, box), float(box[2] - box[0])


def _discover(
    frame: Frame, found: list[Detection], active: list[_Trail], crew: _Crew, options: FaceOptions
) -> list[_Trail]:
    """Give found faces back to trails that lost them; begin trails for the others, the largest first."""
    begun: list[_Trail] = []
    for detection in sorted(found, key=lambda detection: -_side(detection.box)):
        trails = active + begun
        owner = _owner(detection, trails)
        if (owner is None and len(trails) >= options.max_faces) or (owner is not None and not owner.missed):
            continue  # no need to know its landmarks
        mesh = crew.place(frame.image, detection.region())
        if mesh.presence < options.min_presence or _is_taken(mesh, [t.last for t in trails if not t.missed]):
            continue
        if owner is None:
            owner = _Trail(frame.index, mesh)
            begun.append(owner)
        else:
            owner.meshes.pop()
            owner.blendshapes.pop()
        _append(owner, mesh, frame, crew)
    return begun


def _owner(detection: Detection, trails: list[_Trail]) -> _Trail | None:
    """The nearest trail of about the detection's size, if it is near enough; a face not seen may have gone further.

    The detector's box spans brows to chin, a trail's box all landmarks: centres and sizes agree only roughly.
    """
    near: list[tuple[float, _Trail]] = []
    for trail in trails:
        box, side = trail.last.box(), _side(trail.last.box())
        apart = float(np.abs(_centre(detection.box) - _centre(box)).max())
        alike = 0.5 < _side(detection.box) / side < 2.0
        if alike and apart < side * (1.0 if trail.missed else 0.5):
            near.append((apart, trail))
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _side(box: np.ndarray) -> float:
    return max(1.0, float((box[2:] - box[:2]).max()))


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _finish(trail: _Trail, options: FaceOptions) -> list[FaceTrack]:
    """The trail as a record, its gaps interpolated, its unseen end cut off; none if it is too short."""
    length = max((i + 1 for i, mesh in enumerate(trail.meshes) if mesh is not None), default=0)
    if length < options.min_length:
        return []
    landmarks = _interpolate([mesh.landmarks if mesh else None for mesh in trail.meshes[:length]])
    blendshapes = _interpolate([shape.result() if shape else None for shape in trail.blendshapes[:length]])
    seen = np.array([mesh is not None for mesh in trail.meshes[:length]])
    boxes = np.concatenate([landmarks[:, :, :2].min(1), landmarks[:, :, :2].max(1)], axis=1)
    return [FaceTrack(trail.start, boxes, landmarks, blendshapes, seen, trail.thumbnail)]


def _interpolate(known: Sequence[np.ndarray | None]) -> np.ndarray:
    """(T, ...) float32: the known rows, the first and the last among them, and straight lines between these."""
    told = {i: row for i, row in enumerate(known) if row is not None}
    rows = np.empty((len(known), *told[0].shape), np.float32)  # the one copy: ten minutes are 86 MB a face
    for i, row in told.items():
        rows[i] = row
    for left, right in pairwise(told):
        share = (np.arange(1, right - left) / (right - left)).astype(np.float32)
        share = share.reshape(-1, *[1] * (rows.ndim - 1))
        rows[left + 1 : right] = rows[left] * (1 - share) + rows[right] * share
    return rows


def _thumbnail(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(96, 96, 3) uint8: the square around the box, black beyond the picture."""
    centre, side = _centre(box), 1.3 * _side(box)
    scale = side / 96
    to_image = np.array([[scale, 0, centre[0] - side / 2], [0, scale, centre[1] - side / 2]])
    return cv2.warpAffine(image, to_image, (96, 96), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _width(track: FaceTrack) -> float:
    return float(np.median(track.boxes[:, 2] - track.boxes[:, 0]))
