"""Results of consistency and offset evaluations, with 95 % bootstrap intervals, from scored clips and trials."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from engine.datasets.manifest import Skipped
from engine.evaluation.trials import PlantedOffset
from engine.metrics import auc, average_precision, bootstrap_interval, bootstrap_mean, eer, rank_auc

WITHIN_FRAMES = 1.0 + 1e-6  # tolerates the rounding of seconds to frames


class HasScore(Protocol):
    """The score of a clip or a trial, with its bootstrap group."""

    @property
    def score(self) -> float:
        """Higher is more consistent."""
        ...

    @property
    def group(self) -> str:
        """The person; clips of one person are resampled together."""
        ...


@dataclass(frozen=True, slots=True)
class PooledScore:
    """Mean score of the rows of one sample."""

    score: float
    group: str
    method: str
    is_real: bool
    clip: str  # name of the first


@dataclass(frozen=True, slots=True)
class Discrimination:
    """How well scores discriminate real clips and others; all None if one side is empty."""

    auc: float | None
    eer: float | None
    average_precision: float | None  # of real
    ci: tuple[float, float] | None  # 95 %, of the AUC
    ci_over: str | None  # `people`; `clips` if one side is all of one person
    n_real: int
    n_other: int


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Real clips against the clips of one method."""

    auc: float | None
    n: int
    ci: tuple[float, float] | None
    ci_over: str | None
    eer: float | None = None
    average_precision: float | None = None  # of real


