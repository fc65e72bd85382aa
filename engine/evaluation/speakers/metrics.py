"""Verification and identification metrics with bootstrap intervals over speakers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from engine.evaluation.speakers.comparisons import REFUSED, SamplePairs, Search
from engine.evaluation.speakers.results import Following, OpenSet, Recognition
from engine.metrics import ErrorCurve, WeightedScores, bootstrap_rows, detection_rate, rank_hits

TARGETS = (0.05, 0.01)  # P_target of minDCF, as in NIST SRE 2016 and VoxCeleb
FPIRS = (0.01, 0.1)
RULE_OF_3 = 3.0  # no error in n trials: rate below 3 / n at 95 %
RESAMPLES, FEW_RESAMPLES = 1000, 200
MANY_PAIRS = 300_000  # from here on fewer resamples, since each one is slow
Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class UnenrolledProbes:
    """Real probes searched while their own speaker was not enrolled (non-mated)."""

    scores: np.ndarray  # (Q,) of the first candidate
    speakers: tuple[str, ...]  # (Q,) true speakers


def score_unenrolled(found: Search) -> UnenrolledProbes:
    """Remove the own speaker of every probe from the gallery and return the score of its first candidate."""
    scores = found.scores.copy()
    own = _place_speakers(found)
    known = np.flatnonzero(own >= 0)
    scores[known, own[known]] = np.nan
    rows = np.flatnonzero(~np.isnan(scores).all(axis=1))
    return UnenrolledProbes(
        np.nanmax(scores[rows], axis=1, initial=REFUSED), tuple(found.probes[row].speaker for row in rows)
    )


def measure_recognition(pairs: SamplePairs, found: Search, seed: int = 0, n: int = RESAMPLES) -> Recognition:
    """Measure EER, minDCF and AUC over pairs, and rank-1 and rank-5; `n` bootstrap resamples per interval."""
    curve, ranked = WeightedScores(pairs.scores, pairs.genuine), _rank(found)
    errors, spread = _measure_errors(curve.trace()), _bootstrap_errors(pairs, curve, seed, n)
    ones = np.ones(len(ranked.speakers))
    shares = {f"rank{k}": _measure_share(hits, ones, ranked.speakers, seed, n) for k, hits in ranked.hits.items()}
    return Recognition(
        **errors,
        rank1=shares["rank1"][0],
        rank5=shares["rank5"][0],
        chance_rank1=float(ranked.chance.mean()) if len(ranked.chance) else None,
        n_pairs=len(pairs.scores),
        n_genuine=int(pairs.genuine.sum()),
        n_impostor=int((~pairs.genuine).sum()),
        n_probes=len(ranked.speakers),
        n_probe_speakers=len(set(ranked.speakers)),
        ci=spread | {name: ci for name, (_, ci) in shares.items()},
    )


def measure_open_set(found: Search, nonmated: UnenrolledProbes, seed: int = 0, n: int = RESAMPLES) -> OpenSet:
    """Measure the DIR of enrolled probes at thresholds set by the FPIR of probes without an enrolled speaker."""
    ranked, n_nonmated = _rank(found), len(nonmated.scores)
    groups = [*ranked.speakers, *nonmated.speakers]
    n_mated = len(ranked.speakers)
    hits, tops = ranked.hits[1], ranked.tops

    def measure(rows: np.ndarray, fpir: float) -> float:
        mated, others = rows[rows < n_mated], rows[rows >= n_mated] - n_mated
        if not (len(mated) and len(others)):
            return nan
        return detection_rate(hits[mated], tops[mated], nonmated.scores[others], fpir)

    rates = [measure(np.arange(len(groups)), fpir) for fpir in FPIRS]
    known = not np.isnan(rates).any()
    spread = _bootstrap(lambda rows: [measure(rows, fpir) for fpir in FPIRS], groups, seed, n) if known else None
    names = [f"{fpir:g}" for fpir in FPIRS]
    return OpenSet(
        dir={name: rate if known else None for name, rate in zip(names, rates, strict=True)},
        supported={name: fpir * n_nonmated >= RULE_OF_3 for name, fpir in zip(names, FPIRS, strict=True)},
        smallest_fpir=min(1.0, RULE_OF_3 / n_nonmated) if n_nonmated else None,
        n_mated=n_mated,
        n_nonmated=n_nonmated,
        n_nonmated_speakers=len(set(nonmated.speakers)),
        ci={name: spread[place] if spread else None for place, name in enumerate(names)},
    )


def measure_following(forged: Search, untouched: Search, seed: int = 0, n: int = RESAMPLES) -> Following:
    """Measure whether forged probes are identified as the person of the motion or of the face.

    `kept` compares rank-1 with real samples of the same people, each weighted as among the forged; motion owners
    without a real probe are left out of it.
    """
    motion = _rank_first(forged, _place_speakers(forged))
    face = _rank_first(forged, forged.place([one.face_owner for one in forged.probes]))
    both = ~np.isnan(motion) & ~np.isnan(face)
    own = _mean_by_speaker(_rank(untouched))
    plain = np.array([own.get(one.speaker, nan) for one in forged.probes])
    kept = ~np.isnan(motion) & ~np.isnan(plain)
    owners = np.array([one.speaker for one in forged.probes])

    def share(parts: np.ndarray, wholes: np.ndarray, rows: np.ndarray) -> tuple[float | None, Interval]:
        return _measure_share(parts[rows], wholes[rows], list(owners[rows]), seed, n)

    ones, either = np.ones(len(owners)), motion + face
    shares = {
        "rank1_face": share(face, ones, ~np.isnan(face)),
        "decided": share(either, ones, both),
        "follows_motion": share(motion, either, both),
        "kept": share(motion, plain, kept),
    }
    return Following(
        **{name: value for name, (value, _) in shares.items()},
        rank1_untouched=float(plain[kept].mean()) if kept.any() else None,
        n_owners=len(set(owners[~np.isnan(motion)])),
        ci={name: ci for name, (_, ci) in shares.items()},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Probes with their own speaker among the candidates."""

    speakers: list[str]  # (P,)
    hits: dict[int, np.ndarray]  # k -> (P,) probability that the own speaker ranks among the first k
    tops: np.ndarray  # (P,) score of the first candidate
    chance: np.ndarray  # (P,) probability of a correct guess


