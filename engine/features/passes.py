"""The passes over the frames of a clip: tracking the faces, then cutting crops, each by segments side by side."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np

from engine.faces.face_crops import CropPlan, fill_crops, make_crops
from engine.faces.occlusion import CoverDetector
from engine.faces.orientation import FrameSample, turn_image
from engine.faces.segments import FaceJoiner, Segment, plan_segments
from engine.faces.tracking import FaceNets, FaceOptions, Faces, track_faces
from engine.features.workers import Report, run_in_order
from engine.media.clip import read_ahead
from engine.media.frames import FrameSource
from engine.media.scan import StreamEnd, find_reasons
from engine.types import Clip, Frame, Reason

HELD = 16  # frames held by one worker: in shared memory, read ahead, and scanned ahead
MAX_HELD_BYTES = 2 * 2**30  # of the frames of all workers

OnFrames = Callable[[int], None]
"""Called with the number of frames completed."""


@dataclass(frozen=True, slots=True)
class FaceTracker:
    """The networks, options and number of workers of the first pass."""

    nets: FaceNets
    options: FaceOptions
    cover: CoverDetector | None
    workers: int

    def track(self, clip: Clip, sample: FrameSample, on_frames: OnFrames) -> tuple[Faces, tuple[Reason, ...]]:
        """Track the faces of a clip; return them and the reasons found by decoding."""
        segments, joiner = _plan(clip), FaceJoiner(self.options)
        ends: list[object] = []
        jobs = [partial(self._track, clip, segment, sample, ends) for segment in segments]
        with closing(run_in_order(jobs, limit_workers(self.workers, clip), on_frames)) as found:
            for segment, faces in zip(segments, found, strict=True):
                joiner.add(segment, faces)
        return joiner.finish(), _join_ends(ends)

    def _track(self, clip: Clip, segment: Segment, sample: FrameSample, ends: list[object], report: Report) -> Faces:
        options = replace(self.options, min_length=1)  # a short track may go on in the next segment
        frames = _note_end(_read(clip, segment.first, segment.end), ends)
        with closing(read_ahead(sample.take(frames))) as ahead:
            return track_faces(ahead, self.nets, options, lambda index: report(index >= segment.start), self.cover)


def cut_clip(clip: Clip, plans: Sequence[CropPlan], workers: int, on_frames: OnFrames) -> list[np.ndarray]:
    """Cut the crops of all plans, one array (T, *shape) uint8 per plan; ValueError if a planned frame is missing."""
    crops, last = make_crops(plans), max((plan.end for plan in plans), default=0)
    ranges = [(one.start, min(one.end, last)) for one in _plan(clip) if one.start < last]

    def cut(first: int, end: int, report: Report) -> None:
        with closing(read_ahead(_read(clip, first, end))) as frames:
            fill_crops(frames, plans, crops, (first, end), lambda index: report(True))

    jobs = [partial(cut, *bounds) for bounds in ranges]
    for _ in run_in_order(jobs, limit_workers(workers, clip), on_frames):
        pass
    return crops


def turn_clip(clip: Clip, turn: int) -> Clip:
    """Return the clip with its frames turned clockwise by 90, 180 or 270 degrees."""
    known = clip.read_frames
    before = known.change if isinstance(known, FrameSource) else None

    def change(frame: Frame) -> Frame:
        frame = before(frame) if before else frame
        return replace(frame, image=turn_image(frame.image, turn))

    return replace(
        clip,
        size_px=clip.size_px if turn == 180 else clip.size_px[::-1],
        read_frames=replace(known, change=change) if isinstance(known, FrameSource) else lambda: map(change, known()),
        media=replace(clip.media, rotation_deg=turn),
    )


def limit_workers(workers: int, clip: Clip) -> int:
    """Return the number of workers, fewer for large frames."""
    width, height = clip.size_px
    return max(1, min(workers, MAX_HELD_BYTES // (HELD * 3 * width * height)))


def _plan(clip: Clip) -> tuple[Segment, ...]:
    """Return the segments; one where the frames come from no file and can be read only from the first on."""
    source = clip.read_frames
    if isinstance(source, FrameSource):
        return plan_segments(clip.n_frames, source.measure_lead)
    return (Segment(0, 0, clip.n_frames),)


def _read(clip: Clip, first: int, end: int) -> Generator[Frame, None, object]:
    source = clip.read_frames
    frames = source.read_range(first, end) if isinstance(source, FrameSource) else source()
    return cast(Generator[Frame, None, object], frames)


def _note_end(frames: Generator[Frame, None, object], ends: list[object]) -> Iterator[Frame]:
    """Yield the frames, then append what the generator returns, known only after decoding."""
    ends.append((yield from frames))


def _join_ends(ends: Sequence[object]) -> tuple[Reason, ...]:
    """Return the reasons: a file counts in each segment, other frames come with reasons or none."""
    counts = [end for end in ends if isinstance(end, StreamEnd)]
    others = [reason for end in ends if isinstance(end, tuple) for reason in end]
    return (*find_reasons(counts), *others)