@dataclass(frozen=True, slots=True)
class Hits:
    """Share of offsets estimated within one frame."""

    within_1_frame: float | None
    ci: tuple[float, float] | None  # 95 %
    ci_over: str | None
    n: int
    median_error_frames: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval."""

    share: float
    ci: tuple[float, float] | None  # 95 %
    ci_over: str | None
    n: int


@dataclass(frozen=True, slots=True)
class OffsetError:
    """Error in frames between the true and the estimated offset of one clip."""

    frames: float
    group: str


@dataclass(frozen=True, slots=True)
class ConsistencyResults:
    """Results of `--task consistency`."""

    others: str  # compared with the real clips: `labelled` clips or `swapped voice`
    parting: Discrimination
    per_method: dict[str, MethodResult]
    by_seconds: dict[str, Discrimination]
    control: Discrimination  # face frames shuffled in time
    trimmed: "Trimmed | None" = None  # None: not requested
    depth: "Depth | None" = None  # None: not requested
    groups: "dict[str, dict[str, GroupResult]]" = field(default_factory=dict)  # by grouping, such as `language`


@dataclass(frozen=True, slots=True)
class GroupResult:
    """Results for the real clips of a group."""

    parting: Discrimination  # against others of the group, or its faces with swapped voices
    false_alarms: Share | None  # share of genuine clips in the zone `against`; None: no calibration, or all refused
    n_refused: int  # genuine clips that the gates refuse, not counted in `false_alarms`


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Results for the genuine clips of a group; the rest is supported."""

    against: Share  # accepted by the gates and in the zone `against`
    undecided: Share  # in the zone `inconclusive`, or refused
    n_refused: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Results for the same clips without leading and trailing silence."""

    parting: Discrimination
    per_method: dict[str, MethodResult]
    silence_s: dict[str, float]  # `real` and each method: mean leading silence
    by_silence_alone: float | None  # AUC of the leading silence itself; 0.5: not informative
    n_too_short: int  # clips with too few frames left to compare


@dataclass(frozen=True, slots=True)
class Depth:
    """Scores, and results for prefixes, at offset 0 and for each ablation."""

    scores: dict[str, tuple[float, ...]]  # `real` and each method
    by_first_s: dict[str, Discrimination]  # prefixes of the clips that are long enough
    at_no_offset: dict[str, Discrimination]  # windows by seconds, compared at offset 0; empty in paper mode
    ablations: dict[str, Discrimination]  # without a feature group of the face, the audio or time


@dataclass(frozen=True, slots=True)
class OffsetResults:
    """Results of `--task offset`."""

    truth: str  # `offset_s` of the manifest, or `planted`
    hits: Hits
    within_1_frame_own: Hits | None  # planted offsets relative to the clip's own
    by_shift: dict[str, Hits]  # planted frames
    n_clips: int


@dataclass(frozen=True, slots=True)
class Report:
    """Report of a consistency or offset evaluation."""

    recipe: str
    figures: ConsistencyResults | OffsetResults
    n_rows: int  # measured
    n_refused_by_gates: int  # of these: the product would not score them
    n_from_trained_sources: int  # of these: from sources in the training data, which biases the results upwards
    skipped: tuple[Skipped, ...]


def measure_discrimination(real: Sequence[HasScore], other: Sequence[HasScore], seed: int = 0) -> Discrimination:
    """Measure how well the scores discriminate real and other."""
    if not real or not other:
        return Discrimination(None, None, None, None, None, len(real), len(other))
    yes, no = [one.score for one in real], [one.score for one in other]
    labels = [True] * len(yes) + [False] * len(no)
    groups = [one.group for one in (*real, *other)]
    ci, over = _bootstrap(groups, lambda named: bootstrap_interval(rank_auc, yes + no, labels, named, seed=seed))
    return Discrimination(auc(yes, no), eer(yes, no), average_precision(yes, no), ci, over, len(yes), len(no))


def compare_methods(
    real: Sequence[HasScore], methods: dict[str, list[HasScore]], seed: int = 0
) -> dict[str, MethodResult]:
    """Compare all real clips with those of each method."""
    compared = {name: measure_discrimination(real, methods[name], seed) for name in sorted(methods)}
    return {
        name: MethodResult(one.auc, one.n_other, one.ci, one.ci_over, one.eer, one.average_precision)
        for name, one in compared.items()
    }


def count_hits(errors: Iterable[OffsetError], seed: int = 0) -> Hits:
    """Count the offsets that were estimated within one frame."""
    errors = list(errors)
    if not errors:
        return Hits(None, None, None, 0, None)
    hits = [float(error.frames <= WITHIN_FRAMES) for error in errors]
    ci, over = _bootstrap([error.group for error in errors], lambda named: bootstrap_mean(hits, named, seed=seed))
    return Hits(float(np.mean(hits)), ci, over, len(hits), float(np.median([error.frames for error in errors])))


def share_with_interval(hits: Sequence[bool], groups: Sequence[str], seed: int = 0) -> Share | None:
    """Return the share of hits with its 95 % interval over people; None without any."""
    if not hits:
        return None
    values = [float(hit) for hit in hits]
    ci, over = _bootstrap(groups, lambda named: bootstrap_mean(values, named, seed=seed))
    if ci is not None and len(set(hits)) == 1:  # resampling cannot bound the rate of an event that never occurred
        edge = min(1.0, 3 / len(hits))  # 95 % bound after no event in n (rule of three)
        ci, over = ((1 - edge, 1.0) if hits[0] else (0.0, edge)), "clips"
    return Share(float(np.mean(values)), ci, over, len(values))


def count_planted(planted: Sequence[PlantedOffset], relative_to_own: bool = False, seed: int = 0) -> Hits:
    """Count errors against the planted offset alone, or relative to the clip's own estimated offset."""
    return count_hits(
        (OffsetError(one.own_error if relative_to_own else one.error, one.group) for one in planted), seed
    )


def _bootstrap(
    groups: Sequence[str], measure: Callable[[Sequence[str]], tuple[float, float]]
) -> tuple[tuple[float, float] | None, str | None]:
    """Bootstrap over people; over clips if there is one person only; (None, None) if there is one clip only."""
    for over, named in (("people", groups), ("clips", [str(i) for i in range(len(groups))])):
        try:
            return measure(named), over
        except ValueError:  # one group only: it has no spread
            continue
    return None, None
