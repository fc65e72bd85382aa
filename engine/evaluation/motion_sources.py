"""Evaluate which recording drove a face: true sources among all other recordings, by method, length, degradation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.calibration.records import Calibration
from engine.datasets.manifest import Skipped
from engine.evaluation.degraded_motion import DEGRADATIONS, degrade
from engine.evaluation.motion_clips import MotionClip, MotionClips, cut_face, find_true_sources, find_wrong
from engine.evaluation.motion_trials import find_best, name_length
from engine.motion.evidence import find_llr, read_evidence
from engine.motion.matches import MotionMatch
from engine.types import OnStep

STRONG_LLR = 2.0  # log10 of 100
FALSE_ALARM = 0.001  # share of wrong pairs above the threshold of `above_wrong`
MAX_FRAMES_OFF = 1.0  # of the offset of a piece from that of the whole clip


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options of the evaluation."""

    lengths_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    n_distractors: int = 0  # recordings per clip, drawn at random; 0: all
    degrades: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """One clip searched among its true sources and other recordings."""

    name: str
    method: str
    condition: str
    score: float  # of the true source
    llr: float | None
    is_first: bool  # the true source has the highest score
    frames_off: float | None  # of the alignment of the whole clip; None where either is not matched
    pattern: tuple[str, ...]  # regions that follow
    best_wrong: float


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """Figures of the probes of one method or condition."""

    n: int
    first: float  # share with the true source first
    above_wrong: float  # share with a score above that of all but 1 in 1,000 wrong pairs of the condition
    strong: float | None  # share with a likelihood ratio of 100 and more; None without a calibration
    offset: float | None  # share of the offsets within a frame of those of the whole clip; None where none is known
    n_offsets: int


@dataclass(frozen=True, slots=True)
class WrongFigures:
    """Figures of the wrong pairs of a condition."""

    n: int
    threshold: float  # score reached by 1 in 1,000
    strong: int | None  # pairs with a likelihood ratio of 100 and more
    n_same_person: int  # pairs of one person in two recordings
    strong_same_person: int | None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """Result of `wayspeak evaluate --task source`."""

    recipe: str
    n_rows: int
    n_probes: int
    calibration: str | None  # id of the record in force
    per_condition: dict[str, SourceFigures]
    per_method: dict[str, dict[str, SourceFigures]]  # by condition and method
    wrong: dict[str, WrongFigures]  # by condition
    probes: tuple[Probe, ...]
    skipped: tuple[Skipped, ...] = field(default=())


@dataclass(slots=True)
class _Wrong:
    """Scores of the wrong pairs of a condition."""

    scores: list[float] = field(default_factory=list)
    llrs: list[float | None] = field(default_factory=list)
    same_person: list[bool] = field(default_factory=list)


def evaluate_sources(
    found: MotionClips,
    calibration: Calibration | None,
    options: SourceOptions,
    on_row: OnStep = lambda step, completed, total: None,
) -> SourceReport:
    """Search every clip that has a true source in the manifest, whole, cut and degraded."""
    truth = find_true_sources(found.clips)
    rng = np.random.default_rng(options.seed)
    probes: list[Probe] = []
    wrong: dict[str, _Wrong] = {}
    for done, (number, sources) in enumerate(truth.items()):
        on_row("search", done, len(truth))
        others = find_wrong(found.clips, number)
        if options.n_distractors:
            others = rng.permutation(others)[: options.n_distractors]
        candidates = {int(one): found.clips[one] for one in [*sources, *others.tolist()]}
        whole: MotionMatch | None = None
        for condition, suspect in _vary(found.clips[number], options):
            matches = find_best(suspect, candidates)
            best = max(sources, key=lambda one: read_evidence(matches[one])[0])
            whole = matches[best] if condition == "whole" else whole
            kept = wrong.setdefault(condition, _Wrong())
            _add_wrong(
                kept, {one: matches[one] for one in candidates if one not in sources}, found, number, calibration
            )
            probes.append(_judge(suspect, condition, matches[best], whole, kept.scores[-len(others) :], calibration))
    on_row("search", len(truth), len(truth))
    return SourceReport(
        recipe=found.recipe,
        n_rows=len(found.clips),
        n_probes=len(truth),
        calibration=None if calibration is None else calibration.id,
        per_condition={name: _measure(_take(probes, name), kept, calibration) for name, kept in wrong.items()},
        per_method={
            name: {
                method: _measure([one for one in _take(probes, name) if one.method == method], kept, calibration)
                for method in sorted({one.method for one in _take(probes, name)})
            }
            for name, kept in wrong.items()
        },
        wrong={name: _measure_wrong(kept, calibration) for name, kept in wrong.items()},
        probes=tuple(probes),
        skipped=found.skipped,
    )


