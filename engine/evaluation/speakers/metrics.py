"""What scores of pairs and of searches say about people, with intervals over speakers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from engine.evaluation.results import Following, OpenSet, Recognition
from engine.evaluation.speakers.comparisons import REFUSED, SamplePairs, Search
from engine.metrics import ErrorCurve, WeightedScores, bootstrap_rows, detection_rate, rank_hits

TARGETS = (0.05, 0.01)  # share of genuine trials, as speaker recognition has it (NIST SRE 2016, VoxCeleb)
FPIRS = (0.01, 0.1)
RULE_OF_3 = 3.0  # no error in n trials: below 3 / n, at 95 %
RESAMPLES, FEW_RESAMPLES = 1000, 200
MANY_PAIRS = 300_000  # from here on a few resamples must do, since each takes its time
Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Untouched samples looked up while their own speaker was not enrolled."""

    scores: np.ndarray  # (Q,) of the first candidate
    speakers: tuple[str, ...]  # (Q,) whose samples they are


def find_strangers(found: Search) -> Strangers:
    """Leave every probe's own speaker out of the gallery in turn."""
    scores = found.scores.copy()
    own = _place_speakers(found)
    known = np.flatnonzero(own >= 0)
    scores[known, own[known]] = np.nan
    rows = np.flatnonzero(~np.isnan(scores).all(axis=1))
    return Strangers(np.nanmax(scores[rows], axis=1, initial=REFUSED), tuple(found.probes[row].speaker for row in rows))


def tell_recognition(pairs: SamplePairs, found: Search, seed: int = 0, n: int = RESAMPLES) -> Recognition:
    """Measure how well people are told apart; `n` resamples make each interval."""
    curve, ranked = WeightedScores(pairs.scores, pairs.genuine), _rank(found)
    errors, spread = _tell_errors(curve.trace()), _spread_errors(pairs, curve, seed, n)
    ones = np.ones(len(ranked.speakers))
    shares = {f"rank{k}": _tell_share(hits, ones, ranked.speakers, seed, n) for k, hits in ranked.hits.items()}
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


def tell_open_set(found: Search, strangers: Strangers, seed: int = 0, n: int = RESAMPLES) -> OpenSet:
    """Measure how many of the enrolled are named at thresholds that strangers set."""
    ranked, n_strangers = _rank(found), len(strangers.scores)
    groups = [*ranked.speakers, *strangers.speakers]
    n_mated = len(ranked.speakers)
    hits, tops = ranked.hits[1], ranked.tops

    def measure(rows: np.ndarray, fpir: float) -> float:
        mated, others = rows[rows < n_mated], rows[rows >= n_mated] - n_mated
        if not (len(mated) and len(others)):
            return nan
        return detection_rate(hits[mated], tops[mated], strangers.scores[others], fpir)

    rates = [measure(np.arange(len(groups)), fpir) for fpir in FPIRS]
    told = not np.isnan(rates).any()
    spread = _spread(lambda rows: [measure(rows, fpir) for fpir in FPIRS], groups, seed, n) if told else None
    names = [f"{fpir:g}" for fpir in FPIRS]
    return OpenSet(
        dir={name: rate if told else None for name, rate in zip(names, rates, strict=True)},
        supported={name: fpir * n_strangers >= RULE_OF_3 for name, fpir in zip(names, FPIRS, strict=True)},
        smallest_fpir=min(1.0, RULE_OF_3 / n_strangers) if n_strangers else None,
        n_mated=n_mated,
        n_nonmated=n_strangers,
        n_nonmated_speakers=len(set(strangers.speakers)),
        ci={name: spread[place] if spread else None for place, name in enumerate(names)},
    )