def _rank(found: Search) -> _Ranked:
    truth = _place_speakers(found)
    rows = np.flatnonzero(truth >= 0)
    scores = found.scores[rows]
    return _Ranked(
        speakers=[found.probes[row].speaker for row in rows],
        hits={k: rank_hits(scores, truth[rows], k) * ~found.refused[rows] for k in (1, 5)},
        tops=np.nanmax(scores, axis=1, initial=REFUSED),
        chance=1 / (~np.isnan(scores)).sum(axis=1),
    )


def _place_speakers(found: Search) -> np.ndarray:
    return found.place([one.speaker for one in found.probes])


def _rank_first(found: Search, columns: np.ndarray) -> np.ndarray:
    """Return (P,) the probability that the candidate in the column ranks first; NaN without such a candidate."""
    chance, rows = np.full(len(columns), nan), np.flatnonzero(columns >= 0)
    chance[rows] = rank_hits(found.scores[rows], columns[rows], 1) * ~found.refused[rows]
    return chance


def _mean_by_speaker(ranked: _Ranked) -> dict[str, float]:
    speakers = np.array(ranked.speakers)
    return {name: float(ranked.hits[1][speakers == name].mean()) for name in set(ranked.speakers)}


def _measure_errors(curve: ErrorCurve | None) -> dict[str, float | None]:
    if curve is None:
        return dict.fromkeys(("eer", "min_dcf", "min_dcf_p01", "auc"))
    common, rare = (curve.min_dcf(target) for target in TARGETS)
    return {"eer": curve.eer(), "min_dcf": common, "min_dcf_p01": rare, "auc": curve.auc()}


def _bootstrap_errors(pairs: SamplePairs, curve: WeightedScores, seed: int, n: int) -> dict[str, Interval]:
    """Bootstrap over speakers, each one drawn with all their pairs.

    A speaker drawn twice counts all genuine pairs twice; an impostor pair counts as the product of the draws of both
    speakers. Drawing by one side alone would leave out half of the impostor variance.
    """
    names = ("eer", "min_dcf", "min_dcf_p01", "auc")

    def measure(rows: np.ndarray) -> list[float]:
        drawn = np.bincount(rows, minlength=len(pairs.speakers))
        weights = drawn[pairs.one] * np.where(pairs.genuine, 1, drawn[pairs.other])
        drawn_errors = _measure_errors(curve.trace(weights))
        return [nan if (value := drawn_errors[name]) is None else value for name in names]

    there = len(pairs.scores) and pairs.genuine.any() and not pairs.genuine.all()
    n = n if len(pairs.scores) < MANY_PAIRS else min(n, FEW_RESAMPLES)
    spread = _bootstrap(measure, pairs.speakers, seed, n) if there else None
    return {name: spread[place] if spread else None for place, name in enumerate(names)}


def _measure_share(
    parts: np.ndarray, wholes: np.ndarray, groups: Sequence[str], seed: int, n: int
) -> tuple[float | None, Interval]:
    """Return the sum of `parts` over the sum of `wholes` with its interval; None if the latter is 0."""
    if not wholes.sum() > 0:
        return None, None

    def measure(rows: np.ndarray) -> list[float]:
        whole = wholes[rows].sum()
        return [parts[rows].sum() / whole if whole > 0 else nan]

    spread = _bootstrap(measure, groups, seed, n)
    return float(parts.sum() / wholes.sum()), spread[0] if spread else None


def _bootstrap(
    measure: Callable[[np.ndarray], Sequence[float]], groups: Sequence[str], seed: int, n: int
) -> list[tuple[float, float]] | None:
    """Bootstrap intervals over people; None for one person only, or if resamples are degenerate."""
    try:
        return bootstrap_rows(measure, groups, n, seed)
    except ValueError:
        return None
