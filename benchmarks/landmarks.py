"""Compare the interpolated tracker with the chained one on real clips: landmarks, faces, cost and consistency.

`python -m benchmarks.landmarks MANIFEST.csv [--clips 60]` takes real clips evenly from every source. Distances are in
face widths. Both trackers are also compared with settled landmarks: the mesh is placed twice more from its own region,
so that they depend on no earlier frame. Jitter is the distance of a point from the middle between its places in the
frames before and after. The shipped consistency model scores the main face of each clip with its own and other audio.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from benchmarks.common import describe_machine
from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError
from engine.evaluation.trials import Trial, TrialClip, plant_offsets, score_other_voices, score_own_voices
from engine.faces.landmark_features import LIPS, STABLE
from engine.faces.landmarker import FaceNets, Mesh
from engine.faces.tracking import FaceOptions, Faces, track_faces
from engine.features.records import AudioFeatures, extract_audio, extract_face
from engine.media.clip import open_clip
from engine.metrics import auc, bootstrap_interval, bootstrap_mean
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import FPS, Evidence, FaceTrack, Frame

Tracker = Literal["chained", "interpolated"]
TRACKERS: tuple[Tracker, ...] = ("chained", "interpolated")
MIN_SECONDS = 2.0
SETTLED_EVERY = 4  # frames; every place within a key interval gets its turn
PLANTED = (-8, -4, 4, 8)  # frames
SAME_FACE = 0.5  # face widths between the centres of one face in two trackers


@dataclass(slots=True)
class Measured:
    """What is measured of one tracker; arrays per clip, in face widths."""

    all_points: list[np.ndarray] = field(default_factory=list)  # distances from settled landmarks
    mouth_points: list[np.ndarray] = field(default_factory=list)
    head_jitter: list[float] = field(default_factory=list)  # of the head at rest
    mouth_jitter: list[float] = field(default_factory=list)  # in the head, without speech
    seen: int = 0  # frames with a face, times faces
    alone: int = 0  # of them not seen by the other tracker
    cpu_ms: list[float] = field(default_factory=list)  # per frame
    clips: list[TrialClip] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """Both trackers, and their distance from each other per clip, in face widths."""

    trackers: dict[Tracker, Measured] = field(default_factory=lambda: {name: Measured() for name in TRACKERS})
    all_points: list[np.ndarray] = field(default_factory=list)
    mouth_points: list[np.ndarray] = field(default_factory=list)


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


def measure_clip(row: Row, engine: Engine, seconds: float, comparison: Comparison, first: int) -> None:
    """Add the measurements of one clip; `first` is the tracker that runs first."""
    clip = open_clip(row.path, engine.extractor.limits)
    frames = [frame for frame, _ in zip(clip.read_frames(), range(round(seconds * FPS)), strict=False)]
    audio = extract_audio(clip, engine.extractor.voice)
    nets, found = engine.extractor.faces, dict[Tracker, Faces]()
    for name in (TRACKERS[first], TRACKERS[1 - first]):
        began = time.process_time()
        found[name] = track_faces(frames, nets, FaceOptions(regions=name))
        comparison.trackers[name].cpu_ms.append(1000 * (time.process_time() - began) / len(frames))
    chained, interpolated = (found[name] for name in TRACKERS)
    pairs = list(pair_faces(chained, interpolated))
    _add_distances(pairs, comparison)
    for name, faces in found.items():
        own, n_shared = comparison.trackers[name], sum(len(rows) for *_, rows in pairs)
        n_seen = sum(int(track.seen.sum()) for track in faces.tracks)
        own.seen, own.alone = own.seen + n_seen, own.alone + n_seen - n_shared
    settled = settle(chained, interpolated, frames, nets)
    for name in TRACKERS:
        own, faces = comparison.trackers[name], found[name]
        _add_settled(faces, settled, own)
        _add_jitter(faces, frames, audio, own)
        own.clips += [trial for trial in [make_trial_clip(row, faces, audio, engine)] if trial is not None]


def pair_faces(chained: Faces, other: Faces) -> Iterator[tuple[FaceTrack, FaceTrack, np.ndarray]]:
    """Yield tracks of the same face, with the frames in which both see it."""
    for one in chained.tracks:
        for two in other.tracks:
            frames = np.arange(max(one.start, two.start), min(one.end, two.end))
            apart = np.abs(_centres(one, frames) - _centres(two, frames)).max(axis=1) if len(frames) else np.zeros(0)
            near = apart < SAME_FACE * find_width(one)
            both = one.seen[frames - one.start] & two.seen[frames - two.start] & near
            if both.any():
                yield one, two, frames[both]


def settle(chained: Faces, other: Faces, frames: Sequence[Frame], nets: FaceNets) -> list[tuple[int, np.ndarray]]:
    """Return frame numbers and settled landmarks (478, 3) of the faces that both see, in every few frames."""
    settled = []
    for one, _, both in pair_faces(chained, other):
        for index in both[both % SETTLED_EVERY == SETTLED_EVERY // 2]:
            mesh = Mesh(1.0, one.landmarks[index - one.start])
            for _ in range(2):
                mesh = nets.place_landmarks(frames[index].image, mesh.region())
            settled.append((int(index), mesh.landmarks))
    return settled


def make_trial_clip(row: Row, faces: Faces, audio: AudioFeatures, engine: Engine) -> TrialClip | None:
    """Return the face that is seen longest with the audio of its time; None without both."""
    long = [track for track in faces.tracks if track.seen.sum() >= MIN_SECONDS * FPS]
    if not long or row.has_audio == "0" or row.audio_in_sync == "no":
        return None
    face = extract_face(max(long, key=lambda track: int(track.seen.sum())))
    lips, speech = engine.scorer.select_inputs(face, audio)
    evidence = Evidence(face.clear, audio.heard[face.start : face.end])
    encoded = engine.scorer.encode(lips, speech, evidence)
    return TrialClip(row.written, row.person, row.source, row.person, lips, speech, evidence, encoded)


def find_width(track: FaceTrack) -> float:
    """Return the median width of a face in pixels."""
    return float(np.median(track.boxes[:, 2] - track.boxes[:, 0]))


def _centres(track: FaceTrack, frames: np.ndarray) -> np.ndarray:
    boxes = track.boxes[frames - track.start]
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _add_distances(pairs: Sequence[tuple[FaceTrack, FaceTrack, np.ndarray]], comparison: Comparison) -> None:
    for one, two, frames in pairs:
        apart = one.landmarks[frames - one.start, :, :2] - two.landmarks[frames - two.start, :, :2]
        distances = np.linalg.norm(apart, axis=2) / find_width(one)
        comparison.all_points.append(distances.ravel())
        comparison.mouth_points.append(distances[:, LIPS].ravel())


def _add_settled(faces: Faces, settled: Sequence[tuple[int, np.ndarray]], own: Measured) -> None:
    for index, landmarks in settled:
        for track in faces.tracks:
            if not track.start <= index < track.end:
                continue
            apart = track.landmarks[index - track.start, :, :2] - landmarks[:, :2]
            distances = np.linalg.norm(apart, axis=1) / find_width(track)
            if np.median(distances) < SAME_FACE:
                own.all_points.append(distances)
                own.mouth_points.append(distances[list(LIPS)])


def _add_jitter(faces: Faces, frames: Sequence[Frame], audio: AudioFeatures, own: Measured) -> None:
    for track in faces.tracks:
        counted = track.seen & np.array([frames[i].is_new for i in range(track.start, track.end)])
        rows = np.flatnonzero(counted[1:-1] & counted[:-2] & counted[2:]) + 1
        if not len(rows):
            continue
        head, jitter = measure_jitter(track, rows)
        still = head <= np.median(head)
        own.head_jitter.append(_rms(jitter[still][:, STABLE]))
        silent = ~audio.voiced[track.start + rows] if len(audio.voiced) >= track.end else still
        if (still & silent).any():
            mouth = jitter[:, LIPS] - jitter[:, STABLE].mean(axis=1, keepdims=True)
            own.mouth_jitter.append(_rms(mouth[still & silent]))


def measure_jitter(track: FaceTrack, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the speed of the head (R,) and the jitter of each point (R, 478, 2), in face widths, at some rows."""
    points = track.landmarks[:, :, :2] / find_width(track)
    before, after = points[rows - 1], points[rows + 1]
    head = np.linalg.norm((after - before)[:, STABLE].mean(axis=1), axis=1) / 2
    return head, points[rows] - (before + after) / 2


