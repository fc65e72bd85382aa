"""Build a draft record from scored trials: parameters fitted to all trials, metrics of held-out ones."""

from dataclasses import dataclass
from importlib import metadata

import numpy as np

from engine.calibration.apply import fit_conformal
from engine.calibration.fitting import EFFECTIVE_PRIOR, Fitted, fit
from engine.calibration.qualities import MOTION, SPEECH
from engine.calibration.records import (
    Calibration,
    CalibrationStatus,
    CalibratorKind,
    Conformal,
    Counts,
    Policy,
    Task,
    seal,
    utc_now,
)
from engine.calibration.trials import ScoredTrials
from engine.calibration.validation import RESAMPLES, HeldOutRatios, choose_threshold, cross_validate, measure
from engine.calibration.verbal_scale import STARTS
from engine.errors import Code

OVERLAP, CHANNELS = "log overlap seconds", "log moving channels"
PROBE, ENROLLED = "log probe seconds", "log enrolled seconds"
LEAST_LLR = STARTS[0]  # lower ratios support neither hypothesis, so no zone begins below
QUALITIES = {
    Task.CONSISTENCY: (SPEECH, MOTION),  # face size and noise separate corpora, see docs/calibration.md
    Task.SPANS: (SPEECH,),
    Task.VERIFICATION: (PROBE, ENROLLED),
    Task.IDENTIFICATION: (PROBE, ENROLLED),
    Task.SOURCE: (OVERLAP, CHANNELS),
}
FALSE_AGAINST = {
    Task.CONSISTENCY: 0.02,
    Task.SPANS: 0.03,
    Task.VERIFICATION: 0.05,
    Task.IDENTIFICATION: 0.05,
    Task.SOURCE: 0.05,
}
POPULATION = {
    Task.CONSISTENCY: "faces of real clips with the voices of other people of the same clips",
    Task.SPANS: "stretches of real clips with the voices of other people of the same clips put in",
    Task.VERIFICATION: "samples of two different people among the clips",
    Task.IDENTIFICATION: "the first candidates for people who are not enrolled, among the people of the clips",
    Task.SOURCE: "recordings of other motion among the clips, by other people and by the same person",
}


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """Choices of the author."""

    author: str
    kind: CalibratorKind = CalibratorKind.LOGISTIC
    qualities: tuple[str, ...] | None = None  # a subset of the trials' covariates; None: default of the task
    version: str = "1.0.0"
    false_support: float = 0.05
    false_against: float | None = None  # None: default of the task
    seed: int = 0
    resamples: int = RESAMPLES
    population: str = ""  # empty: general description of the task's trials
    supersedes: str = ""
    notebook_sha256: str = ""
    note: str = ""
    created: str = ""  # empty: now


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A draft record and the held-out trials behind its metrics, for plots."""

    record: Calibration
    held: HeldOutRatios


def draft(trials: ScoredTrials, options: DraftOptions) -> Draft:
    """Fit, validate on held-out sources and build the record; BAD_SCORES for too few trials."""
    if not options.author.strip():
        raise Code.BAD_SCORES(
            "A calibration needs an author.", "Name the author with --author; another person approves it."
        )
    names = choose_qualities(trials, options.qualities)
    fitted = fit(trials, options.kind, names)
    held = cross_validate(trials, options.kind, options.seed, names)
    policy = _choose_policy(held, fitted, options)
    record = Calibration(
        id="",
        version=options.version,
        task=trials.task,
        recipe=trials.recipe,
        scored_by=trials.scored_by,
        population=options.population or POPULATION[trials.task],
        calibrator=fitted.kind,
        parameters=fitted.parameters,
        effective_prior=EFFECTIVE_PRIOR,
        qualities=fitted.qualities,
        bounds=fitted.bounds,
        policy=policy,
        counts=_count(held),
        metrics=measure(held, policy, options.seed, options.resamples),
        conformal=_fit_conformal(trials, options.seed),
        manifest_sha256=trials.manifest_sha256,
        code_version=metadata.version("wayspeak"),
        seed=options.seed,
        author=options.author.strip(),
        approver="",
        status=CalibrationStatus.DRAFT,
        created=options.created or utc_now(),
        supersedes=options.supersedes,
        notebook_sha256=options.notebook_sha256,
        note=options.note,
        bounds_by_length=fitted.by_length,
    )
    return Draft(seal(record), held)


def choose_qualities(trials: ScoredTrials, names: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return the covariates to fit: those named, by default those of the task; BAD_SCORES where one is missing."""
    if names is None:
        return tuple(name for name in QUALITIES[trials.task] if name in trials.quality_names)
    lacking = sorted(set(names) - set(trials.quality_names))
    if lacking:
        raise Code.BAD_SCORES(
            f"The scores have no quality {', '.join(lacking)}; they have {', '.join(trials.quality_names) or 'none'}.",
            "Name others with --qualities.",
        )
    return names


def _choose_policy(held: HeldOutRatios, fitted: Fitted, options: DraftOptions) -> Policy:
    """Set the zone thresholds by the target error rates on held-out trials; out of reach where a rate allows none."""
    same = held.trials.same
    beyond = max(fitted.bounds.upper_llr, LEAST_LLR) + 1, max(-fitted.bounds.lower_llr, LEAST_LLR) + 1
    supported = choose_threshold(held.llrs[~same], options.false_support)
    false_against = FALSE_AGAINST[held.trials.task] if options.false_against is None else options.false_against
    against = choose_threshold(-held.llrs[same], false_against)
    return Policy(
        supported_llr=min(max(supported, LEAST_LLR), beyond[0]),
        against_llr=-min(max(against, LEAST_LLR), beyond[1]),
        false_support=options.false_support,
        false_against=false_against,
    )


def _count(held: HeldOutRatios) -> Counts:
    trials = held.trials
    n_same = int(trials.same.sum())
    return Counts(
        same=n_same,
        different=len(trials) - n_same,
        people=len(np.unique(trials.people)),
        sources=len(np.unique(trials.sources if held.over == "sources" else trials.people)),
        clips=trials.n_clips,
        abstained=trials.n_abstained,
        gallery_size=trials.gallery_size,
    )


def _fit_conformal(trials: ScoredTrials, seed: int) -> Conformal | None:
    """Fit to same-source trials of tracks with a known length of speech."""
    seconds, same = trials.speech_s, trials.same
    if seconds is None or trials.task != Task.CONSISTENCY:
        return None
    return fit_conformal(trials.scores[same], seconds[same], trials.people[same, 0], seed)
