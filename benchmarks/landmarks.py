"""Measure the landmarks of real clips: accuracy, jitter at rest, lost faces and cost.

`python -m benchmarks.landmarks MANIFEST.csv [--clips 60]` takes real clips evenly from every source. Distances are in
face widths. *Settled* landmarks are placed twice more from their own region, so that they depend on no other frame.
Jitter is the distance of a point from the middle between its places in the frames before and after. A face is lost
where a search of the whole frame finds one and the tracker follows none.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common import describe_machine
from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError
from engine.faces.landmark_features import LIPS, STABLE
from engine.faces.landmarker import Detection, FaceNets, Mesh
from engine.faces.tracking import Faces, track_faces
from engine.features.extractor import FeatureExtractor
from engine.features.records import AudioFeatures, extract_audio
from engine.media.clip import open_clip
from engine.settings import Settings
from engine.types import FPS, FaceTrack, Frame

CHECKED_EVERY = 4  # frames; every place within a key interval gets its turn


@dataclass(slots=True)
class Measured:
    """What is measured; arrays per face or clip, in face widths."""

    all_points: list[np.ndarray] = field(default_factory=list)  # distances from settled landmarks
    mouth_points: list[np.ndarray] = field(default_factory=list)
    head_jitter: list[float] = field(default_factory=list)  # of the head at rest
    mouth_jitter: list[float] = field(default_factory=list)  # in the head, without speech
    seen: int = 0  # frames with a face, times faces
    found: int = 0  # faces that a search finds in the checked frames
    lost: int = 0  # of them not followed
    cpu_ms: list[float] = field(default_factory=list)  # per frame


def choose_rows(rows: Sequence[Row], n_clips: int) -> list[Row]:
    """Return real clips, one of each source in turn, of other speakers first."""
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        if row.is_real:
            by_source.setdefault(row.source, []).append(row)
    queues = [_spread_speakers(some) for some in by_source.values()]
    chosen: list[Row] = []
    while len(chosen) < n_clips and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue]
    return chosen[:n_clips]


def _spread_speakers(rows: Sequence[Row]) -> list[Row]:
    """Order rows so that the speakers take turns."""
    turns: dict[str, int] = {}
    order = []
    for row in rows:
        turns[row.person] = turns.get(row.person, 0) + 1
        order.append(turns[row.person])
    return [rows[i] for i in np.argsort(order, kind="stable")]


def measure_clip(row: Row, extractor: FeatureExtractor, seconds: float, measured: Measured) -> None:
    """Add the measurements of one clip."""
    clip = open_clip(row.path, extractor.limits)
    frames = [frame for frame, _ in zip(clip.read_frames(), range(round(seconds * FPS)), strict=False)]
    began = time.process_time()
    faces = track_faces(frames, extractor.faces)
    measured.cpu_ms.append(1000 * (time.process_time() - began) / len(frames))
    measured.seen += sum(int(track.seen.sum()) for track in faces.tracks)
    _add_lost(faces, frames, extractor.faces, measured)
    for track in faces.tracks:
        for index, landmarks in settle(track, frames, extractor.faces):
            apart = track.landmarks[index - track.start, :, :2] - landmarks[:, :2]
            distances = np.linalg.norm(apart, axis=1) / find_width(track)
            measured.all_points.append(distances)
            measured.mouth_points.append(distances[list(LIPS)])
    _add_jitter(faces, frames, extract_audio(clip, extractor.voice), measured)


def settle(track: FaceTrack, frames: Sequence[Frame], nets: FaceNets) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frame numbers and settled landmarks (478, 3) of a face, in every few frames."""
    seen = track.start + np.flatnonzero(track.seen)
    for index in seen[seen % CHECKED_EVERY == CHECKED_EVERY // 2]:
        mesh = Mesh(1.0, track.landmarks[index - track.start])
        for _ in range(2):
            mesh = nets.place_landmarks(frames[index].image, mesh.region())
        yield int(index), mesh.landmarks


def find_lost(detections: Sequence[Detection], faces: Faces, index: int) -> list[Detection]:
    """Return the detections of a frame that lie in no face followed there."""
    own = [track for track in faces.tracks if track.start <= index < track.end and track.seen[index - track.start]]
    boxes = [track.boxes[index - track.start].reshape(2, 2) for track in own]
    eyes = [one.eyes.mean(axis=0) for one in detections]
    followed = [any((low <= point).all() and (point <= high).all() for low, high in boxes) for point in eyes]
    return [one for one, is_followed in zip(detections, followed, strict=True) if not is_followed]


def find_width(track: FaceTrack) -> float:
    """Return the median width of a face in pixels."""
    return float(np.median(track.boxes[:, 2] - track.boxes[:, 0]))


def _add_lost(faces: Faces, frames: Sequence[Frame], nets: FaceNets, measured: Measured) -> None:
    for frame in frames[CHECKED_EVERY // 2 :: CHECKED_EVERY]:
        found = nets.find_faces(frame.image)
        measured.found += len(found)
        measured.lost += len(find_lost(found, faces, frame.index))


def _add_jitter(faces: Faces, frames: Sequence[Frame], audio: AudioFeatures, measured: Measured) -> None:
    for track in faces.tracks:
        counted = track.seen & np.array([frames[i].is_new for i in range(track.start, track.end)])
        rows = np.flatnonzero(counted[1:-1] & counted[:-2] & counted[2:]) + 1
        if not len(rows):
            continue
        head, jitter = measure_jitter(track, rows)
        still = head <= np.median(head)
        measured.head_jitter.append(_rms(jitter[still][:, STABLE]))
        silent = ~audio.voiced[track.start + rows] if len(audio.voiced) >= track.end else still
        if (still & silent).any():
            mouth = jitter[:, LIPS] - jitter[:, STABLE].mean(axis=1, keepdims=True)
            measured.mouth_jitter.append(_rms(mouth[still & silent]))


def measure_jitter(track: FaceTrack, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the speed of the head (R,) and the jitter of each point (R, 478, 2), in face widths, at some rows."""
    points = track.landmarks[:, :, :2] / find_width(track)
    before, after = points[rows - 1], points[rows + 1]
    head = np.linalg.norm((after - before)[:, STABLE].mean(axis=1), axis=1) / 2
    return head, points[rows] - (before + after) / 2


def _rms(offsets: np.ndarray) -> float:
    """Return the root mean square length of offsets (..., 2)."""
    return float(np.sqrt((offsets.astype(np.float64) ** 2).sum(-1).mean()))


def print_table(measured: Measured) -> None:
    """Print what was measured as a Markdown table."""
    points = [np.percentile(np.concatenate(some), [50, 95]) for some in (measured.all_points, measured.mouth_points)]
    rows = {
        "from settled landmarks, all points: median, 95 %": "{:.4f}, {:.4f}".format(*points[0]),
        "mouth points": "{:.4f}, {:.4f}".format(*points[1]),
        "jitter at rest: head": f"{np.median(measured.head_jitter):.4f}",
        "mouth, without speech": f"{np.median(measured.mouth_jitter):.4f}",
        "frames with a face": f"{measured.seen}",
        f"faces found by a search, every {CHECKED_EVERY} frames; not followed": f"{measured.found}; {measured.lost}",
        "processor ms a frame": f"{np.mean(measured.cpu_ms):.2f}",
    }
    print("| | measured |\n| --- | --- |")
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))


def main(
    manifest: Annotated[Path, typer.Argument(help="Clips, as for `wayspeak evaluate`.")],
    clips: Annotated[int, typer.Option(min=2, help="Number of clips.")] = 60,
    seconds: Annotated[float, typer.Option(help="First seconds of each clip.")] = 10.0,
    source: Annotated[list[str] | None, typer.Option(help="Only sources with this in their name; repeatable.")] = None,
) -> None:
    """Measure the landmarks of real clips."""
    print(describe_machine(), flush=True)
    extractor, measured = FeatureExtractor.load(Settings.from_env()), Measured()
    rows = [row for row in read_manifest(manifest) if not source or any(part in row.source for part in source)]
    for row in choose_rows(rows, clips):
        try:
            measure_clip(row, extractor, seconds, measured)
        except EngineError as error:
            print(f"{row.written}: {error.message}")
    print_table(measured)
    print(describe_machine())


if __name__ == "__main__":
    typer.run(main)
