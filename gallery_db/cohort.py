"""Scores made comparable: how far a similarity stands out among those to people who are not enrolled.

Some ways of speaking are like everybody's, some like nobody's, so one similarity means more here than there. Symmetric
score normalisation (S-norm: Kenny 2010, "Bayesian speaker verification with heavy-tailed priors") counts a similarity
in deviations above what both sides have with a fixed cohort; the adaptive one (Matejka et al. 2017, "Analysis of score
normalization in multilingual speaker recognition", AS-norm1) takes for each side its nearest of the cohort alone.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gallery_db.errors import EmbedderMismatch, FileRefused

LEAST_DEVIATION = 1e-3  # of similarities: a cohort whose nearest are all one tells no scale
RECIPE, VECTORS = "recipe", "vectors"


@dataclass(frozen=True, slots=True)
class CohortOptions:
    """How a cohort is used; these enter the calibration, whose scores they change."""

    least: int = 200  # people; a smaller cohort is not used
    top: int = 100  # the nearest of them, for each side

    def __post_init__(self) -> None:
        if not 2 <= self.top <= self.least:
            raise ValueError(
                f"the nearest {self.top} of at least {self.least}: wanted at least 2, and not more than all"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """One embedding each of people who are not enrolled."""

    vectors: np.ndarray = field(repr=False)  # (N, D) float32, unit rows
    recipe: str
    options: CohortOptions = CohortOptions()

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise ValueError(f"the cohort is {self.vectors.dtype} of shape {self.vectors.shape}, wanted float32 (N, D)")
        lengths = np.linalg.norm(self.vectors.astype(np.float64), axis=1)
        if not np.all(np.abs(lengths - 1) <= 1e-5):  # NaN fails too
            raise ValueError("the cohort holds a vector that is not of length 1")
        self.vectors.flags.writeable = False

    @property
    def id(self) -> str:
        """Names the vectors and how they are used: scores normalised by two cohorts are never compared."""
        digest = hashlib.sha256(np.ascontiguousarray(self.vectors, "<f4").tobytes())
        digest.update(f"{self.recipe} {self.options}".encode())
        return f"cohort-{digest.hexdigest()[:12]}"

    @property
    def is_large_enough(self) -> bool:
        """Fewer people give no steady mean and deviation, and are worse than none."""
        return len(self.vectors) >= self.options.least

    def normalise(self, scores: np.ndarray, templates: np.ndarray, probe: np.ndarray) -> np.ndarray:
        """Turn cosines (N,) of a probe (D,) with templates (N, D) into deviations (N,) float64.

        ValueError where the cohort is too small: ask `is_large_enough` first.
        """
        if not self.is_large_enough:
            raise ValueError(f"a cohort of {len(self.vectors)}, wanted at least {self.options.least}")
        theirs, own = self._measure(templates), self._measure(probe[None])
        scores = scores.astype(np.float64)
        return 0.5 * ((scores - theirs[0]) / theirs[1] + (scores - own[0]) / own[1])

    def _measure(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (N,) of the similarities to the nearest of the cohort."""
        top = self.options.top
        similarities = vectors.astype(np.float64) @ self.vectors.astype(np.float64).T  # (N, cohort)
        nearest = np.partition(similarities, -top, axis=1)[:, -top:]
        return nearest.mean(axis=1), np.maximum(nearest.std(axis=1), LEAST_DEVIATION)


def save_cohort(cohort: Cohort, path: Path) -> None:
    """Write vectors and recipe into a safetensors file."""
    save_file({VECTORS: cohort.vectors}, path, {RECIPE: cohort.recipe})


def load_cohort(path: Path, recipe: str, options: CohortOptions | None = None) -> Cohort:
    """Read a cohort of this recipe; FileRefused where it is none, EmbedderMismatch of another."""
    try:
        with safe_open(path, framework="np") as file:
            found = (file.metadata() or {}).get(RECIPE)
            vectors = file.get_tensor(VECTORS)
    except (OSError, SafetensorError) as cause:
        raise FileRefused(f"{path.name} is no cohort: {cause}.", "Restore it, or search without one.") from cause
    if found != recipe:
        raise EmbedderMismatch(
            f"The cohort {path.name} is of the recipe {found}, wanted {recipe}.", "Make one with these weights."
        )
    try:
        return Cohort(vectors, recipe, options or CohortOptions())
    except ValueError as cause:
        raise FileRefused(f"{path.name} is no cohort: {cause}.", "Restore it, or search without one.") from cause
