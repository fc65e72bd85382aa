"""What an evaluation says: figures with their intervals, from scored clips and trials."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.datasets.manifest import Skipped
from engine.evaluation.trials import PlantedOffset
from engine.metrics import auc, average_precision, bootstrap_interval, bootstrap_mean, eer, rank_auc

WITHIN_FRAMES = 1.0 + 1e-6  # rounding of seconds to frames aside


class HasScore(Protocol):
    """A score, and whose it is: a clip's or a trial's."""

    @property
    def score(self) -> float:
        """Higher is more consistent."""
        ...

    @property
    def group(self) -> str:
        """Of clips that an interval keeps together: one person's."""
        ...


@dataclass(frozen=True, slots=True)
class Discrimination:
    """How well real clips and others are told apart; nothing where one side is empty."""

    auc: float | None
    eer: float | None
    average_precision: float | None  # of real
    ci: tuple[float, float] | None  # 95 %, of the AUC
    ci_over: str | None  # `people`; `clips` where one side is all of one person
    n_real: int
    n_other: int


@dataclass(frozen=True, slots=True)
class Against:
    """All real clips against those of one method."""

    auc: float | None
    n: int
    ci: tuple[float, float] | None
    ci_over: str | None
    eer: float | None = None
    average_precision: float | None = None  # of real


@dataclass(frozen=True, slots=True)
class Hits:
    """How often an offset was found within one frame."""

    within_1_frame: float | None
    ci: tuple[float, float] | None  # 95 %
    ci_over: str | None
    n: int
    median_error_frames: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """How often something was so."""

    share: float
    ci: tuple[float, float] | None  # 95 %
    ci_over: str | None
    n: int


@dataclass(frozen=True, slots=True)
class OffsetError:
    """Frames between the true and the found offset of one clip."""

    frames: float
    group: str


@dataclass(frozen=True, slots=True)
class ConsistencyFigures:
    """The answer to `--task consistency`."""

    others: str  # what the real clips are held against: `labelled` clips or `swapped voice`
    parting: Discrimination
    per_method: dict[str, Against]
    by_seconds: dict[str, Discrimination]
    control: Discrimination  # the faces' frames shuffled in time
    per_language: dict[str, Discrimination]  # real clips of a language against the others of it
    trimmed: "Trimmed | None" = None  # None: was not asked for
    depth: "Depth | None" = None  # None: was not asked for


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The same clips with the silence before and after the sound cut away: what a silence gave away is gone."""

    parting: Discrimination
    per_method: dict[str, Against]
    silence_s: dict[str, float]  # `real` and each method: mean of what was cut from the beginning
    by_silence_alone: float | None  # AUC of the leading silence itself: 0.5 means that it tells nothing
    n_too_short: int  # clips of which too little is left to be compared


@dataclass(frozen=True, slots=True)
class Depth:
    """What the figures rest on."""

    scores: dict[str, tuple[float, ...]]  # `real` and each method
    by_first_s: dict[str, Discrimination]  # the beginnings of the clips that are so long
    at_no_offset: dict[str, Discrimination]  # windows by seconds, compared as they lie; nothing in paper mode
    ablations: dict[str, Discrimination]  # without a part of the face, of the sound, or of time


@dataclass(frozen=True, slots=True)
class OffsetFigures:
    """The answer to `--task offset`."""

    truth: str  # `offset_s` of the manifest, or `planted`
    hits: Hits
    within_1_frame_own: Hits | None  # planted offsets on top of the clip's own
    by_shift: dict[str, Hits]  # planted frames
    n_clips: int


@dataclass(frozen=True, slots=True)
class Recognition:
    """How well people are told apart: pair by pair, and by looking each sample up among all who are enrolled."""

    eer: float | None
    min_dcf: float | None  # P_target 0.05; 1 is as good as not listening
    min_dcf_p01: float | None  # P_target 0.01
    auc: float | None
    rank1: float | None
    rank5: float | None
    chance_rank1: float | None  # what guessing would give
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_probes: int  # that were looked up and are enrolled
    n_probe_speakers: int
    ci: dict[str, tuple[float, float] | None]  # 95 %, over speakers


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Who is named where not everybody is enrolled; keys are the share of strangers who are taken for somebody."""

    dir: dict[str, float | None]  # share of the enrolled who are named, and rightly
    supported: dict[str, bool]  # whether there are strangers enough to speak of so small a share
    smallest_fpir: float | None  # that they support: 3 over their number, the 95 % bound after no error
    n_mated: int  # looked up while enrolled
    n_nonmated: int  # looked up while not enrolled
    n_nonmated_speakers: int
    ci: dict[str, tuple[float, float] | None]  # 95 %, over speakers


@dataclass(frozen=True, slots=True)
class Following:
    """Whether forged clips are taken for the motion's owner or for the face's."""

    rank1_face: float | None  # the face's owner comes first
    decided: float | None  # share in which either of the two comes first
    follows_motion: float | None  # of these, the motion's owner
    rank1_untouched: float | None  # of the same motion owners' real samples, each owner as often as among the forged
    kept: float | None  # rank-1 of the forged over that
    n_owners: int  # of motions
    ci: dict[str, tuple[float, float] | None]  # 95 %, over the motion's owners


