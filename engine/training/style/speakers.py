"""People to learn ways of speaking from: what is kept of each clip, and who is left out in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError
from engine.faces.face_crops import AlignedFaces
from engine.faces.landmark_features import N_SHAPES
from engine.features.cache import FeatureCache, decode_ahead, extract_cached
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures
from engine.models.dvp import DVP, DVPOptions, describe_pictures
from engine.settings import Settings
from engine.training.clips import choose_face
from engine.training.style.augmentation import StillFace
from engine.types import OnStep

MAX_FRAMES = 500  # of a clip: 20 s
MIN_FRAMES = 25
MIN_CLIPS, MIN_SESSIONS = 18, 4  # of a person who is left out and measured
STILL = 1e-3  # deviation, over the widest one: what moves less says nothing, and must not be blown up to unit spread


@dataclass(frozen=True, slots=True, eq=False)
class SpokenClip:
    """The main face of a clip."""

    row: Row
    sha256: str
    speaker: str
    motion: np.ndarray  # (T, 58) float32, `motion.describe_motion`
    faces: AlignedFaces  # of the same frames

    @property
    def is_own_face(self) -> bool:
        """Not forged: who moves is who is seen."""
        return self.row.face_owner in (None, "", self.speaker)

    @property
    def people(self) -> frozenset[str]:
        """Who moves and who is seen."""
        return frozenset({self.speaker, self.row.face_owner or self.speaker})

    @property
    def seconds(self) -> float:
        """Length at 25 frames a second."""
        return len(self.motion) / 25

    def still(self, frame: int) -> StillFace:
        """One picture of it."""
        return StillFace(self.faces.pictures[frame], self.faces.points[frame])


def build_spoken_clip(seen: ClipFeatures, row: Row) -> SpokenClip | None:
    """Keep the longest run of frames in which the main face is seen; None where it is shorter than a second.

    A clip whose speaker is not told is taken for a person of its own; a forged clip is the motion's owner's.
    """
    if not seen.tracks:
        return None
    track = choose_face(seen.tracks)
    if track.faces is None:
        raise ValueError(f"the faces of {seen.name} were not cut: extract with `cut_faces`")
    span = find_longest_run(track.seen)
    kept = slice(span.start, min(span.stop, span.start + MAX_FRAMES))
    if kept.stop - kept.start < MIN_FRAMES:
        return None
    speaker = row.motion_owner or row.speaker or f"clip {row.number}"
    return SpokenClip(row, seen.sha256, speaker, track.motion[kept], track.faces[kept])


def read_spoken_rows(manifest: Path, forged: Sequence[Path]) -> list[Row]:
    """Read the real rows of a manifest, and of others those where one person moves another's face."""
    rows = [row for row in read_manifest(manifest, required=("path", "label", "speaker", "session")) if row.is_real]
    for path in forged:
        made = read_manifest(path, required=("path", "label", "face_owner", "motion_owner"))
        rows += [row for row in made if not row.is_real and row.motion_owner and row.face_owner != row.motion_owner]
    return rows


def gather_spoken_clips(
    rows: Sequence[Row],
    settings: Settings,
    folder: Path,
    workers: int,
    on_step: OnStep = lambda step, completed, total: None,
    on_skip: Callable[[str], None] = lambda told: None,
) -> list[SpokenClip]:
    """Build a clip of every row; what cannot be read or shows no face for a second is named and left out."""
    extractor = FeatureExtractor.load(settings, cut_faces=True)
    kept = FeatureCache(folder, extractor.recipe, with_faces=True)
    decode_ahead([row.path for row in rows], settings, extractor.face_options, kept, workers, on_step)
    clips = []
    for done, row in enumerate(rows, start=1):
        found = _build(row, extractor, kept)
        if isinstance(found, str):
            on_skip(f"{row.written} is left out: {found}")
        else:
            clips.append(found)
        on_step("clips", done, len(rows))
    return clips


def find_longest_run(flags: np.ndarray) -> slice:
    """The longest run of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    runs = edges.reshape(-1, 2)
    first, last = runs[np.argmax(runs[:, 1] - runs[:, 0])] if len(runs) else (0, 0)
    return slice(int(first), int(last))


def split_speakers(clips: Sequence[SpokenClip], n_folds: int, seed: int) -> list[frozenset[str]]:
    """Share out the speakers who have clips and sessions enough to be measured; all others are always trained on."""
    sessions: dict[str, list[str]] = {}
    for clip in clips:
        if clip.is_own_face and clip.row.speaker and clip.row.session:
            sessions.setdefault(clip.row.speaker, []).append(clip.row.session)
    able = [name for name, own in sessions.items() if len(own) >= MIN_CLIPS and len(set(own)) >= MIN_SESSIONS]
    order = np.random.default_rng(seed).permutation(sorted(able))
    return [frozenset(str(name) for name in order[fold::n_folds]) for fold in range(n_folds)]


def fit_bases(clips: Sequence[SpokenClip], options: DVPOptions) -> DVP:
    """Find the principal directions of motion within clips, of unit spread; a model of no members carries them.

    Each clip counts by at most 50 frames, so that long ones do not rule.
    """
    model = DVP(options, 0)
    motion, points, looks = [], [], []
    for clip in clips:
        step = max(1, len(clip.motion) // 50)
        own = clip.motion[::step]
        motion.append(own - own.mean(0))
        shape = clip.faces.points[::step].reshape(len(own), -1)
        points.append(shape - shape.mean(0))
        seen = describe_pictures(clip.faces.pictures, options.frequency)[::step]
        looks.append(seen - seen.mean(0) if options.centred else seen)
    moved, seen = np.concatenate(motion), np.concatenate(looks)
    if not options.centred:
        seen = seen - seen.mean(0)
    model.shape_basis = torch.from_numpy(_find_directions(moved[:, :N_SHAPES], options.n_shapes))
    model.point_basis = torch.from_numpy(_find_directions(np.concatenate(points), options.n_points))
    model.pose_scale = torch.from_numpy(_invert(moved[:, N_SHAPES:].std(0)))
    model.band_basis = torch.from_numpy(_find_directions(seen, options.n_bands))
    return model


def _build(row: Row, extractor: FeatureExtractor, cache: FeatureCache) -> SpokenClip | str:
    try:
        return build_spoken_clip(extract_cached(row.path, extractor, cache), row) or "no face is seen for a second"
    except EngineError as error:
        return error.message


def _find_directions(rows: np.ndarray, n: int) -> np.ndarray:
    """(F, n) float32: what projects rows (N, F) on their first principal directions, each of unit spread."""
    values, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows / len(rows))
    leading = np.argsort(values)[::-1][:n]
    directions: np.ndarray = vectors[:, leading].astype(np.float32) * _invert(np.sqrt(np.maximum(values[leading], 0)))
    return directions


def _invert(deviations: np.ndarray) -> np.ndarray:
    """(n,) float32: one over each, 0 where nothing moves."""
    moving = deviations > STILL * deviations.max(initial=0)
    return np.where(moving, 1 / np.where(moving, deviations, 1), 0).astype(np.float32)
