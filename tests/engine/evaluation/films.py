"""Drawn films of known truth, and an extractor that sees it."""

import hashlib
import json
from pathlib import Path

import numpy as np

from engine.errors import Code
from engine.faces.landmark_features import N_FEATURES, N_MOTION
from engine.faces.tracking import FaceOptions
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.compact import N_SPEECH
from engine.types import WHOLE, MediaSelection, OnStep
from tests.fakes import JAW_COLUMN, make_mouth

RECIPE = "drawn-0123+options-4567"
THUMBNAIL = np.zeros((96, 96, 3), np.uint8)


def draw_film(folder: Path, name: str, mouth: int, voice: int | None = None, late: int = 0, seconds: float = 6) -> str:
    """Write a file that encodes the features to extract; return its name."""
    film = {"mouth": mouth, "voice": mouth if voice is None else voice, "late": late, "seconds": seconds}
    (folder / name).write_text(json.dumps(film | {"name": name}))
    return name


class DrawnExtractor:
    """Extract the features described in the file, and record each extraction."""

    recipe = RECIPE
    face_options = FaceOptions()

    def __init__(self) -> None:
        self.extracted: list[str] = []

    def extract(
        self,
        path: Path,
        on_step: OnStep = lambda name, completed, total: None,
        selection: MediaSelection = WHOLE,
    ) -> ClipFeatures:
        self.extracted.append(path.name)
        try:
            film = json.loads(path.read_text())
        except OSError as cause:
            raise Code.UNREADABLE_VIDEO(f"There is no file {path.name!r}.") from cause
        except ValueError as cause:
            raise Code.UNREADABLE_VIDEO("The file is no video.") from cause
        return make_features(film, hashlib.sha256(path.read_bytes()).hexdigest())


def move(n_frames: int) -> np.ndarray:
    """The motion of a head that keeps still."""
    return np.zeros((n_frames, N_MOTION), np.float32)


def make_features(film: dict, sha256: str) -> ClipFeatures:
    n_frames, present = round(25 * film["seconds"]), film["voice"] >= 0
    mouth = make_mouth(n_frames + 40, max(film["mouth"], 0))[20:-20]
    sound = make_mouth(n_frames + 40, max(film["voice"], 0))[20 - film["late"] :][:n_frames]
    lips = np.zeros((n_frames, N_FEATURES), np.float32)
    lips[:, JAW_COLUMN] = mouth
    rows = np.repeat(sound[:, None], N_SPEECH, axis=1).astype(np.float32)
    everywhere, there = np.ones(n_frames, bool), np.full(n_frames, present)
    track = FaceFeatures(0, lips, everywhere, mouth.astype(np.float32), 120.0, THUMBNAIL, move(n_frames))
    tracks = (track,) if film["mouth"] >= 0 else ()
    heard = AudioFeatures(rows, there, there, -20.0)
    return ClipFeatures(film["name"], sha256, n_frames, (640, 480), 25.0, (), heard, tracks, (), {})
