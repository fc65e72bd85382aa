"""Measure the scores of 2 s windows at the offset of their track: genuine speech, and faces with another voice.

`python -m benchmarks.window_ranges MANIFEST RUN --cache FOLDER`: one clip per person, each scored by the network of
`wayspeak train consistency --validate --out RUN` that has not seen its corpus. Prints the percentiles
10, 50 and 90 of both. Every clip has the same weight.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.standins import StandIns, choose_one_each, load_stand_ins
from engine.consistency.offsets import measure_consistency
from engine.datasets.manifest import Row, read_manifest
from engine.features.cache import FeatureCache
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import Evidence
from engine.weights.registry import hash_file

MIN_FRAMES, MAX_FRAMES = 75, 750  # of a face
MIN_FACE_PX = 48.0
VOICES = 3  # other voices for each face
PERCENTILES = (10, 50, 90)
Side = tuple[Row, FaceFeatures, AudioFeatures]


def choose_faces(rows: Sequence[Row], cache: FeatureCache, n_people: int) -> list[Side]:
    """Return the longest face of one cached clip of each person."""
    found = []
    for row in choose_one_each([one for one in rows if one.is_real], n_people):
        features: ClipFeatures | None = cache.load(hash_file(row.path)) if row.path.is_file() else None
        face = max(features.tracks, key=lambda one: len(one.seen), default=None) if features else None
        if features and face and len(face.seen) >= MIN_FRAMES and face.face_px >= MIN_FACE_PX:
            found.append((row, face, features.audio))
    return found


def score_windows(engine: Engine, face: FaceFeatures, audio: AudioFeatures, start: int) -> list[float]:
    """Return the scores of the windows of a face with the audio from frame `start` on."""
    length = min(len(face.seen), len(audio.rows) - start, MAX_FRAMES)
    heard = slice(start, start + length)
    evidence = Evidence(face.clear[:length], audio.heard[heard])
    encoded = engine.scorer.encoder.encode(face.lips[:length], audio.rows[heard], evidence)
    found = measure_consistency(encoded, evidence, engine.scorer.options)
    return [one.track_score for one in found.windows if one.track_score is not None] if found else []


def find_percentiles(clips: Sequence[Sequence[float]]) -> list[float]:
    """Return the percentiles over all windows, each clip with the same weight."""
    values = np.concatenate([np.array(one) for one in clips if one])
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in clips if one])
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order][np.searchsorted(shares, percent / 100)]) for percent in PERCENTILES]


def measure(faces: Sequence[Side], engines: StandIns) -> tuple[list[list[float]], list[list[float]]]:
    """Return the scores of the windows per trial: own voices, and other voices of the same network."""
    own, other, rng = [], [], np.random.default_rng(0)
    for row, face, audio in faces:
        engine = engines.choose(row)
        own.append(score_windows(engine, face, audio, face.start))
        voices = [one for one in faces if one[0].person != row.person and engines.choose(one[0]) is engine]
        for place in rng.choice(len(voices), min(VOICES, len(voices)), replace=False):
            _, voiced_face, voice = voices[place]
            other.append(score_windows(engine, face, voice, voiced_face.start))
    return own, other


def main(
    manifest: Path,
    run: Path,
    cache: Annotated[Path, typer.Option(help="Folder of the feature cache.")],
    people: Annotated[int, typer.Option(help="Most people, one clip of each.")] = 260,
) -> None:
    """Print the percentiles of both kinds of windows."""
    rows, extractor = read_manifest(manifest), Engine.load(Settings.from_env()).extractor
    engines = load_stand_ins(rows, run, extractor)
    faces = [one for one in choose_faces(rows, FeatureCache(cache, extractor.recipe), people) if engines.covers(one[0])]
    for name, clips in zip(("genuine", "another voice"), measure(faces, engines), strict=True):
        shown = ", ".join(f"{value:.3f}" for value in find_percentiles(clips))
        print(f"{name}: {sum(map(len, clips))} windows of {len(clips)} trials; 10, 50, 90 %: {shown}")


if __name__ == "__main__":
    typer.run(main)
