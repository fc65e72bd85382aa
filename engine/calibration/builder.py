"""From scored trials to a record that somebody else may approve: parameters of all trials, figures of held-out ones."""

from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np

from engine.calibration.apply import fit_conformal
from engine.calibration.fitting import EFFECTIVE_PRIOR, Fitted, fit, pick_qualities
from engine.calibration.records import (
    Calibration,
    CalibrationStatus,
    CalibratorKind,
    Conformal,
    Counts,
    Policy,
    Task,
    seal,
    tell_time,
)
from engine.calibration.trials import ScoredTrials
from engine.calibration.validation import RESAMPLES, HeldOutRatios, choose_threshold, cross_validate, measure
from engine.calibration.verbal_scale import STARTS
from engine.errors import Code

SPEECH, FACE = "log speech seconds", "log face size"  # natural logarithms; the width of a face is in pixels
PROBE, ENROLLED = "log probe seconds", "log enrolled seconds"
LEAST_LLR = STARTS[0]  # below it there is no support, so neither zone begins there
QUALITIES = {
    Task.CONSISTENCY: (SPEECH,),  # face size as well made held-out figures worse, see docs/calibration.md
    Task.VERIFICATION: (PROBE, ENROLLED),
    Task.IDENTIFICATION: (PROBE, ENROLLED),
}
POPULATION = {
    Task.CONSISTENCY: "faces of real clips with the voices of other people of the same clips",
    Task.VERIFICATION: "samples of two different people among the clips",
    Task.IDENTIFICATION: "the first candidates for people who are not enrolled, among the people of the clips",
}


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """What a person decides."""

    author: str
    kind: CalibratorKind = CalibratorKind.LOGISTIC
    qualities: tuple[str, ...] | None = None  # of the trials'; None: what is best for the task
    version: str = "1.0.0"
    false_support: float = 0.05
    false_against: float = 0.05
    seed: int = 0
    resamples: int = RESAMPLES
    population: str = ""  # empty: what the trials of the task are, in general words
    supersedes: str = ""
    notebook_sha256: str = ""
    note: str = ""
    created: str = ""  # empty: now


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A record, with the held-out trials that its figures are of, for plots."""

    record: Calibration
    held: HeldOutRatios


def draft(trials: ScoredTrials, options: DraftOptions) -> Draft:
    """Fit, measure on held-out sources, and write it all down; BAD_SCORES where there is too little for that."""
    if not options.author.strip():
        raise Code.BAD_SCORES(
            "A calibration needs an author.", "Name who made it with --author; another person approves it."
        )
    conformal = _fit_conformal(trials, options.seed)
    trials = choose_qualities(trials, QUALITIES[trials.task] if options.qualities is None else options.qualities)
    fitted = fit(trials, options.kind)
    held = cross_validate(trials, options.kind, options.seed)
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
        conformal=conformal,
        manifest_sha256=trials.manifest_sha256,
        code_version=metadata.version("wayspeak"),
        seed=options.seed,
        author=options.author.strip(),
        approver="",
        status=CalibrationStatus.DRAFT,
        created=options.created or tell_time(),
        supersedes=options.supersedes,
        notebook_sha256=options.notebook_sha256,
        note=options.note,
    )
    return Draft(seal(record), held)


def choose_qualities(trials: ScoredTrials, names: tuple[str, ...]) -> ScoredTrials:
    """Keep the named qualities alone; BAD_SCORES where one was not measured."""
    lacking = sorted(set(names) - set(trials.quality_names))
    if lacking:
        raise Code.BAD_SCORES(
            f"The scores have no quality {', '.join(lacking)}; they have {', '.join(trials.quality_names) or 'none'}.",
            "Name others with --qualities.",
        )
    return replace(trials, quality_names=names, qualities=pick_qualities(trials, names))


def _choose_policy(held: HeldOutRatios, fitted: Fitted, options: DraftOptions) -> Policy:
    """Place the zones by what held-out trials did; a zone that the wished rate leaves no room for lies out of reach."""
    same = held.trials.same
    beyond = max(fitted.bounds.upper_llr, LEAST_LLR) + 1, max(-fitted.bounds.lower_llr, LEAST_LLR) + 1
    supported = choose_threshold(held.llrs[~same], options.false_support)
    against = choose_threshold(-held.llrs[same], options.false_against)
    return Policy(
        supported_llr=min(max(supported, LEAST_LLR), beyond[0]),
        against_llr=-min(max(against, LEAST_LLR), beyond[1]),
        false_support=options.false_support,
        false_against=options.false_against,
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
    """From the trials of real clips with their own voice, where their length is told."""
    if trials.task != Task.CONSISTENCY or SPEECH not in trials.quality_names:
        return None
    seconds = np.exp(trials.qualities[:, trials.quality_names.index(SPEECH)])
    same = trials.same
    return fit_conformal(trials.scores[same], np.round(seconds[same], 6), trials.people[same, 0], seed)
