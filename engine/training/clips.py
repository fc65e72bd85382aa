"""Training clips: usable rows of a manifest, their main face and audio, and splits by corpus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from engine.datasets.manifest import Row, read_manifest
from engine.errors import Code
from engine.features.records import ClipFeatures, FaceFeatures
from engine.models.compact import N_BANDS

MIN_FRAMES = 28  # shorter clips hardly hold a full window


class Spoken(Protocol):
    """The properties of a clip that a split needs."""

    @property
    def corpus(self) -> str:
        """Clips of one corpus are never on both sides of a split."""
        ...

    @property
    def seconds(self) -> float:
        """Length at 25 frames a second."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TrainingClip:
    """The main face of a clip and the audio of the same time."""

    name: str
    source: str
    speaker: str
    corpus: str  # clips of one corpus are never on both sides of a split
    lips: np.ndarray  # (T, 130) float32 landmark features
    mel: np.ndarray  # (4T, 40) float32, log-mel steps of 10 ms
    real: np.ndarray  # (T,) bool: face and audio are present

    @property
    def seconds(self) -> float:
        """Length at 25 frames a second."""
        return len(self.real) / 25


def read_usable_rows(manifest: Path) -> list[Row]:
    """Read the rows to train on; raise BAD_MANIFEST if there are none."""
    rows = choose_rows(read_manifest(manifest, required=("path", "label", "source", "speaker", "audio_in_sync")))
    if not rows:
        raise Code.BAD_MANIFEST(
            f"{manifest.name} has no row that is real and in sync",
            "Training needs rows with label `real`, has_audio `1` and audio_in_sync `yes` or `near`.",
        )
    return rows


def check_faces(clips: Sequence[Spoken], rows: Sequence[Row], manifest: Path) -> None:
    """Raise BAD_MANIFEST if none of the rows became a clip."""
    if not clips:
        raise Code.BAD_MANIFEST(
            f"{manifest.name}: none of the {len(rows)} clips that are real and in sync shows a face with audio",
            f"Training needs {MIN_FRAMES} frames of both.",
        )


def choose_rows(rows: Iterable[Row]) -> list[Row]:
    """Keep real clips with audio in sync or nearly so; synthetic or reenacted clips are never trained on."""
    return [row for row in rows if row.is_synchronised and row.has_audio == "1"]


def build_clip(observation: ClipFeatures, row: Row, corpus: str) -> TrainingClip | None:
    """Build a clip from the main face; None if it has fewer than MIN_FRAMES frames with audio."""
    if not observation.tracks:
        return None
    track = choose_face(observation.tracks)
    span = slice(track.start, track.end)
    real = track.seen & observation.audio.present[span]
    if real.sum() < MIN_FRAMES:
        return None
    mel = observation.audio.rows[span].reshape(-1, N_BANDS)
    return TrainingClip(observation.name, row.source, row.speaker, corpus, track.lips, mel, real)


def choose_face(tracks: Sequence[FaceFeatures]) -> FaceFeatures:
    """Choose the main face: the largest product of length and face width."""
    return max(tracks, key=lambda one: len(one.seen) * one.face_px)


def split_folds(clips: Sequence[Spoken], n_folds: int) -> dict[str, int]:
    """Assign corpora to folds by length, the longest first, each to the shortest fold."""
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.corpus] = seconds.get(clip.corpus, 0.0) + clip.seconds
    load, fold = [0.0] * n_folds, {}
    for corpus in sorted(seconds, key=lambda name: (-seconds[name], name)):
        fold[corpus] = int(np.argmin(load))
        load[fold[corpus]] += seconds[corpus]
    return fold


def shift_sound(clip: TrainingClip, frames: int) -> TrainingClip:
    """Remove an AV offset of `frames` (positive: audio is late) by cutting both sides; nothing is padded."""
    length = len(clip.real) - abs(frames)
    if frames == 0 or length < MIN_FRAMES:
        return clip
    face, sound = max(0, -frames), max(0, frames)
    return replace(
        clip,
        lips=clip.lips[face : face + length],
        mel=clip.mel[4 * sound : 4 * (sound + length)],
        real=clip.real[face : face + length] & clip.real[sound : sound + length],
    )
