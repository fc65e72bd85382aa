"""Score samples by cosine similarity: pair by pair, and in 1:N searches of the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.evaluation.speakers.samples import Sample
from engine.style.embedder import NO_LENGTH

DECIMALS = 6
"""Cosines that differ by less are ties: embeddings are float32, and rounding must not decide a rank."""
REFUSED = -2.0
"""Score of a probe with unnatural motion: below every cosine and the same for all candidates."""


@dataclass(frozen=True, slots=True, eq=False)
class SamplePairs:
    """Pairs of two samples, or of a sample and a speaker."""

    scores: np.ndarray  # (P,) cosine, or REFUSED
    genuine: np.ndarray  # (P,) bool: both of one speaker
    one: np.ndarray  # (P,) int, into `speakers`
    other: np.ndarray  # (P,) int, into `speakers`
    speakers: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Scores of probes searched in the part of the gallery that each may be compared with."""

    probes: tuple[Sample, ...]
    speakers: tuple[str, ...]  # enrolled
    scores: np.ndarray  # (P, S) cosine, or REFUSED; NaN: no sample of that speaker may be compared

    @property
    def refused(self) -> np.ndarray:
        """(P,) bool: no speaker is returned, since the motion is not natural."""
        return ~_natural(self.probes)

    def place(self, names: Sequence[str]) -> np.ndarray:
        """Return (P,) column of each name; -1 if that speaker is not enrolled, or not for this probe."""
        columns = {speaker: column for column, speaker in enumerate(self.speakers)}
        found = np.array([columns.get(name, -1) for name in names], int)
        rows = np.flatnonzero(found >= 0)
        found[rows[np.isnan(self.scores[rows, found[rows]])]] = -1
        return found


def search(probes: Sequence[Sample], gallery: Sequence[Sample], allowed: np.ndarray) -> Search:
    """Search every probe; each speaker is the pooled samples that `allowed` (P, G) keeps."""
    speakers = tuple(sorted({one.speaker for one in gallery}))
    scores = np.full((len(probes), len(speakers)), np.nan)
    vectors, weight = _stack(gallery), np.array([one.weight for one in gallery])
    queries = _stack(probes)
    for column, speaker in enumerate(speakers):
        own = [place for place, one in enumerate(gallery) if one.speaker == speaker]
        weights = allowed[:, own] * weight[own]
        means = weights @ vectors[own]  # (P, D)
        lengths = np.linalg.norm(means, axis=1)
        there = lengths > NO_LENGTH * weights.sum(axis=1)
        scores[there, column] = (means[there] * queries[there]).sum(axis=1) / lengths[there]
    scores[~_natural(probes)[:, None] & ~np.isnan(scores)] = REFUSED
    return Search(tuple(probes), speakers, scores.round(DECIMALS))


def pair_samples(
    probes: Sequence[Sample], gallery: Sequence[Sample], allowed: np.ndarray, once: bool = False
) -> SamplePairs:
    """Score every probe with every sample that `allowed` (P, G) keeps, in the order of `choose_pairs`."""
    rows, columns = choose_pairs(allowed, once)
    scores = (_stack(probes) @ _stack(gallery).T)[rows, columns] if len(rows) else np.zeros(0)
    scores[~_natural(probes)[rows]] = REFUSED
    return _pair([one.speaker for one in probes], [one.speaker for one in gallery], rows, columns, scores)


def choose_pairs(allowed: np.ndarray, once: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the probe and gallery indices of the pairs that `allowed` (P, G) keeps.

    `once`: the gallery is the start of the probes, and two of its samples are one pair, whichever one is the probe.
    """
    if once:
        both = allowed[: allowed.shape[1]]
        allowed = np.concatenate([both & ~np.tril(both.T), allowed[allowed.shape[1] :]])
    rows, columns = np.nonzero(allowed)
    return rows, columns


def pair_candidates(search: Search) -> SamplePairs:
    """Return the pairs of every probe and every candidate of its search."""
    rows, columns = np.nonzero(~np.isnan(search.scores))
    speakers = [one.speaker for one in search.probes]
    return _pair(speakers, search.speakers, rows, columns, search.scores[rows, columns])


def _pair(
    probes: Sequence[str], gallery: Sequence[str], rows: np.ndarray, columns: np.ndarray, scores: np.ndarray
) -> SamplePairs:
    speakers = tuple(sorted({*probes, *gallery}))
    places = {speaker: place for place, speaker in enumerate(speakers)}
    one = np.array([places[name] for name in probes], int)[rows]
    other = np.array([places[name] for name in gallery], int)[columns]
    return SamplePairs(scores.round(DECIMALS), one == other, one, other, speakers)


def _natural(samples: Sequence[Sample]) -> np.ndarray:
    """Return (n,) bool."""
    return np.array([one.is_natural for one in samples], bool)


def _stack(samples: Sequence[Sample]) -> np.ndarray:
    """Return (n, D) float64."""
    return np.array([one.vector for one in samples]) if samples else np.zeros((0, 1))
