"""People drawn as numbers: each has a direction of their own, and clips of them point about there."""

import hashlib
from datetime import UTC, datetime

import numpy as np

from engine.types import DynamicEmbedding
from gallery_db.records import Basis, Consent, NewSample, StoredSample

RECIPE = "drawn"
SIZE = 64
GIVEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONSENT = Consent(Basis.CONSENT, "newsroom verification", 365, "1", "Ada", GIVEN)


def normalise(vector: np.ndarray) -> np.ndarray:
    """(D,) float32 of length 1."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def draw_person(rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """A direction."""
    return normalise(rng.normal(size=size))


def draw_clips(person: np.ndarray, n: int, rng: np.random.Generator, noise: float = 0.8) -> np.ndarray:
    """(n, D): clips of a person; two of them have a cosine of about 1 / (1 + noise**2)."""
    own = rng.normal(size=(n, len(person))) * noise / len(person) ** 0.5
    return np.stack([normalise(person + one) for one in own])


def embed(vector: np.ndarray, seconds: float = 12.0, is_natural: bool = True, recipe: str = RECIPE) -> DynamicEmbedding:
    """A clip's embedding."""
    return DynamicEmbedding(vector, seconds, 0.1, recipe, 9, 2.0 if is_natural else -9.0, is_natural)


def make_sample(
    vector: np.ndarray, name: str = "", seconds: float = 12.0, is_natural: bool = True, recipe: str = RECIPE
) -> NewSample:
    """Make a clip to enrol; equal vectors have equal file hashes."""
    digest = hashlib.sha256(vector.tobytes()).hexdigest()
    return NewSample(digest, name or f"{digest[:6]}.mp4", "", embed(vector, seconds, is_natural, recipe), 120.0)


def store(sample: NewSample, number: int = 1, speaker: int = 1, consent: Consent = CONSENT) -> StoredSample:
    """That clip, enrolled."""
    return StoredSample(
        number,
        speaker,
        sample.source_hash,
        sample.source_name,
        sample.session,
        sample.embedding,
        consent,
        GIVEN,
        sample.face_px,
        sample.thumbnail,
    )
