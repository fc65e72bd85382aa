"""Track faces: detect every few frames, follow landmarks through each shot, end tracks at shot cuts.

Tracking keeps no state between calls. `keyframes` places the landmarks, from regions interpolated between key frames.
Threads run the rest in parallel: shot cuts and scheduled detection ahead, blendshapes behind, other faces alongside.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from engine.faces.keyframes import SEARCH_EVERY, follow_interval, split_intervals
from engine.faces.landmarker import BLENDSHAPES, FaceNets
from engine.faces.network_threads import NetworkThreads
from engine.faces.occlusion import CoverDetector
from engine.faces.shots import ShotCuts
from engine.faces.trails import FaceOptions, ScannedFrame, Trails, finish, width
from engine.media.clip import read_ahead
from engine.types import FaceTrack, Frame

__all__ = ["BLENDSHAPES", "FaceNets", "FaceOptions", "Faces", "track_faces"]

MAX_THREADS = 4  # a fifth face in one picture is rare


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Tracks and shot cuts of a clip."""

    tracks: tuple[FaceTrack, ...]  # by first frame, then by size
    cuts: tuple[int, ...]  # first frame of each new shot
    left_out: int = 0  # most faces seen in one frame beyond `FaceOptions.max_faces`


def track_faces(
    frames: Iterable[Frame],
    nets: FaceNets,
    options: FaceOptions | None = None,
    on_frame: Callable[[int], None] = lambda index: None,
    cover: CoverDetector | None = None,
) -> Faces:
    """Track every face; call `on_frame(index)` after each frame. Without `cover` no mouth counts as covered."""
    options = options or FaceOptions()
    trails = Trails()
    threads = min(os.cpu_count() or 1, MAX_THREADS)
    with NetworkThreads(nets, cover, threads) as networks:
        with closing(read_ahead(_scan_frames(frames, networks, options))) as scanned_frames:
            for interval in split_intervals(scanned_frames, options.detect_every):
                if interval[0].is_cut:
                    trails.cut(interval[0].frame.index)
                follow_interval(interval, trails, networks, options)
                for scanned in interval:
                    on_frame(scanned.frame.index)
        tracks = [track for trail in trails.ended + trails.active for track in finish(trail, networks, options)]
    return Faces(
        tuple(sorted(tracks, key=lambda track: (track.start, -width(track)))), tuple(trails.cuts), trails.left_out
    )


def _scan_frames(frames: Iterable[Frame], networks: NetworkThreads, options: FaceOptions) -> Iterator[ScannedFrame]:
    shots = ShotCuts(options.cut_difference, options.cut_ratio)
    every = options.detect_every * SEARCH_EVERY
    for frame in frames:
        is_due = frame.is_new and frame.index % every == 0
        is_cut = frame.is_new and shots.is_cut(frame.image)
        yield ScannedFrame(frame, is_cut, networks.find(frame.image) if is_due else None)
