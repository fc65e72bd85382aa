"""Follow faces from key frame to key frame; the frames between get interpolated regions and run as one batch.

A key frame is the last new frame of an interval: every `detect_every` frames, the first and the last frame of a shot.
Where a face appears, gets lost or moves fast, the interval is followed frame by frame instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from engine.faces.landmarker import Mesh
from engine.faces.network_threads import NetworkThreads
from engine.faces.regions import interpolate_region
from engine.faces.trails import (
    CLOSE_EVERY,
    FaceOptions,
    ScannedFrame,
    Trail,
    Trails,
    accept,
    append,
    discover,
    hold,
    may_hide_small_faces,
    miss,
)
from engine.types import Frame

MIN_OVERLAP = 0.5  # of the boxes of a face in two key frames; a faster one is followed frame by frame
SEARCH_EVERY = 2  # intervals between detections while every face is seen


def split_intervals(scanned_frames: Iterable[ScannedFrame], every: int) -> Iterator[list[ScannedFrame]]:
    """Yield the frames up to each multiple of `every`, to the last frame of each shot, and the first of each alone."""
    interval: list[ScannedFrame] = []
    is_first = True
    for scanned in scanned_frames:
        if scanned.is_cut and interval:
            yield interval
            interval = []
        interval.append(scanned)
        if is_first or scanned.is_cut or scanned.frame.index % every == 0:
            yield interval
            interval = []
        is_first = False
    if interval:
        yield interval


def follow_interval(
    interval: Sequence[ScannedFrame], trails: Trails, networks: NetworkThreads, options: FaceOptions
) -> None:
    """Follow each trail through an interval of its shot; detect new faces in its key frame when due or needed."""
    new = [scanned for scanned in interval if scanned.frame.is_new]
    if new and not trails.active:
        interval = _skip_empty(interval, new[-1], networks)
    elif new and _interpolate(interval, new[-1], trails, networks, options):
        return
    for scanned in interval:
        _follow_frame(scanned, trails, networks, options)


def _skip_empty(
    interval: Sequence[ScannedFrame], key: ScannedFrame, networks: NetworkThreads
) -> Sequence[ScannedFrame]:
    """Detect in the key frame; return the interval from there on if no face is found, else the whole."""
    at = interval.index(key)
    found = networks.find(key.frame.image) if key.found is None else key.found
    return [*(interval[:at] if found else []), replace(key, found=found), *interval[at + 1 :]]


def _interpolate(
    interval: Sequence[ScannedFrame], key: ScannedFrame, trails: Trails, networks: NetworkThreads, options: FaceOptions
) -> bool:
    """Append the meshes of an interval in which every face is seen throughout; otherwise change nothing."""
    active = trails.active
    if any(trail.missed for trail in active):
        return False
    settled = networks.settle(key.frame.image, [trail.last.region() for trail in active], options.min_presence)
    if not all(accept(settled, [trail.last.box() for trail in active], options, MIN_OVERLAP)):
        return False
    between = [scanned.frame for scanned in interval if scanned.frame.is_new and scanned is not key]
    rows = _place_between(between, key.frame.index, active, settled, networks, options)
    if rows is None:
        return False
    meshes = {frame.index: row for frame, row in zip([*between, key.frame], [*rows, settled], strict=True)}
    shapes = iter(networks.read_batch([mesh for row in meshes.values() for mesh in row]))
    for scanned in interval:
        row = meshes.get(scanned.frame.index)
        if row is None:
            hold(trails.active)
            continue
        for trail, mesh in zip(active, row, strict=True):
            append(trail, mesh, next(shapes), scanned.frame, networks)
        if scanned is key:
            _search(key, trails, networks, options)
    return True


def _place_between(
    frames: Sequence[Frame],
    key_index: int,
    active: Sequence[Trail],
    settled: Sequence[Mesh],
    networks: NetworkThreads,
    options: FaceOptions,
) -> list[list[Mesh]] | None:
    """Place the landmarks of each trail in the frames between two key frames; None where one is not seen."""
    if not frames:
        return []
    shares = [
        [(frame.index - trail.last_index) / (key_index - trail.last_index) for trail in active] for frame in frames
    ]
    ends = [(trail.last.region(), mesh.region()) for trail, mesh in zip(active, settled, strict=True)]
    regions = [interpolate_region(*pair, share) for row in shares for pair, share in zip(ends, row, strict=True)]
    images = [frame.image for frame in frames for _ in active]
    meshes = networks.place_batch(images, regions)
    rows = [meshes[i : i + len(active)] for i in range(0, len(meshes), len(active))]
    boxes = [(trail.last.box(), mesh.box()) for trail, mesh in zip(active, settled, strict=True)]
    for row, row_shares in zip(rows, shares, strict=True):
        expected = [a * (1 - share) + b * share for (a, b), share in zip(boxes, row_shares, strict=True)]
        if not all(accept(row, expected, options)):
            return None
    return rows


def _follow_frame(scanned: ScannedFrame, trails: Trails, networks: NetworkThreads, options: FaceOptions) -> None:
    """Follow each trail into a frame of its shot, detect new faces when due or needed, end trails missing for long."""
    if scanned.frame.is_new:
        _place(scanned.frame, trails.active, networks, options)
        _search(scanned, trails, networks, options)
    else:
        hold(trails.active)
    trails.retire(options.max_gap)


def _search(scanned: ScannedFrame, trails: Trails, networks: NetworkThreads, options: FaceOptions) -> None:
    """Start and resume trails from the detections that were due, or that are needed since a face is missing."""
    frame, found = scanned.frame, scanned.found
    if found is None and (not trails.active or any(trail.missed for trail in trails.active)):
        found = networks.find(frame.image)
    if found is None:
        return
    if frame.index % CLOSE_EVERY == 0 and may_hide_small_faces(found, trails.active, frame.image):
        found = networks.find(frame.image, closely=True)
    discover(frame, found, trails, networks, options)


def _place(frame: Frame, active: list[Trail], networks: NetworkThreads, options: FaceOptions) -> None:
    """Append this frame's mesh to each trail, placed from its last region, or None."""
    meshes = networks.place_all(frame.image, [trail.last.region() for trail in active])
    accepted = accept(meshes, [trail.last.box() for trail in active], options)
    for trail, mesh, is_seen in zip(active, meshes, accepted, strict=True):
        if is_seen:
            append(trail, mesh, networks.read(mesh), frame, networks)
        else:
            miss(trail)
