"""Measure real clips by group: language, corpus, sex, face width, frame rate and noise in the sound."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from engine.calibration.apply import apply_calibration
from engine.calibration.records import Calibration
from engine.calibration.verbal_scale import Zone
from engine.datasets.manifest import find_corpora
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.results import (
    Discrimination,
    GroupResult,
    HasScore,
    PooledScore,
    Share,
    Verdicts,
    measure_discrimination,
    share_with_interval,
)
from engine.evaluation.trials import Trial, measure_pair, pair_evidence

FEW = 5  # real clips, below which a group is marked and comes last
QUIET = 10  # percentile of the sound level of a clip that is taken for its noise
TO_DB = 10 / np.log(10)  # from natural logarithms of power


class Grouping(StrEnum):
    """A property by which clips are grouped."""

    LANGUAGE = "language"
    CORPUS = "corpus"
    SEX = "sex"
    FACE = "face width"
    RATE = "frame rate"
    NOISE = "speech over noise"


@dataclass(frozen=True, slots=True)
class Bands:
    """Consecutive ranges of a quantity, open at both ends."""

    unit: str
    edges: tuple[float, ...]

    def name(self, value: float) -> str:
        """Return the range of a value: `below 64 px`, `64 to 96 px`, `from 128 px`."""
        at = bisect_right(self.edges, value)
        if at == 0:
            return f"below {self.edges[0]:g} {self.unit}"
        if at == len(self.edges):
            return f"from {self.edges[-1]:g} {self.unit}"
        return f"{self.edges[at - 1]:g} to {self.edges[at]:g} {self.unit}"


WIDTHS = Bands("px", (64.0, 96.0, 128.0))
RATES = Bands("fps", (23.0, 26.0))
CONTRASTS = Bands("dB", (10.0, 20.0, 30.0))


@dataclass(frozen=True, slots=True, eq=False)
class JudgedRow:
    """A row and the calibration in force for its score."""

    measured: MeasuredRow
    calibration: Calibration | None

    @property
    def name(self) -> str:
        return self.measured.clip.name

    @property
    def zone(self) -> Zone | None:
        """Zone of the score alone, without gates; None without a calibration."""
        if self.calibration is None:
            return None
        quality = measure_pair(self.measured.clip, self.measured.clip)
        return Zone(apply_calibration(self.calibration, self.measured.score, quality, reasons=())["zone"])


def measure_groups(
    pooled: Sequence[PooledScore], swapped: Sequence[Trial], judged: Sequence[JudgedRow], seed: int = 0
) -> dict[str, dict[str, GroupResult]]:
    """Compare the real clips of each group with its other clips, or with swapped voices if it has none."""
    real = [one for one in judged if one.measured.row.is_real]
    found: dict[str, dict[str, GroupResult]] = {}
    for grouping, groups in name_groups([one.measured for one in judged]).items():
        for name in sorted({groups[one.name] for one in real} - {""}):
            members = {clip for clip in groups if groups[clip] == name}
            own = [one for one in real if one.name in members]
            found.setdefault(str(grouping), {})[name] = GroupResult(
                _discriminate([one for one in pooled if one.clip in members], swapped, members, seed),
                count_false_alarms(own, seed),
                sum(one.measured.refused for one in own),
            )
    return found


def measure_verdicts(judged: Sequence[JudgedRow], seed: int = 0) -> dict[str, dict[str, Verdicts]]:
    """Count the zones of the genuine clips with a calibration, of all together (`clips`: `all`) and by group."""
    real = [one for one in judged if one.measured.row.is_real and one.calibration is not None]
    named = name_groups([one.measured for one in real])
    groupings = {"clips": {one.name: "all" for one in real}, **{str(kind): groups for kind, groups in named.items()}}
    found: dict[str, dict[str, Verdicts]] = {}
    for grouping, groups in groupings.items():
        for name in sorted(set(groups.values()) - {""}):
            own = [one for one in real if groups[one.name] == name]
            found.setdefault(grouping, {})[name] = _count_verdicts(own, seed)
    return found


def name_groups(rows: Sequence[MeasuredRow]) -> dict[Grouping, dict[str, str]]:
    """Return the group of each clip by its name; empty where it is not known."""
    corpora = find_corpora([one.row for one in rows])
    return {
        Grouping.LANGUAGE: {one.clip.name: one.row.language or "" for one in rows},
        Grouping.CORPUS: {one.clip.name: corpus for one, corpus in zip(rows, corpora, strict=True)},
        Grouping.SEX: {one.clip.name: one.row.sex or "" for one in rows},
        Grouping.FACE: {one.clip.name: WIDTHS.name(one.clip.face_px) for one in rows},
        Grouping.RATE: {one.clip.name: RATES.name(one.source_fps) for one in rows},
        Grouping.NOISE: {one.clip.name: _name_noise(one) for one in rows},
    }


def count_false_alarms(real: Sequence[JudgedRow], seed: int = 0) -> Share | None:
    """Return the share of genuine clips that the gates accept and the calibration calls against; None without any."""
    zones = [(one.zone, one.measured.row.person) for one in real if not one.measured.refused and one.calibration]
    return share_with_interval([zone == Zone.AGAINST for zone, _ in zones], [person for _, person in zones], seed)


def order_groups(groups: Mapping[str, GroupResult]) -> list[tuple[str, GroupResult]]:
    """Sort groups by AUC, the worst first, those of few clips and those without an AUC last."""

    def rank(item: tuple[str, GroupResult]) -> tuple[bool, float]:
        parting = item[1].parting
        return parting.n_real < FEW, 1.0 if parting.auc is None else parting.auc

    return sorted(groups.items(), key=rank)


def order_verdicts(groups: Mapping[str, Verdicts]) -> list[tuple[str, Verdicts]]:
    """Sort groups by the shares called against and undecided, the worst first, those of few clips last."""
    return sorted(
        groups.items(), key=lambda item: (item[1].against.n < FEW, -item[1].against.share, -item[1].undecided.share)
    )


def measure_contrast_db(one: MeasuredRow) -> float | None:
    """Return how far speech is above the quietest tenth of the sound, in dB of mel power; None without speech."""
    _, spoken = pair_evidence(one.clip, one.clip)
    if not spoken.any():
        return None
    level = one.clip.speech.mean(axis=1)
    return float(level[spoken].mean() - np.percentile(level[one.clip.evidence.speech], QUIET)) * TO_DB


def _count_verdicts(real: Sequence[JudgedRow], seed: int) -> Verdicts:
    zones = [Zone.INCONCLUSIVE if one.measured.refused else one.zone for one in real]
    people = [one.measured.row.person for one in real]
    against = share_with_interval([zone == Zone.AGAINST for zone in zones], people, seed)
    undecided = share_with_interval([zone == Zone.INCONCLUSIVE for zone in zones], people, seed)
    assert against is not None and undecided is not None  # `real` is not empty
    return Verdicts(against, undecided, sum(one.measured.refused for one in real))


def _name_noise(one: MeasuredRow) -> str:
    contrast = measure_contrast_db(one)
    return "" if contrast is None else CONTRASTS.name(contrast)


def _discriminate(own: Sequence[PooledScore], swapped: Sequence[Trial], members: Set[str], seed: int) -> Discrimination:
    others: list[HasScore] = [one for one in own if not one.is_real]
    others = others or [one for one in swapped if one.face in members]
    return measure_discrimination([one for one in own if one.is_real], others, seed)
