"""Cover the mouth in genuine clips of held-out people, and count the zones before and after.

`python -m benchmarks.covered_mouths MANIFEST`: no clip may be called against because of its cover, and no clear mouth
may be taken for a covered one. The people are those whom `wayspeak train cover` holds out.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError
from engine.faces.tracking import track_faces
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.settings import Settings
from engine.training.cover.covers import cover_mouth
from engine.training.cover.train import is_held_out
from engine.types import Analysis, Clip, FaceTrack, Frame, MediaSelection, Reason

KINDS = ("mask", "hand", "microphone", "scarf")
CLEAR = "clear"
MIN_S, MAX_S = 4.0, 15.0  # of a clip that is read
MAX_OF_ONE = 6  # clips of one person
OCCLUDED, OTHER = "OCCLUDED", "another refusal"


def choose_clips(manifest: Path) -> Iterator[Row]:
    """Yield genuine clips of held-out people: one of each person before a second of one."""
    people: dict[str, list[Row]] = defaultdict(list)
    for row in read_manifest(manifest, ("path", "label", "speaker", "has_audio", "audio_in_sync")):
        heard = row.has_audio == "1" and row.audio_in_sync != "no"
        if row.is_real and heard and is_held_out(row.speaker):
            people[row.speaker].append(row)
    for turn in range(MAX_OF_ONE):
        yield from (own[turn] for own in people.values() if turn < len(own))


def find_face(clip: Clip, engine: Engine) -> FaceTrack:
    """Return the track of the largest and longest seen face."""
    extractor = engine.extractor
    tracks = track_faces(clip.read_frames(), extractor.faces, extractor.face_options).tracks
    return max(tracks, key=lambda track: track.seen.sum() * float(np.median(track.boxes[:, 2] - track.boxes[:, 0])))


def cover_clip(clip: Clip, face: FaceTrack, kind: str, seed: int) -> Clip:
    """Return the clip with a drawn cover over the mouth of a face, which it follows."""

    def read() -> Iterator[Frame]:
        for frame in clip.read_frames():
            row, image = frame.index - face.start, frame.image
            if 0 <= row < len(face.seen):
                image = cover_mouth(np.random.default_rng(seed), image, face.landmarks[row], kind)[0]
            yield replace(frame, image=image)

    return replace(clip, read_frames=read)


def name_outcome(analysis: Analysis) -> str:
    """Return the zone of the best face, or why there is none; a face called against counts, whichever it is."""
    zones = [track.consistency.zone for track in analysis.tracks]
    if "against" in zones:
        return "against"
    if (zone := next((zone for zone in zones if zone), None)) is not None:
        return zone
    refused = any(Reason.OCCLUDED in track.consistency.reasons for track in analysis.tracks)
    return OCCLUDED if refused else OTHER


def main(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips.")],
    n_clips: Annotated[int, typer.Option("--clips", help="Clips that are supported before.")] = 60,
) -> None:
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine.load(Settings(Path(folder)))
    n_done = 0
    for row in choose_clips(manifest):
        try:
            clip = open_clip(row.path, selection=MediaSelection(to_s=MAX_S))
            if clip.duration_s < MIN_S:
                continue
            clear = engine.judge(engine.extractor.extract_clip(clip))
        except EngineError:
            continue
        outcomes[CLEAR][name_outcome(clear)] += 1
        if name_outcome(clear) != "supported":
            continue
        face = find_face(clip, engine)
        for kind in KINDS:
            covered = name_outcome(engine.judge(engine.extractor.extract_clip(cover_clip(clip, face, kind, n_done))))
            outcomes[kind][covered] += 1
            if covered == "against":
                print(f"{row.path.name}: {kind}: against", flush=True)
        n_done += 1
        if n_done == n_clips:
            break
    names = ("supported", "inconclusive", "against", OCCLUDED, OTHER)
    print(f"{'mouth':14}{'clips':>7}" + "".join(f"{name:>17}" for name in names))
    for kind, own in outcomes.items():
        print(f"{kind:14}{own.total():7}" + "".join(f"{own[name]:17}" for name in names))


if __name__ == "__main__":
    typer.run(main)