def tell_following(forged: Search, untouched: Search, seed: int = 0, n: int = RESAMPLES) -> Following:
    """Measure whether forged probes are taken for the motion's owner or the face's.

    What rank-1 keeps is told against the untouched samples of the same people, each counted as often as among the
    forged: owners without an untouched sample that can be looked up have no part in it.
    """
    motion = _chance_to_lead(forged, _place_speakers(forged))
    face = _chance_to_lead(forged, forged.place([one.face_owner for one in forged.probes]))
    both = ~np.isnan(motion) & ~np.isnan(face)
    own = _mean_by_speaker(_rank(untouched))
    plain = np.array([own.get(one.speaker, nan) for one in forged.probes])
    kept = ~np.isnan(motion) & ~np.isnan(plain)
    owners = np.array([one.speaker for one in forged.probes])

    def share(parts: np.ndarray, wholes: np.ndarray, rows: np.ndarray) -> tuple[float | None, Interval]:
        return _tell_share(parts[rows], wholes[rows], list(owners[rows]), seed, n)

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
    """The probes whose own speaker is among their candidates."""

    speakers: list[str]  # (P,)
    hits: dict[int, np.ndarray]  # k -> (P,) chance that the own speaker is among the first k
    tops: np.ndarray  # (P,) score of the first candidate
    chance: np.ndarray  # (P,) of guessing right


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


def _chance_to_lead(found: Search, columns: np.ndarray) -> np.ndarray:
    """(P,) chance that the candidate in the column is named; NaN where there is no such candidate."""
    chance, rows = np.full(len(columns), nan), np.flatnonzero(columns >= 0)
    chance[rows] = rank_hits(found.scores[rows], columns[rows], 1) * ~found.refused[rows]
    return chance


def _mean_by_speaker(ranked: _Ranked) -> dict[str, float]:
    speakers = np.array(ranked.speakers)
    return {name: float(ranked.hits[1][speakers == name].mean()) for name in set(ranked.speakers)}


def _tell_errors(curve: ErrorCurve | None) -> dict[str, float | None]:
    if curve is None:
        return dict.fromkeys(("eer", "min_dcf", "min_dcf_p01", "auc"))
    common, rare = (curve.min_dcf(target) for target in TARGETS)
    return {"eer": curve.eer(), "min_dcf": common, "min_dcf_p01": rare, "auc": curve.auc()}


def _spread_errors(pairs: SamplePairs, curve: WeightedScores, seed: int, n: int) -> dict[str, Interval]:
    """Intervals over speakers, each drawn with all his pairs.

    A speaker who is drawn twice brings his genuine pairs twice, and a pair of two people counts as often as the one
    times the other: to draw by one side alone would leave out half of what impostors vary.
    """
    names = ("eer", "min_dcf", "min_dcf_p01", "auc")

    def measure(rows: np.ndarray) -> list[float]:
        drawn = np.bincount(rows, minlength=len(pairs.speakers))
        weights = drawn[pairs.one] * np.where(pairs.genuine, 1, drawn[pairs.other])
        told = _tell_errors(curve.trace(weights))
        return [nan if (value := told[name]) is None else value for name in names]

    there = len(pairs.scores) and pairs.genuine.any() and not pairs.genuine.all()
    n = n if len(pairs.scores) < MANY_PAIRS else min(n, FEW_RESAMPLES)
    spread = _spread(measure, pairs.speakers, seed, n) if there else None
    return {name: spread[place] if spread else None for place, name in enumerate(names)}


def _tell_share(
    parts: np.ndarray, wholes: np.ndarray, groups: Sequence[str], seed: int, n: int
) -> tuple[float | None, Interval]:
    """Sum of the parts over that of the wholes, with its interval; None where there is no whole."""
    if not wholes.sum() > 0:
        return None, None

    def measure(rows: np.ndarray) -> list[float]:
        whole = wholes[rows].sum()
        return [parts[rows].sum() / whole if whole > 0 else nan]

    spread = _spread(measure, groups, seed, n)
    return float(parts.sum() / wholes.sum()), spread[0] if spread else None


def _spread(
    measure: Callable[[np.ndarray], Sequence[float]], groups: Sequence[str], seed: int, n: int
) -> list[tuple[float, float]] | None:
    """Intervals over people; None where there is one person, or too little of each for a resample to say something."""
    try:
        return bootstrap_rows(measure, groups, n, seed)
    except ValueError:
        return None