def _vary(clip: MotionClip, options: SourceOptions) -> list[tuple[str, MotionClip]]:
    """Return the clip as a whole, cut to each length that it has, and degraded."""
    lengths: Sequence[float | None] = (None, *options.lengths_s)
    varied = [(name_length(one), cut) for one in lengths if (cut := cut_face(clip, one)) is not None]
    return varied + [(name, degrade(clip, name)) for name in DEGRADATIONS if options.degrades]


def _take(probes: Sequence[Probe], condition: str) -> list[Probe]:
    return [one for one in probes if one.condition == condition]


def _add_wrong(
    kept: _Wrong,
    matches: Mapping[int, MotionMatch | None],
    found: MotionClips,
    number: int,
    calibration: Calibration | None,
) -> None:
    people = {found.clips[number].owner, found.clips[number].row.face_owner or ""}
    for one, match in matches.items():
        kept.scores.append(read_evidence(match)[0])
        kept.llrs.append(None if calibration is None else find_llr(calibration, match))
        kept.same_person.append(found.clips[one].owner in people)


def _judge(
    suspect: MotionClip,
    condition: str,
    match: MotionMatch | None,
    whole: MotionMatch | None,
    wrong: Sequence[float],
    calibration: Calibration | None,
) -> Probe:
    score = read_evidence(match)[0]
    best_wrong = max(wrong, default=-np.inf)
    return Probe(
        name=suspect.row.written,
        method=suspect.method,
        condition=condition,
        score=score,
        llr=None if calibration is None else find_llr(calibration, match),
        is_first=score > best_wrong,
        frames_off=_compare_offsets(suspect, condition, match, whole),
        pattern=() if match is None else tuple(one.region.value for one in match.regions if one.follows),
        best_wrong=float(best_wrong),
    )


def _compare_offsets(
    suspect: MotionClip, condition: str, match: MotionMatch | None, whole: MotionMatch | None
) -> float | None:
    """Return the frames between the alignment of a piece, at its middle, and that of the whole clip."""
    if match is None or whole is None or condition == "whole" or condition in DEGRADATIONS:
        return None
    middle = np.array((match.first + match.last) / 2)
    return abs(float(match.line.map(middle) - whole.line.map(middle)))


def _measure(probes: Sequence[Probe], wrong: _Wrong, calibration: Calibration | None) -> SourceFigures:
    threshold = _find_threshold(wrong)
    offsets = [one.frames_off for one in probes if one.frames_off is not None]
    strong = [one.llr is not None and one.llr >= STRONG_LLR for one in probes]
    return SourceFigures(
        n=len(probes),
        first=float(np.mean([one.is_first for one in probes])),
        above_wrong=float(np.mean([one.score > threshold for one in probes])),
        strong=None if calibration is None else float(np.mean(strong)),
        offset=float(np.mean(np.array(offsets) <= MAX_FRAMES_OFF)) if offsets else None,
        n_offsets=len(offsets),
    )


def _find_threshold(wrong: _Wrong) -> float:
    return float(np.quantile(wrong.scores, 1 - FALSE_ALARM, method="higher"))


def _measure_wrong(wrong: _Wrong, calibration: Calibration | None) -> WrongFigures:
    strong = np.array([llr is not None and llr >= STRONG_LLR for llr in wrong.llrs])
    own = np.array(wrong.same_person)
    return WrongFigures(
        n=len(wrong.scores),
        threshold=_find_threshold(wrong),
        strong=None if calibration is None else int(strong.sum()),
        n_same_person=int(own.sum()),
        strong_same_person=None if calibration is None else int(strong[own].sum()),
    )
