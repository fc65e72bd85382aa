"""Audio and mouth signals for display, and speaker turns; no result depends on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.consistency.gates import GateOptions
from engine.consistency.model_specs import SPECS
from engine.types import FPS, Model, TrackReport
from webapp.errors import WebCode

if TYPE_CHECKING:  # the page's process needs neither torch nor the networks
    from engine.features.records import ClipFeatures

STEPS_PER_FRAME = 4
BANDS_HZ = (60.0, 7600.0)  # lower and upper edge of the mel bands
STEP_S = 0.2
AROUND_S = 2.0  # s; windows centred this close count: 6 s, as when the gate's thresholds were measured
NO_SPEAKER = -1
Turn = tuple[float, float]
"""Start and end in seconds."""


class Gate(StrEnum):
    """What can be compared at a time."""

    COMPARED = "speech is heard and the face is seen"
    NO_FACE = "speech is heard, no moving mouth is seen"
    NO_SPEECH = "no speech is heard"
    NO_SOUND = "no sound is recorded"


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrace:
    """Mouth opening of one track, one value per frame at 25 fps."""

    start: int  # frame number of row 0
    opening: np.ndarray  # (T,) float32: gap between the inner lips over the distance of the outer eye corners
    seen: np.ndarray  # (T,) bool: the mouth is seen in a moving picture


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """Audio and mouth signals of a clip for display."""

    bands: np.ndarray  # (4 T, 40) float16: log power of the sound, 100 steps a second, 60 to 7600 Hz by mel
    voiced: np.ndarray  # (T,) bool: voice activity
    present: np.ndarray  # (T,) bool: audio that is not digital silence
    faces: tuple[FaceTrace, ...]  # by the id of the analysis's track
    start_s: float = 0.0  # media time of frame 0: start of the analysed part

    @classmethod
    def of(cls, features: "ClipFeatures", faces: tuple[int, ...] | None = None) -> Self:
        """Take the signals from extracted features; `faces` are track numbers, by default all in order."""
        tracks = features.tracks if faces is None else tuple(features.tracks[number] for number in faces)
        return cls(
            bands=_split_steps(features.audio.rows),
            voiced=features.audio.voiced,
            present=features.audio.present & ~features.audio.muted,
            faces=tuple(FaceTrace(track.start, track.gap, track.clear) for track in tracks),
            start_s=features.media.from_s,
        )

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Join the signals of the parts of a recording, which follow each other."""
        starts = [sum(len(part.voiced) for part in parts[:number]) for number in range(len(parts))]
        return cls(
            bands=np.concatenate([part.bands for part in parts]),
            voiced=np.concatenate([part.voiced for part in parts]),
            present=np.concatenate([part.present for part in parts]),
            faces=tuple(
                replace(face, start=face.start + start)
                for part, start in zip(parts, starts, strict=True)
                for face in part.faces
            ),
            start_s=parts[0].start_s,
        )

    def gate(self, face: int) -> list[tuple[float, float, Gate]]:
        """Return the runs (start s, end s, state) of one track in media time, without gaps."""
        own, n_frames = self.faces[face], len(self.voiced)
        seen = np.zeros(n_frames, bool)
        seen[own.start : own.start + len(own.seen)] = own.seen[: n_frames - own.start]
        kinds = np.where(seen, 0, 1)
        kinds[~self.voiced] = 2
        kinds[~self.present] = 3
        edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), n_frames]
        gates = list(Gate)
        return [(self.start_s + a / FPS, self.start_s + b / FPS, gates[kinds[a]]) for a, b in pairwise(edges) if b > a]

    def write(self, path: Path) -> None:
        """Write the signals as one safetensors file."""
        arrays = {"bands": self.bands, "voiced": self.voiced, "present": self.present}
        arrays["start_s"] = np.array([self.start_s])
        for number, face in enumerate(self.faces):
            own = {"start": np.array([face.start]), "opening": face.opening, "seen": face.seen}
            arrays |= {f"face{number}.{name}": value for name, value in own.items()}
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file of `write`; raise TRACES_UNREADABLE if it is missing or damaged."""
        try:
            arrays = load_file(path)
            n_faces = sum(name.endswith(".start") for name in arrays)
            faces = tuple(
                FaceTrace(
                    int(arrays[f"face{number}.start"][0]),
                    arrays[f"face{number}.opening"],
                    arrays[f"face{number}.seen"].astype(bool),
                )
                for number in range(n_faces)
            )
            start_s = float(arrays["start_s"][0]) if "start_s" in arrays else 0.0  # absent from older files
            return cls(arrays["bands"], arrays["voiced"].astype(bool), arrays["present"].astype(bool), faces, start_s)
        except (OSError, SafetensorError, KeyError, IndexError) as cause:
            raise WebCode.TRACES_UNREADABLE(
                "The stored audio and mouth signals cannot be read.", "Analyse the file again."
            ) from cause


def _split_steps(rows: np.ndarray) -> np.ndarray:
    """(T, 4 B) with the steps of a frame concatenated to (4 T, B) float16."""
    return rows.reshape(len(rows) * STEPS_PER_FRAME, -1).astype(np.float16)


def find_turns(
    tracks: Sequence[TrackReport], model: Model, options: GateOptions | None = None
) -> list[list[Turn]] | None:
    """Return the runs per track in which only its lips are clearly in sync, by the thresholds of gate MULTI_FACE.

    None for a single track, or for a model without such thresholds.
    """
    if len(tracks) < 2 or not SPECS[model].names_speaker:
        return None
    options = options or GateOptions()
    n_steps = int(np.ceil(max(track.end_s for track in tracks) / STEP_S))
    times = (np.arange(n_steps) + 0.5) * STEP_S
    scores = np.array([_average_scores(track, times) for track in tracks])  # (tracks, steps), -inf for unknown
    ranked = np.sort(scores, axis=0)
    best, second = ranked[-1], ranked[-2]
    clear = (best >= options.clear_score) & (best - np.where(np.isfinite(second), second, -1.0) >= options.clear_margin)
    speaker = np.where(clear, scores.argmax(0), NO_SPEAKER)
    return [_find_runs(speaker == face) for face in range(len(tracks))]


def _average_scores(track: TrackReport, times: np.ndarray) -> np.ndarray:
    """(T,) mean score of the windows around each time at which the track is visible."""
    windows = track.consistency.windows
    middles = np.array([(one.start_s + one.end_s) / 2 for one in windows])
    scores = np.array([one.score for one in windows])
    near = np.abs(times[:, None] - middles[None]) <= AROUND_S
    near &= ((times >= track.start_s) & (times <= track.end_s))[:, None]
    counts = near.sum(1)
    means = (near * scores).sum(1) / np.maximum(counts, 1)
    return np.where(counts > 0, means, -np.inf)


def _find_runs(chosen: np.ndarray) -> list[Turn]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return [(float(a * STEP_S), float(b * STEP_S)) for a, b in list(pairwise(edges.tolist()))[::2]]
