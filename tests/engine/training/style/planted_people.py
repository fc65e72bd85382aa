"""People with rhythms of their own, planted: how each opens the mouth and nods is theirs, their looks are the day's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.datasets.manifest import Row
from engine.faces.face_crops import BROWS, CHEEKS, EYES, JAW, LIPS, SIZE, AlignedFaces
from engine.faces.landmark_features import N_MOTION, N_SHAPES
from engine.faces.landmarker import BLENDSHAPES
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.dvp import DVPOptions
from engine.training.style.speakers import SpokenClip
from engine.training.style.train import DynamicsOptions

MINI = DVPOptions(width=24, dim=16, dilations=(1, 2), dropout=0.05, n_shapes=5, n_points=4, n_bands=6, n_appearance=6)
"""Minimal network that learns the planted motion."""
QUICK = DynamicsOptions(
    model=MINI, adversary=0.3, recasts=30, pairs=8, pair_weight=0.5, n_members=1, steps=8, batch=16, learning_rate=8e-3
)
OPEN, LEFT, RIGHT = (BLENDSHAPES.index(name) for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight"))
NOD = N_SHAPES


@dataclass(frozen=True, slots=True)
class Style:
    """A saw-tooth of the mouth, quick to open and slow to close, and what goes along with it."""

    period: float  # frames
    rise: float  # share of the period in which it opens
    lag: float  # frames that the nod comes after the mouth
    nod: float  # radians
    side: float  # of a smile that goes along: 1 on the left alone, -1 on the right


def draw_style(seed: int) -> Style:
    """One person's."""
    rng = np.random.default_rng([7, seed])
    return Style(
        rng.uniform(7, 14), rng.uniform(0.1, 0.35), rng.uniform(0, 5), rng.uniform(-0.2, 0.2), rng.uniform(-1, 1)
    )


