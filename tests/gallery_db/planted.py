"""Planted people: directions in space, clips near them, consents; truth is known by construction."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from engine.types import DynamicEmbedding
from gallery_db.gallery import Gallery
from gallery_db.records import Basis, Consent, NewSample

DIM = 64
RECIPE = "planted-1"
REASON = "case 7"


def draw_person(seed: int, dim: int = DIM) -> np.ndarray:
    """A direction (D,) of length 1; those of two seeds are nearly at right angles."""
    return to_unit(np.random.default_rng(seed).standard_normal(dim))


def to_unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def embed(
    person: np.ndarray,
    seed: int,
    *,
    noise: float = 0.3,
    seconds: float = 12.0,
    recipe: str = RECIPE,
    natural: bool = True,
) -> DynamicEmbedding:
    """Make the embedding of a clip of a person."""
    shift = to_unit(np.random.default_rng(1000 + seed).standard_normal(len(person)))
    return DynamicEmbedding(to_unit(person + noise * shift), seconds, 0.1, recipe, 6, 0.5, natural)


def make_sample(embedding: DynamicEmbedding, tag: str, *, session: str = "", picture: bool = True) -> NewSample:
    """A clip of that name; its hash and its picture are its name's."""
    digest = hashlib.sha256(tag.encode()).hexdigest()
    rng = np.random.default_rng(int(digest[:8], 16))
    thumbnail = b"\xff\xd8" + rng.bytes(3000) if picture else None
    return NewSample(digest, f"{tag}.mp4", session, embedding, 120.0, thumbnail)


def make_samples(seed: int, n: int = 2, *, recipe: str = RECIPE, tag: str = "", dim: int = DIM) -> list[NewSample]:
    """Clips of the person of a seed."""
    person = draw_person(seed, dim)
    embeddings = [embed(person, 100 * seed + number, recipe=recipe) for number in range(n)]
    return [make_sample(one, f"{tag}{seed}-{number}") for number, one in enumerate(embeddings)]


def make_consent(days: int = 30, *, ago_days: int = 0, purpose: str = "a test") -> Consent:
    given_at = datetime.now(UTC) - timedelta(days=ago_days)
    return Consent(Basis.CONSENT, purpose, days, "notice-1", "the collector", given_at)


def enrol_people(gallery: Gallery, seeds: Sequence[int]) -> list[int]:
    """Enrol `Person SEED` for each seed, with one consent each; return their ids."""
    return [gallery.enrol(f"Person {seed}", make_samples(seed), make_consent()).speaker.id for seed in seeds]
