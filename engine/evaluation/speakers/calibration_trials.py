"""Collect scored speaker trials from embedded samples, scored as `wayspeak evaluate` does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.calibration.builder import ENROLLED, PROBE
from engine.calibration.qualities import LEAST
from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrial, ScoredTrials, TrialOptions, build_trials
from engine.datasets.manifest import Row
from engine.evaluation.speakers.comparisons import Search, choose_pairs, pair_samples, search
from engine.evaluation.speakers.embeddings import EmbeddedRows
from engine.evaluation.speakers.samples import Sample, find_comparable, pool_rows


def collect_speaker_trials(
    embedded: EmbeddedRows, manifest: Sequence[Row], task: Task, origin: Origin, options: TrialOptions
) -> ScoredTrials:
    """Score samples of real clips with other samples and with speakers, or search for them, at several sample lengths.

    Samples with unnatural motion are left out: the product neither enrols nor identifies them.
    """
    rng, rows = np.random.default_rng(options.seed), list[ScoredTrial]()
    n_abstained, sizes = 0, [0]
    for pool_s in options.pools_s:
        pooled = pool_rows(embedded.rows, manifest, embedded.nature, pool_s, options.seed).samples
        real = [one for one in pooled if one.is_real and one.is_natural]
        n_abstained += sum(one.is_real and not one.is_natural for one in pooled)
        sampler = TrialSampler(
            real, find_comparable(real, real, any(row.session for row in manifest), options.same_session)
        )
        if task == Task.IDENTIFICATION:
            rows += sampler.identify(f"{pool_s:g} s")
            sizes.append(len({one.speaker for one in real}) - 1)
        else:
            rows += sampler.pair(f"{pool_s:g} s", options.per_face, rng)
            rows += sampler.pair_with_speakers(f"{pool_s:g} s, enrolled", options.per_face, rng)
    speakers = {one.row.speaker: one.row.speaker for one in embedded.rows}
    scored = build_trials(task, rows, origin, (PROBE, ENROLLED), speakers, len(embedded.rows), n_abstained)
    return replace(scored, gallery_size=max(sizes) if task == Task.IDENTIFICATION else 0)


@dataclass(frozen=True, slots=True, eq=False)
class TrialSampler:
    """Draws trials among samples of one length that may be compared."""

    samples: Sequence[Sample]
    allowed: np.ndarray  # (n, n) bool

    def pair(self, name: str, per_probe: int, rng: np.random.Generator) -> list[ScoredTrial]:
        """Score pairs of samples: all genuine ones, and up to `per_probe` impostor pairs of each probe."""
        pairs = pair_samples(self.samples, self.samples, self.allowed, once=True)
        probes, _ = chosen = choose_pairs(self.allowed, once=True)
        sides = [[self.samples[int(which)] for which in side] for side in chosen]
        return [
            ScoredTrial(
                float(pairs.scores[row]),
                bool(pairs.genuine[row]),
                (sides[0][row].speaker, sides[1][row].speaker),
                name,
                _to_qualities(sides[0][row].seconds, sides[1][row].seconds),
            )
            for row in _sample_impostors(probes, pairs.genuine, per_probe, rng).tolist()
        ]

    def pair_with_speakers(self, name: str, per_probe: int, rng: np.random.Generator) -> list[ScoredTrial]:
        """Score samples with speakers, pooling all samples of the speaker that may be compared."""
        found = search(self.samples, self.samples, self.allowed)
        probes, columns = np.nonzero(~np.isnan(found.scores))
        speakers = np.array(found.speakers)[columns]
        genuine = np.array([one.speaker for one in self.samples])[probes] == speakers
        return [
            self._score(found, int(probes[row]), int(columns[row]), bool(genuine[row]), name)
            for row in _sample_impostors(probes, genuine, per_probe, rng)
        ]

    def identify(self, name: str) -> list[ScoredTrial]:
        """Score each sample with its own speaker, and with the first candidate when that speaker is not enrolled."""
        found, scored = search(self.samples, self.samples, self.allowed), []
        own = found.place([one.speaker for one in self.samples])
        for probe, column in enumerate(own):
            if column >= 0:
                scored.append(self._score(found, probe, int(column), True, name))
            others = found.scores[probe].copy()
            if column >= 0:
                others[column] = np.nan
            if not np.isnan(others).all():
                scored.append(self._score(found, probe, int(np.nanargmax(others)), False, name))
        return scored

    def _score(self, found: Search, probe: int, column: int, same: bool, name: str) -> ScoredTrial:
        person, one = found.speakers[column], self.samples[probe]
        met = np.flatnonzero(self.allowed[probe]).tolist()
        enrolled_s = sum(self.samples[other].seconds for other in met if self.samples[other].speaker == person)
        score = float(found.scores[probe, column])
        return ScoredTrial(score, same, (one.speaker, person), name, _to_qualities(one.seconds, enrolled_s))


def _to_qualities(probe_s: float, enrolled_s: float) -> tuple[float, float]:
    return float(np.log(max(probe_s, LEAST))), float(np.log(max(enrolled_s, LEAST)))


def _sample_impostors(probes: np.ndarray, genuine: np.ndarray, per_probe: int, rng: np.random.Generator) -> np.ndarray:
    """Return (K,) rows: all genuine ones, and up to `per_probe` others of each probe, drawn at random."""
    drawn = rng.permutation(len(probes))
    drawn = drawn[~genuine[drawn]]
    order = drawn[np.argsort(probes[drawn], kind="stable")]
    starts = np.flatnonzero(np.append(True, np.diff(probes[order]) > 0)[: len(order)])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.sort(np.concatenate([np.flatnonzero(genuine), order[place < per_probe]]))