def speak(style: Style, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 58): motion in this style, from anywhere in its rhythm, no two periods quite alike."""
    paces = np.exp(rng.normal(0, 0.08, n_frames + 40)) / style.period
    phase = rng.random() + np.cumsum(paces)
    opening = _saw(phase, style.rise) * rng.uniform(0.85, 1.15)
    motion = 0.01 * rng.normal(size=(n_frames, N_MOTION))
    frames = np.arange(20, 20 + n_frames)
    motion[:, OPEN] += 0.5 * opening[frames]
    motion[:, LEFT] += 0.2 * (1 + style.side) * opening[frames]
    motion[:, RIGHT] += 0.2 * (1 - style.side) * opening[frames]
    motion[:, NOD] += style.nod * np.interp(frames - style.lag, np.arange(len(opening)), opening)
    return motion.astype(np.float32)


def make_person_clip(
    speaker: int, session: int = 0, number: int = 0, n_frames: int = 60, style: Style | None = None
) -> SpokenClip:
    """A clip of a person on one day; the numbers of all three are its seed."""
    rng = np.random.default_rng([speaker, session, number])
    motion = speak(style or draw_style(speaker), n_frames, rng)
    look = np.random.default_rng([11, speaker, session])
    points = _place_points(look)
    openness = motion[:, OPEN].clip(0, 1)
    row = Row(
        10_000 * speaker + 100 * session + number,
        Path(f"{speaker}-{session}-{number}.mp4"),
        "real",
        speaker=f"p{speaker}",
        source="planted",
        session=f"day {session}",
    )
    pictures = _draw_face(look, openness) + rng.normal(0, 2, (n_frames, SIZE, SIZE))
    return SpokenClip(
        replace(row, written=row.path.name),
        f"{row.number:064x}",
        row.speaker,
        motion,
        AlignedFaces(pictures.clip(0, 255).astype(np.uint8), _move_points(points, openness)),
    )


def make_people(
    n_people: int, n_sessions: int = 2, per_session: int = 2, n_frames: int = 60, first: int = 0
) -> list[SpokenClip]:
    """Clips of people on several days."""
    return [
        make_person_clip(first + person, session, number, n_frames)
        for person in range(n_people)
        for session in range(n_sessions)
        for number in range(per_session)
    ]


def make_windows(clips: Sequence[SpokenClip], length: int = MINI.window) -> list[SpokenClip]:
    """Clips cut side by side to windows."""
    return [
        replace(
            clip,
            motion=clip.motion[start : start + length],
            faces=clip.faces[start : start + length],
        )
        for clip in clips
        for start in range(0, len(clip.motion) - length + 1, length)
    ]


def forge(driver: SpokenClip, face: SpokenClip, name: str = "forged.mp4") -> SpokenClip:
    """A clip that has the picture of one person and moves as another."""
    row = replace(
        driver.row,
        label="fake",
        method="face-swap",
        path=Path(name),
        face_owner=face.speaker,
        motion_owner=driver.speaker,
        driver_path=driver.row.path,
        donor_path=face.row.path,
    )
    return replace(driver, row=row, faces=AlignedFaces(face.faces.pictures, driver.faces.points))


def make_face_features(clip: SpokenClip, seen: np.ndarray, cut: bool = True, face_px: float = 100.0) -> FaceFeatures:
    """The track that this clip would come from."""
    n_frames = len(clip.motion)
    return FaceFeatures(
        start=0,
        lips=np.zeros((n_frames, 130), np.float32),
        seen=seen,
        gap=np.zeros(n_frames, np.float32),
        face_px=face_px,
        thumbnail=np.zeros((96, 96, 3), np.uint8),
        motion=clip.motion,
        faces=clip.faces if cut else None,
    )


def make_features(*tracks: FaceFeatures) -> ClipFeatures:
    """An observation of these faces, without sound."""
    there = np.zeros(max((len(track.seen) for track in tracks), default=40), bool)
    heard = AudioFeatures(np.zeros((len(there), 160), np.float32), there, there, -np.inf)
    return ClipFeatures("a.mp4", "ab" * 32, len(there), (640, 480), 25.0, (), heard, tracks, (), {})


def _saw(phase: np.ndarray, rise: float) -> np.ndarray:
    """From 0 to 1 in `rise` of each unit of the phase, and back in the rest."""
    at = phase % 1
    return np.where(at < rise, at / rise, (1 - at) / (1 - rise))


def _place_points(look: np.random.Generator) -> np.ndarray:
    """(108, 2): points about where a face has them, wider or longer by the look."""
    lips = np.concatenate([_ring(32, 45, wide, high, 20) for wide, high in ((10, 5), (7, 2))])
    brows = np.concatenate([_ring(x, 18, 6, 1.5, len(BROWS) // 2) for x in (20, 44)])
    around = np.linspace(0, np.pi, len(JAW))
    jaw = np.column_stack([32 - 24 * np.cos(around), 30 + 30 * np.sin(around)])
    eyes = np.concatenate([_ring(x, 25, 4, 2, len(EYES) // 2) for x in (20, 44)])
    cheeks = np.column_stack([np.linspace(16, 48, len(CHEEKS)), 34 + 2 * np.sin(np.arange(len(CHEEKS)))])
    points = np.concatenate([lips, brows, jaw, eyes, cheeks])
    middle = np.array([32, 34])
    return middle + (points - middle) * look.uniform(0.88, 1.06, 2) + look.normal(0, 0.3, points.shape)


def _ring(x: float, y: float, wide: float, high: float, n: int) -> np.ndarray:
    around = np.linspace(0, 2 * np.pi, n, endpoint=False) + 0.1
    return np.column_stack([x + wide * np.cos(around), y + high * np.sin(around)])


def _move_points(points: np.ndarray, openness: np.ndarray) -> np.ndarray:
    """(T, 108, 2): the lower lip and the chin go down as the mouth opens."""
    moved = np.repeat(points[None], len(openness), axis=0)
    chin = np.zeros(len(points))
    chin[: len(LIPS)] = points[: len(LIPS), 1] > 45
    jaw = slice(len(LIPS) + len(BROWS), len(LIPS) + len(BROWS) + len(JAW))
    chin[jaw] = np.clip((points[jaw, 1] - 50) / 10, 0, 1)
    moved[..., 1] += 7 * openness[:, None] * chin
    return moved.astype(np.float32)


def _draw_face(look: np.random.Generator, openness: np.ndarray) -> np.ndarray:
    """(T, 64, 64): a face lit and spotted by the look, with a dark mouth as open as it is."""
    y, x = np.mgrid[:SIZE, :SIZE]
    face = look.uniform(100, 190) + 20 * look.normal() * (x - 32) / 32 + 20 * look.normal() * (y - 32) / 32
    for _ in range(5):
        at = look.uniform(5, 59, 2)
        face = face + 35 * look.normal() * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 60)
    high = 1.5 + 9 * openness[:, None, None]
    mouth = ((y - 45) / high) ** 2 + ((x - 32) / 9) ** 2
    return np.where(mouth < 1, 30.0, face)
