"""Embed the speaking style of a face from its motion, with evidence of natural motion; static baseline for evaluation.

Manipulated motion (frozen, shuffled, reversed, warped) has an embedding too, which can be near one of any person by
chance. Each window therefore carries evidence of natural motion; where its mean is far below that of untouched clips,
the embedding is marked as not natural and a search with it must return no candidate.

The static baseline, for evaluation only, embeds the shape of the face: in a manipulated clip it follows the visible
face, not the motion. It is the mean of the aligned landmarks over a second less a mean face, so that the cosine
separates people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from engine.faces.face_crops import AlignedFaces
from engine.features.extractor import FACES_VERSION
from engine.features.records import ClipFeatures, FaceFeatures
from engine.models.dvp import DVP, load_dvp
from engine.settings import Settings
from engine.types import FPS, DynamicEmbedding
from engine.weights import registry
from engine.weights.recipes import write_recipe

VERSION = 1
"""Increment when the same weights, options and features have another embedding."""
LOWEST = -2.6  # z-score: 1 in 200 untouched clips is lower
NO_LENGTH = 1e-6  # norm of a mean of unit vectors that cancel out


@dataclass(frozen=True, slots=True)
class Nature:
    """Distribution of the evidence of natural motion, with the threshold below it.

    The mean over the n windows of an untouched clip is normal with the deviation sqrt(between**2 + within**2 / n),
    since windows of one clip are correlated.
    """

    mean: float  # log-odds
    between: float  # deviation between clips
    within: float  # deviation of windows within a clip
    lowest: float = LOWEST  # deviations below the mean

    def admits(self, evidence: float, n_windows: int) -> bool:
        """Whether the mean evidence of `n_windows` windows is that of natural motion."""
        deviation = (self.between**2 + self.within**2 / n_windows) ** 0.5
        return evidence - self.mean >= self.lowest * deviation


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """Options of an embedding; they enter the recipe."""

    recipe_name: ClassVar = "EmbeddingOptions"

    lowest: float = LOWEST  # see `Nature`


class Dynamics:
    """Embed the speaking style of a face with DVP."""

    def __init__(self, model: DVP, recipe: str, nature: Nature, trained_on: frozenset[str] = frozenset()):
        self.model, self.recipe, self.nature = model, recipe, nature
        self.trained_on = trained_on  # speakers

    def embed(self, features: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding | None:
        """Embed one face; None where it is visible for less than a second, ValueError without face crops."""
        if track.faces is None:
            raise ValueError("these features have no face crops: extract them with `cut_faces`")
        return self.embed_motion(track.motion, track.faces, track.seen)

    def embed_motion(self, motion: np.ndarray, faces: AlignedFaces, seen: np.ndarray) -> DynamicEmbedding | None:
        """Embed `motion` (T, 58) and T aligned faces, in frames `seen` (T,) bool; None as in `embed`."""
        found = self.model.embed(motion, faces, seen)
        length = min(self.model.options.window, len(seen))
        n_frames = sum(int(seen[start : start + length].sum()) for start in found.starts)
        return join_windows(found.vectors, found.evidence, n_frames / FPS, self.recipe, self.nature)


def load_dynamics(settings: Settings, options: EmbeddingOptions | None = None) -> Dynamics:
    """Load the model; WeightsMissing, WeightsDamaged and WeightsForbidden name the file and the next step."""
    path = registry.dynamics(settings.data_dir)
    options = options or EmbeddingOptions()
    model = load_dvp(path)  # small: a GPU would be slower
    mean, between, within = (float(number) for number in model.natural)
    nature = Nature(mean, between, within, options.lowest)
    recipe = write_recipe([path], (options, VERSION, FACES_VERSION))
    return Dynamics(model, recipe, nature, _read_speakers(path))


def join_windows(
    vectors: np.ndarray, evidence: np.ndarray, seconds: float, recipe: str, nature: Nature
) -> DynamicEmbedding | None:
    """Average unit window embeddings (n, D) with evidence (n,); None for no window or a zero mean.

    The vector is the normalised mean; the spread is 1 less the norm of the mean.
    """
    if not len(vectors):
        return None
    mean = vectors.astype(np.float64).mean(axis=0)
    return _finish(mean, len(vectors), float(evidence.astype(np.float64).mean()), seconds, recipe, nature)


def pool_embeddings(embeddings: Sequence[DynamicEmbedding], nature: Nature) -> DynamicEmbedding | None:
    """Pool embeddings of one person as if all windows were of one clip; None where they cancel out.

    ValueError for no embedding or several recipes.
    """
    recipes = {one.recipe for one in embeddings}
    if len(recipes) != 1:
        raise ValueError(f"{len(embeddings)} embeddings of {len(recipes)} recipes cannot be pooled")
    counts = np.array([one.n_windows for one in embeddings])
    weight = np.array([sum_length(one) for one in embeddings])
    mean = weight @ np.array([one.vector for one in embeddings], np.float64) / counts.sum()  # of all windows
    evidence = float(counts @ np.array([one.evidence for one in embeddings]) / counts.sum())
    seconds = sum(one.seconds for one in embeddings)
    return _finish(mean, int(counts.sum()), evidence, seconds, recipes.pop(), nature)


def sum_length(embedding: DynamicEmbedding) -> float:
    """Norm of the sum of the window embeddings, the weight of the vector in a pool."""
    return embedding.n_windows * (1 - embedding.spread)


def _finish(
    mean: np.ndarray, n_windows: int, evidence: float, seconds: float, recipe: str, nature: Nature
) -> DynamicEmbedding | None:
    length = float(np.linalg.norm(mean))
    if length < NO_LENGTH:
        return None
    return DynamicEmbedding(
        vector=(mean / length).astype(np.float32),
        seconds=seconds,
        spread=max(0.0, 1 - length),
        recipe=recipe,
        n_windows=n_windows,
        evidence=evidence,
        is_natural=nature.admits(evidence, n_windows),
    )


def _read_speakers(path: Path) -> frozenset[str]:
    """Read the training speakers from the sidecar of the weights."""
    return frozenset(registry.read_sidecar(path, registry.DYNAMICS.hint).get("speakers", ()))


STATIC_VERSION = 1
"""Increment when the same features have another embedding."""
ANY = Nature(mean=0.0, between=0.0, within=0.0)  # evidence is always 0: no embedding is refused

# `face_crops.POINTS`: mean of 122 people of the development clips, equal weights, pixels of the crop.
# fmt: off
MEAN_SHAPE = np.array((
    (21.86, 44.17), (22.79, 45.81), (24.14, 47.42), (26.30, 49.26), (29.26, 50.46), (32.73, 50.86), (36.31, 50.43),
    (39.36, 49.18), (41.60, 47.39), (43.03, 45.71), (43.88, 44.15), (22.71, 43.04), (24.14, 41.92), (26.24, 40.77),
    (29.39, 39.81), (32.66, 40.38), (36.00, 39.78), (39.21, 40.75), (41.46, 41.89), (42.97, 43.05), (23.01, 44.14),
    (24.61, 44.71), (25.96, 45.11), (27.81, 45.56), (30.06, 45.87), (32.76, 46.12), (35.49, 45.96), (37.86, 45.52),
    (39.71, 45.10), (41.16, 44.69), (42.78, 44.14), (24.47, 43.79), (25.94, 43.43), (27.78, 43.08), (30.06, 43.02),
    (32.69, 43.12), (35.44, 43.05), (37.77, 43.10), (39.65, 43.39), (41.17, 43.77), (7.63, 6.32), (10.22, 3.75),
    (14.24, 2.34), (19.67, 2.54), (25.95, 3.46), (26.88, 7.25), (20.18, 5.15), (15.24, 4.80), (11.65, 5.71),
    (9.21, 7.68), (57.78, 5.97), (54.97, 3.44), (50.74, 2.06), (45.17, 2.35), (38.78, 3.34), (37.99, 7.13),
    (44.71, 4.96), (49.74, 4.49), (53.52, 5.39), (56.17, 7.33), (2.47, 21.50), (2.96, 28.34), (4.12, 35.68),
    (6.10, 43.58), (8.85, 49.80), (11.92, 54.28), (15.82, 58.19), (19.20, 60.88), (22.88, 63.28), (27.24, 65.12),
    (32.89, 65.67), (38.63, 65.10), (43.13, 63.26), (46.98, 60.86), (50.53, 58.09), (54.61, 54.11), (57.86, 49.62),
    (60.70, 43.31), (62.71, 35.44), (63.73, 28.09), (64.12, 21.16), (13.58, 13.34), (16.37, 11.78), (18.43, 11.43),
    (20.54, 11.53), (25.12, 13.79), (21.12, 14.49), (19.02, 14.75), (16.91, 14.69), (51.75, 13.05), (48.81, 11.56),
    (46.82, 11.23), (44.62, 11.34), (40.13, 13.72), (44.08, 14.33), (46.27, 14.53), (48.33, 14.44), (11.44, 28.05),
    (54.16, 27.79), (15.26, 31.85), (50.28, 31.71), (9.67, 34.55), (56.22, 34.33), (25.60, 32.64), (39.72, 32.59),
    (32.60, 33.45), (32.56, 32.80), (32.42, 27.40),
))
# fmt: on


class StaticFace:
    """Embed the mean shape of a face, without its motion."""

    nature = ANY

    def __init__(self) -> None:
        self.recipe = write_recipe([], (STATIC_VERSION, FACES_VERSION, MEAN_SHAPE.tobytes()), ["static"])

    def embed(self, features: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding | None:
        """Embed one face; None where it is visible for less than a second, ValueError without face crops."""
        if track.faces is None:
            raise ValueError("these features have no face crops: extract them with `cut_faces`")
        shapes = _average_seconds(track.faces, track.seen)  # (n, 216)
        vectors = shapes / np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-9)
        return join_windows(vectors, np.zeros(len(vectors)), int(track.seen.sum()) / FPS, self.recipe, ANY)


def _average_seconds(faces: AlignedFaces, seen: np.ndarray) -> np.ndarray:
    """(n, 216) float64: mean points of each whole visible second, less the mean shape."""
    points = faces.points[seen].astype(np.float64)
    n_seconds = len(points) // FPS
    parts = np.array_split(points, n_seconds) if n_seconds else []
    shapes = [part.mean(axis=0) - MEAN_SHAPE for part in parts]
    return np.array(shapes).reshape(n_seconds, MEAN_SHAPE.size)


class Embedder(Protocol):
    """Embedder of speaking style, or of the face shape as a baseline."""

    @property
    def recipe(self) -> str:
        """Hash of the weights and every option of an embedding."""
        ...

    @property
    def nature(self) -> Nature:
        """Distribution of the evidence of natural motion, for pooled embeddings too."""
        ...

    def embed(self, features: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding | None:
        """Embed one face; None where it is visible for too short a time."""
        ...


class EmbedderName(StrEnum):
    """Name of an embedder."""

    DYNAMICS = "dynamics"  # speaking style
    STATIC = "static"  # mean shape of the face, a baseline


def load_embedder(name: EmbedderName, settings: Settings) -> Embedder:
    """Load an embedder; WeightsMissing and WeightsDamaged name the file and the next step."""
    return StaticFace() if name == EmbedderName.STATIC else load_dynamics(settings)
