"""Follow faces from frame to frame: the landmarks of a frame are placed from those of the frame before."""

from engine.faces.network_threads import NetworkThreads
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


def follow_frame(scanned: ScannedFrame, trails: Trails, networks: NetworkThreads, options: FaceOptions) -> None:
    """Follow each trail into a frame of its shot, detect new faces when due or needed, end trails missing for long."""
    if scanned.frame.is_new:
        _place(scanned.frame, trails.active, networks, options)
        search(scanned, trails, networks, options)
    else:
        hold(trails.active)
    trails.retire(options.max_gap)


def search(scanned: ScannedFrame, trails: Trails, networks: NetworkThreads, options: FaceOptions) -> None:
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