def _rms(offsets: np.ndarray) -> float:
    """Return the root mean square length of offsets (..., 2)."""
    return float(np.sqrt((offsets.astype(np.float64) ** 2).sum(-1).mean()))


def print_landmarks(comparison: Comparison) -> None:
    """Print distances, jitter, faces and cost."""
    apart = [np.concatenate(some) for some in (comparison.all_points, comparison.mouth_points)]
    print(
        "distance of the two: "
        + "; ".join(f"{_quantiles(some)} of {name}" for some, name in zip(apart, ("all points", "mouth"), strict=True))
    )
    print(
        "| tracker | from settled: all points, median and 95 % | mouth | jitter at rest: head | mouth "
        "| faces seen | by this one alone | processor ms per frame |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, own in comparison.trackers.items():
        points = [_quantiles(np.concatenate(some)) for some in (own.all_points, own.mouth_points)]
        jitter = [f"{np.median(some):.5f}" for some in (own.head_jitter, own.mouth_jitter)]
        print(
            "| "
            + " | ".join([name, *points, *jitter, str(own.seen), str(own.alone), f"{np.mean(own.cpu_ms):.2f}"])
            + " |"
        )
    ratios = np.array(comparison.trackers["interpolated"].cpu_ms) / comparison.trackers["chained"].cpu_ms
    print(
        f"processor time, interpolated over chained: {np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
    )


def print_consistency(comparison: Comparison, engine: Engine) -> None:
    """Print scores and offsets of both trackers on the clips that both can score."""
    chained, interpolated = (comparison.trackers[name].clips for name in TRACKERS)
    shared = {clip.name for clip in chained} & {clip.name for clip in interpolated}
    sides = {name: [clip for clip in comparison.trackers[name].clips if clip.name in shared] for name in TRACKERS}
    trials = {name: score(clips, engine) for name, clips in sides.items()}
    own = [{trial.face: trial for trial in trials[name][0]} for name in TRACKERS]
    changes = np.array([two.score - own[0][face].score for face, two in own[1].items() if face in own[0]])
    offsets = np.array([two.offset - own[0][face].offset for face, two in own[1].items() if face in own[0]])
    print(
        f"own audio, interpolated less chained, {len(changes)} clips: mean {changes.mean():+.4f}, "
        f"mean size {np.abs(changes).mean():.4f}, largest {np.abs(changes).max():.4f}; "
        f"offset the same in {np.mean(offsets == 0):.0%}, within a frame in {np.mean(np.abs(offsets) <= 1):.0%}"
    )
    for name in TRACKERS:
        planted = list(plant_offsets(sides[name], engine.scorer.encode, PLANTED, engine.scorer.compare))
        hits = [one.own_error <= 1 for one in planted]
        low, high = bootstrap_mean(hits, [one.group for one in planted])
        print(
            f"{name}: planted offsets found within a frame {np.mean(hits):.1%} ({low:.1%} to {high:.1%}), {len(hits)}"
        )
    print("| clips | tracker | own audio | other audio | AUC (95 %) |")
    print("| --- | --- | --- | --- | --- |")
    for source in ["", *sorted({clip.source for clip in chained})]:
        names = {clip.name for clip in chained if source in ("", clip.source)}
        if len({clip.speaker for clip in chained if clip.name in names}) >= 5:
            for name in TRACKERS:
                print_row(source or "all", name, [[t for t in some if t.face in names] for some in trials[name]])


def score(clips: Sequence[TrialClip], engine: Engine) -> tuple[list[Trial], list[Trial]]:
    """Return the trials with own and with other audio."""
    return score_own_voices(clips, engine.scorer.compare), score_other_voices(clips, engine.scorer.compare)


def print_row(source: str, name: str, trials: Sequence[Sequence[Trial]]) -> None:
    """Print the discrimination of own from other audio."""
    own, other = ([trial.score for trial in some] for some in trials)
    groups = [trial.group for some in trials for trial in some]
    low, high = bootstrap_interval(auc, [*own, *other], [True] * len(own) + [False] * len(other), groups)
    print(
        f"| {source} ({len(own)}) | {name} | {np.mean(own):.4f} | {np.mean(other):.4f} "
        f"| {auc(own, other):.4f} ({low:.4f} to {high:.4f}) |"
    )


def _quantiles(values: np.ndarray) -> str:
    return "{:.4f} and {:.4f}".format(*np.percentile(values, [50, 95]))


def main(
    manifest: Annotated[Path, typer.Argument(help="Clips, as for `wayspeak evaluate`.")],
    clips: Annotated[int, typer.Option(min=2, help="Number of clips.")] = 60,
    seconds: Annotated[float, typer.Option(help="First seconds of each clip.")] = 10.0,
    source: Annotated[list[str] | None, typer.Option(help="Only sources with this in their name; repeatable.")] = None,
) -> None:
    """Compare the trackers."""
    print(describe_machine(), flush=True)
    engine, comparison = Engine.load(Settings.from_env()), Comparison()
    rows = [row for row in read_manifest(manifest) if not source or any(part in row.source for part in source)]
    for number, row in enumerate(choose_rows(rows, clips)):
        try:
            measure_clip(row, engine, seconds, comparison, number % 2)
        except EngineError as error:
            print(f"{row.written}: {error.message}")
    print_landmarks(comparison)
    print_consistency(comparison, engine)
    print(describe_machine())


if __name__ == "__main__":
    typer.run(main)
