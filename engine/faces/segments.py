"""Cut a clip into segments, to track their faces side by side, and join the tracks.

The cuts are at fixed frame numbers, so that the tracks do not depend on how many segments are tracked at a time. Each
segment but the first begins with frames that belong to the one before, in which its tracker settles.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.faces.landmarker import overlap
from engine.faces.occlusion import mark_covered
from engine.faces.tracking import FaceOptions, Faces
from engine.faces.trails import fill_between, find_boxes, measure_distance, measure_side, width
from engine.types import FPS, FaceTrack

SEGMENT = 20 * FPS  # frames; a multiple of every interval between detections and between close searches
LEAD = 15  # frames; after 8 the landmarks are as near to those of one tracker as they stay, shot cuts need 13
MIN_TAIL = 8 * FPS  # frames; a shorter rest belongs to the segment before
MAX_DECODED = SEGMENT  # frames to decode before a segment, from its key frame on; else it belongs to the one before
SAME = 0.5  # intersection over union of the boxes of one face in two segments
LARGER = 1.1  # times the width of the view shown, for a thumbnail to be replaced


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of frames of a clip."""

    first: int  # read first
    start: int  # of its own; those before are of the segment before
    end: int


def plan_segments(n_frames: int, count_decoded: Callable[[int], int] = lambda first: 0) -> tuple[Segment, ...]:
    """Return the segments of a clip; `count_decoded` returns how many frames are decoded only to reach a frame."""
    cuts = [first for first in range(SEGMENT, n_frames - MIN_TAIL + 1, SEGMENT) if count_decoded(first) <= MAX_DECODED]
    starts = [0, *(first + LEAD for first in cuts)]
    return tuple(map(Segment, [0, *cuts], starts, [*starts[1:], n_frames]))


@dataclass(frozen=True, slots=True, eq=False)
class _TrackRows:
    """The rows of a track from a frame on."""

    track: FaceTrack
    first: int


class _Chain:
    """The parts of one face, in order."""

    def __init__(self, part: _TrackRows):
        self.parts = deque([part])
        self.last = part.track
        self.start = part.first
        self._shown_px = _widest(part.track)
        self._thumbnail = part.track.thumbnail

    def add(self, track: FaceTrack) -> None:
        """Continue with a track of the next segment, behind the rows known."""
        self.parts.append(_TrackRows(track, max(track.start, self.last.end)))
        self.last = track
        if _widest(track) > LARGER * self._shown_px:
            self._shown_px, self._thumbnail = _widest(track), track.thumbnail

    def join(self) -> FaceTrack:
        """Return the joined track; the parts are dropped as they are copied."""
        if len(self.parts) == 1 and self.parts[0].first == self.last.start:
            return self.last
        start, length = self.start, self.last.end - self.start
        landmarks = np.empty((length, *self.last.landmarks.shape[1:]), np.float32)
        shapes = np.empty((length, self.last.blendshapes.shape[1]), np.float32)
        boxes, seen = np.empty((length, 4), np.float32), np.zeros(length, bool)
        log_odds = np.full(length, np.nan, np.float32)
        done = 0
        while self.parts:
            part = self.parts.popleft()
            rows, own = slice(part.first - start, part.track.end - start), slice(part.first - part.track.start, None)
            landmarks[rows], shapes[rows] = part.track.landmarks[own], part.track.blendshapes[own]
            boxes[rows], seen[rows] = part.track.boxes[own], part.track.seen[own]
            if len(part.track.cover_log_odds):
                log_odds[rows] = part.track.cover_log_odds[own]
            if done < rows.start and done:
                fill_between(landmarks, done - 1, rows.start)
                fill_between(shapes, done - 1, rows.start)
                boxes[done : rows.start] = find_boxes(landmarks[done : rows.start])
            done = rows.stop
        covered = mark_covered(log_odds)
        return FaceTrack(start, boxes, landmarks, shapes, seen, self._thumbnail, covered, log_odds)


class FaceJoiner:
    """Join the faces of segments, added in order.

    The segments must be tracked with a `min_length` of one frame: what is too short is known after joining.
    """

    def __init__(self, options: FaceOptions):
        self._options = options
        self._open: list[_Chain] = []  # may continue in the next segment
        self._chains: list[_Chain] = []
        self._cuts: list[int] = []
        self._left_out = 0

    def add(self, segment: Segment, faces: Faces) -> None:
        """Continue tracks with those that are the same face, and begin tracks with the others."""
        self._cuts += [cut for cut in faces.cuts if segment.start <= cut < segment.end]
        self._left_out = max(self._left_out, faces.left_out)
        tracks = [track for track in faces.tracks if track.end > segment.start]
        pairs = dict(self._match(tracks))
        begun = []
        for number, track in enumerate(tracks):
            if number in pairs:
                pairs[number].add(track)
            else:
                first = max(track.start, segment.start)
                begun.append(_Chain(_TrackRows(track, first + int(np.argmax(track.seen[first - track.start :])))))
        self._chains += begun
        self._open = [
            chain for chain in (*pairs.values(), *begun) if chain.last.end + LEAD + self._options.max_gap >= segment.end
        ]

    def finish(self) -> Faces:
        """Return the joined faces of the clip."""
        chains = [one for one in self._chains if one.last.end - one.start >= self._options.min_length]
        self._chains, self._open = [], []
        tracks = sorted((chain.join() for chain in chains), key=lambda track: (track.start, -width(track)))
        return Faces(tuple(tracks), tuple(self._cuts), self._left_out)

    def _match(self, tracks: list[FaceTrack]) -> Iterator[tuple[int, _Chain]]:
        """Yield the number of each track that continues an open one, and that one; the most similar first."""
        found = [
            (likeness, number, chain)
            for number, track in enumerate(tracks)
            for chain in self._open
            if (likeness := self._compare(chain.last, track)) is not None
        ]
        taken: set[int] = set()
        continued: list[_Chain] = []
        for _, number, chain in sorted(found, key=lambda one: one[0], reverse=True):
            if number not in taken and chain not in continued:
                taken.add(number)
                continued.append(chain)
                yield number, chain

    def _compare(self, before: FaceTrack, after: FaceTrack) -> tuple[bool, float] | None:
        """Return how alike two tracks are, by frames that both saw or else by the places where they end and begin."""
        first, last = max(before.start, after.start), min(before.end, after.end)
        frames = np.arange(first, max(first, last))
        frames = frames[before.seen[frames - before.start] & after.seen[frames - after.start]]
        if len(frames):
            pairs = zip(before.boxes[frames - before.start], after.boxes[frames - after.start], strict=True)
            same = float(np.mean([overlap(one, other) for one, other in pairs]))
            return (True, same) if same > SAME else None
        if after.start - before.end > self._options.max_gap:
            return None
        if any(before.end <= cut <= after.start for cut in self._cuts):
            return None
        known = before.boxes[-1]
        distance = measure_distance(after.boxes[max(0, before.end - after.start)], known, reach=1.0)
        return None if distance is None else (False, -distance / measure_side(known))


def _widest(track: FaceTrack) -> float:
    return float((track.boxes[track.seen, 2] - track.boxes[track.seen, 0]).max())