@dataclass(frozen=True, slots=True)
class Identified:
    """What is told of one set of probes; nothing of what the task does not ask."""

    recognition: Recognition
    n_refused: int  # probes that were held against somebody, and whose motion is not natural: they name nobody
    n_tried: int  # probes that were held against somebody
    open_set: OpenSet | None = None
    following: Following | None = None


@dataclass(frozen=True, slots=True)
class IdentityFigures:
    """The answer to `--task verification`, `identification` and `ios`."""

    whole: Identified  # untouched probes; for `ios` all forged ones
    per_method: dict[str, Identified]  # probes of each method against untouched enrolment


@dataclass(frozen=True, slots=True)
class Report:
    """All that an evaluation says."""

    recipe: str
    figures: ConsistencyFigures | OffsetFigures
    n_rows: int  # that were measured
    n_refused_by_gates: int  # of these: the product would have said nothing of them
    n_from_trained_sources: int  # of these: the model knows clips of their source, which flatters it
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class IdentityReport:
    """All that an evaluation of people says."""

    task: str
    embedder: str
    recipe: str  # of what embeds
    observer_recipe: str  # of what saw the faces
    figures: IdentityFigures
    pool_s: float | None
    across_sessions: bool  # every genuine pair is known to be of two sessions
    n_rows: int  # that went into samples
    n_samples: int  # of untouched clips
    n_speakers: int  # of these
    n_trained_speakers: int  # of these: the embedder was trained on them, which flatters it
    n_made_samples: int  # of other clips
    gated: bool  # False: motion that is not natural was taken as if it were
    not_enrolled: tuple[str, ...]  # untouched clips whose motion is not natural, as they stand in the manifest
    seconds: float | None  # median of a sample
    remarks: tuple[str, ...]  # what the figures must not be read without
    skipped: tuple[Skipped, ...]


def part(real: Sequence[HasScore], other: Sequence[HasScore], seed: int = 0) -> Discrimination:
    """Measure how well the scores tell real from other."""
    if not real or not other:
        return Discrimination(None, None, None, None, None, len(real), len(other))
    yes, no = [one.score for one in real], [one.score for one in other]
    labels = [True] * len(yes) + [False] * len(no)
    groups = [one.group for one in (*real, *other)]
    ci, over = _settle(groups, lambda named: bootstrap_interval(rank_auc, yes + no, labels, named, seed=seed))
    return Discrimination(auc(yes, no), eer(yes, no), average_precision(yes, no), ci, over, len(yes), len(no))


def part_methods(real: Sequence[HasScore], methods: dict[str, list[HasScore]], seed: int = 0) -> dict[str, Against]:
    """Hold all real clips against those of each method."""
    parted = {name: part(real, methods[name], seed) for name in sorted(methods)}
    return {
        name: Against(one.auc, one.n_other, one.ci, one.ci_over, one.eer, one.average_precision)
        for name, one in parted.items()
    }


def count_hits(errors: Iterable[OffsetError], seed: int = 0) -> Hits:
    """Count the offsets that were found within one frame."""
    errors = list(errors)
    if not errors:
        return Hits(None, None, None, 0, None)
    hits = [float(error.frames <= WITHIN_FRAMES) for error in errors]
    ci, over = _settle([error.group for error in errors], lambda named: bootstrap_mean(hits, named, seed=seed))
    return Hits(float(np.mean(hits)), ci, over, len(hits), float(np.median([error.frames for error in errors])))


def share_with_interval(hits: Sequence[bool], groups: Sequence[str], seed: int = 0) -> Share | None:
    """Give the share of hits with its 95 % interval over people; None of none."""
    if not hits:
        return None
    values = [float(hit) for hit in hits]
    ci, over = _settle(groups, lambda named: bootstrap_mean(values, named, seed=seed))
    if ci is not None and len(set(hits)) == 1:  # resampling cannot tell how rare is what never happened
        edge = min(1.0, 3 / len(hits))  # the 95 % bound after no event in n (rule of three)
        ci, over = ((1 - edge, 1.0) if hits[0] else (0.0, edge)), "clips"
    return Share(float(np.mean(values)), ci, over, len(values))


def count_planted(planted: Sequence[PlantedOffset], relative_to_own: bool = False, seed: int = 0) -> Hits:
    """Count them against the planted offset alone, or on top of the clip's own."""
    return count_hits(
        (OffsetError(one.own_error if relative_to_own else one.error, one.group) for one in planted), seed
    )


def _settle(
    groups: Sequence[str], measure: Callable[[Sequence[str]], tuple[float, float]]
) -> tuple[tuple[float, float] | None, str | None]:
    """Take the interval over people; over clips where there is one person alone; none where there is one clip."""
    for over, named in (("people", groups), ("clips", [str(i) for i in range(len(groups))])):
        try:
            return measure(named), over
        except ValueError:  # all of one group: its spread cannot be told
            continue
    return None, None
