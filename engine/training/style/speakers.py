"""Clips for training speaking style: main face and motion, held-out folds of speakers, and PCA bases."""

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

MAX_FRAMES = 500  # per clip: 20 s
MIN_FRAMES = 25
MIN_CLIPS, MIN_SESSIONS = 18, 4  # of a held-out speaker
STILL = 1e-3  # relative standard deviation: smaller motion is noise and is not scaled to unit variance


@dataclass(frozen=True, slots=True, eq=False)
class SpokenClip:
    """The main face of a clip with its motion."""

    row: Row
    sha256: str
    speaker: str
    motion: np.ndarray  # (T, 58) float32, `motion.describe_motion`
    faces: AlignedFaces  # same frames

    @property
    def is_own_face(self) -> bool:
        """Motion and face are of the same person."""
        return self.row.face_owner in (None, "", self.speaker)

    @property
    def people(self) -> frozenset[str]:
        """The persons of motion and face."""
        return frozenset({self.speaker, self.row.face_owner or self.speaker})

    @property
    def seconds(self) -> float:
        """Length at 25 frames a second."""
        return len(self.motion) / 25

    def still(self, frame: int) -> StillFace:
        """Return one frame of the face."""
        return StillFace(self.faces.pictures[frame], self.faces.points[frame])


def build_spoken_clip(features: ClipFeatures, row: Row) -> SpokenClip | None:
    """Keep the longest run of frames with the main face; None if it is shorter than a second.

    A clip without a speaker counts as a person of its own; the speaker of a forged clip is the motion owner.
    """
    if not features.tracks:
        return None
    track = choose_face(features.tracks)
    if track.faces is None:
        raise ValueError(f"the faces of {features.name} were not cropped: extract features with `cut_faces`")
    span = find_longest_run(track.seen)
    kept = slice(span.start, min(span.stop, span.start + MAX_FRAMES))
    if kept.stop - kept.start < MIN_FRAMES:
        return None
    speaker = row.motion_owner or row.speaker or f"clip {row.number}"
    return SpokenClip(row, features.sha256, speaker, track.motion[kept], track.faces[kept])


def read_spoken_rows(manifest: Path, forged: Sequence[Path]) -> list[Row]:
    """Read the real rows of a manifest, and the rows of other manifests with motion and face of different people."""
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
    on_skip: Callable[[str], None] = lambda reason: None,
) -> list[SpokenClip]:
    """Build a clip from every row; rows that cannot be read or show no face for a second go to `on_skip`."""
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
    """Return the longest run of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    runs = edges.reshape(-1, 2)
    first, last = runs[np.argmax(runs[:, 1] - runs[:, 0])] if len(runs) else (0, 0)
    return slice(int(first), int(last))


def split_speakers(clips: Sequence[SpokenClip], n_folds: int, seed: int) -> list[frozenset[str]]:
    """Split speakers with enough clips and sessions into folds; all others are always trained on."""
    sessions: dict[str, list[str]] = {}
    for clip in clips:
        if clip.is_own_face and clip.row.speaker and clip.row.session:
            sessions.setdefault(clip.row.speaker, []).append(clip.row.session)
    able = [name for name, own in sessions.items() if len(own) >= MIN_CLIPS and len(set(own)) >= MIN_SESSIONS]
    order = np.random.default_rng(seed).permutation(sorted(able))
    return [frozenset(str(name) for name in order[fold::n_folds]) for fold in range(n_folds)]


def fit_bases(clips: Sequence[SpokenClip], options: DVPOptions) -> DVP:
    """Compute PCA bases of the motion within clips, of unit variance, as a model without members.

    At most about 50 frames per clip are used, so that long clips do not dominate.
    """
    model = DVP(options, 0)
    motion, points, pictures = [], [], []
    for clip in clips:
        step = max(1, len(clip.motion) // 50)
        own = clip.motion[::step]
        motion.append(own - own.mean(0))
        shape = clip.faces.points[::step].reshape(len(own), -1)
        points.append(shape - shape.mean(0))
        seen = describe_pictures(clip.faces.pictures, options.frequency)[::step]
        pictures.append(seen - seen.mean(0) if options.centred else seen)
    moved, seen = np.concatenate(motion), np.concatenate(pictures)
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
    """Return (F, n) float32: projection of rows (N, F) onto their first principal components, of unit variance."""
    values, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows / len(rows))
    leading = np.argsort(values)[::-1][:n]
    directions: np.ndarray = vectors[:, leading].astype(np.float32) * _invert(np.sqrt(np.maximum(values[leading], 0)))
    return directions


def _invert(deviations: np.ndarray) -> np.ndarray:
    """Return (n,) float32: inverse of each deviation, 0 without motion."""
    moving = deviations > STILL * deviations.max(initial=0)
    return np.where(moving, 1 / np.where(moving, deviations, 1), 0).astype(np.float32)
