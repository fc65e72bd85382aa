"""Whose way of speaking is it: faces to embeddings of how they move, and whether that motion can be trusted.

A motion that was tampered with (frozen, shuffled, reversed, warped) still has an embedding, and a close one to somebody
by chance. Each window therefore carries evidence of natural motion too; where the evidence of a whole is far below what
untouched clips give, the embedding is marked as not natural, and whoever looks it up must name nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from engine.faces.face_crops import AlignedFaces
from engine.features.extractor import FACES_VERSION
from engine.features.records import Observation, ObservedTrack
from engine.models.dvp import DVP, load_dvp
from engine.settings import Settings
from engine.types import FPS, DynamicEmbedding
from engine.weights import registry
from engine.weights.recipes import write_recipe

VERSION = 1
"""Raise it when the same weights, options and observation would give another embedding."""
LOWEST = -2.6  # deviations: 1 in 200 untouched clips falls below
NO_LENGTH = 1e-6  # of a mean of unit vectors: they cancel out, and no direction is left


@dataclass(frozen=True, slots=True)
class Nature:
    """What the evidence of untouched motion is like, and how far below that is too far.

    The mean over the n windows of an untouched clip is normal with the deviation sqrt(between**2 + within**2 / n):
    what a clip has of its own does not vanish in its windows.
    """

    mean: float  # log-odds
    between: float  # deviation of clips
    within: float  # deviation of the windows of a clip
    lowest: float = LOWEST  # deviations below the mean

    def admits(self, evidence: float, n_windows: int) -> bool:
        """Tell whether this mean evidence of so many windows is that of natural motion."""
        deviation = (self.between**2 + self.within**2 / n_windows) ** 0.5
        return evidence - self.mean >= self.lowest * deviation


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """What changes an embedding besides the weights."""

    recipe_name: ClassVar = "EmbeddingOptions"

    lowest: float = LOWEST  # see `Nature`


class Dynamics:
    """Holds the network; tells how the person of a track moves while speaking."""

    def __init__(self, model: DVP, recipe: str, nature: Nature, trained_on: frozenset[str] = frozenset()):
        self.model, self.recipe, self.nature = model, recipe, nature
        self.trained_on = trained_on  # speakers

    def embed(self, observation: Observation, track: ObservedTrack) -> DynamicEmbedding | None:
        """Embed one face; None where it is seen for less than a second. ValueError where no faces were cut."""
        if track.faces is None:
            raise ValueError("the faces of this observation were not cut: observe with `cut_faces`")
        return self.embed_motion(track.motion, track.faces, track.seen)

    def embed_motion(self, motion: np.ndarray, faces: AlignedFaces, seen: np.ndarray) -> DynamicEmbedding | None:
        """Embed `motion` (T, 58) and as many upright faces, where they are `seen` (T,) bool; None as above."""
        found = self.model.embed(motion, faces, seen)
        length = min(self.model.options.window, len(seen))
        n_frames = sum(int(seen[start : start + length].sum()) for start in found.starts)
        return join_windows(found.vectors, found.evidence, n_frames / FPS, self.recipe, self.nature)


def load_dynamics(settings: Settings, options: EmbeddingOptions | None = None) -> Dynamics:
    """Load the model; WeightsMissing, WeightsDamaged and WeightsForbidden say which file and what to do."""
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
    """Make one embedding of windows (n, D) of length 1 with evidence (n,); None where there are none or they cancel.

    Its vector is their mean, of length 1 again; its spread is 1 less the length that the mean had.
    """
    if not len(vectors):
        return None
    mean = vectors.astype(np.float64).mean(axis=0)
    return _finish(mean, len(vectors), float(evidence.astype(np.float64).mean()), seconds, recipe, nature)


def pool_embeddings(embeddings: Sequence[DynamicEmbedding], nature: Nature) -> DynamicEmbedding | None:
    """Pool embeddings of one person as if their windows were those of one clip; None where they cancel out.

    ValueError where there are none, or they are of two recipes.
    """
    recipes = {one.recipe for one in embeddings}
    if len(recipes) != 1:
        raise ValueError(f"{len(embeddings)} embeddings of {len(recipes)} recipes cannot be pooled, wanted 1 recipe")
    counts = np.array([one.n_windows for one in embeddings])
    weight = np.array([weigh(one) for one in embeddings])
    mean = weight @ np.array([one.vector for one in embeddings], np.float64) / counts.sum()  # of all windows
    evidence = float(counts @ np.array([one.evidence for one in embeddings]) / counts.sum())
    seconds = sum(one.seconds for one in embeddings)
    return _finish(mean, int(counts.sum()), evidence, seconds, recipes.pop(), nature)


def weigh(embedding: DynamicEmbedding) -> float:
    """Length of the sum of the windows: what turns the vector back into that sum."""
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
    """Name the speakers that training put on record beside the weights."""
    return frozenset(registry.read_sidecar(path, registry.DYNAMICS.hint).get("speakers", ()))
