"""Verbal scale of likelihood ratios, zones and the two hypotheses.

The scale is that of the ENFSI guideline for evaluative reporting (version 3.0, 2015), mirrored for the second
hypothesis. A likelihood ratio describes the evidence; the probability of a hypothesis depends on other knowledge too.
All texts are English and are keys for translation; `{...}` is filled in afterwards.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum

from engine.calibration.records import Policy, Task


class Zone(StrEnum):
    """Zone of a report."""

    SUPPORTED = "supported"
    INCONCLUSIVE = "inconclusive"
    AGAINST = "against"


class Band(StrEnum):
    """Strength of support, ascending."""

    NONE = "no support for one over the other"
    WEAK = "weak support"
    MODERATE = "moderate support"
    MODERATELY_STRONG = "moderately strong support"
    STRONG = "strong support"
    VERY_STRONG = "very strong support"
    EXTREMELY_STRONG = "extremely strong support"


STARTS = (math.log10(2), 1.0, 2.0, 3.0, 4.0, 6.0)
"""Least log10 LR of each band after the first: 2, 10, 100, 1 000, 10 000 and a million."""


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """The two competing hypotheses."""

    first: str
    second: str


HYPOTHESES = {
    Task.CONSISTENCY: Hypotheses(
        "this face produced this speech",
        "this face did not produce this speech (it is dubbed, voiced over, or edited in)",
    ),
    Task.SPANS: Hypotheses(
        "this face produced this stretch of the speech",
        "another person produced it",
    ),
    Task.VERIFICATION: Hypotheses(
        "both show the way of speaking of one person",
        "they show the ways of speaking of two people of the population",
    ),
    Task.IDENTIFICATION: Hypotheses(
        "the first candidate is the person whose way of speaking is seen",
        "the person whose way of speaking is seen is not enrolled",
    ),
    Task.SOURCE: Hypotheses(
        "this recording drove the motion of this face",
        "the motion of this face is not of this recording",
    ),
}
STRENGTH = "The findings are about {ratio} times more probable if {likelier} than if {other}: {band}."
NO_STRENGTH = "The findings are about as probable if {likelier} as if {other}: {band}."


ZONE_WORDS = {
    Zone.SUPPORTED: (
        "Reported as supported: face and voice fit as those of one speech do. A face that is driven to fit a voice can "
        "do so too, so it does not prove a video authentic."
    ),
    Zone.INCONCLUSIVE: (
        "Reported as inconclusive: the findings are too weak to support either. Use more speech, a larger face, or the "
        "original recording."
    ),
    Zone.AGAINST: (
        "Reported as against: face and voice do not fit. Dubbing, voice-over, editing and sound out of time do that as "
        "well as forgery, so look for the original before concluding."
    ),
}
PEOPLE_ZONE_WORDS = {
    Zone.SUPPORTED: (
        "Reported as supported: the ways of speaking fit. Others may move alike, so this names nobody by itself."
    ),
    Zone.INCONCLUSIVE: (
        "Reported as inconclusive: the findings are too weak to support either. Use more speech, or enrol more."
    ),
    Zone.AGAINST: (
        "Reported as against: the ways of speaking do not fit. Another mood, camera or compression can do that as well."
    ),
}
ABSTAINED = "No likelihood ratio is given for the whole: the reasons say why, and what to do."
BOUNDS = "No ratio beyond {most} for the first hypothesis or {least} for the second is told: the trials back no more."
HIGH_P_VALUE = (
    "Of comparable genuine clips, a share of p = {p} fits at least as well (p cannot be below {least}); a very small "
    "one can mean a generated face or a resynthesised voice, and is no verdict alone."
)
P_VALUE = (
    "p = {p}: of real clips like the calibration's, with about as much speech, at most such a share scores so low. "
    "The smallest p that there are clips enough to tell is {least}."
)
BEHIND = "Calibration {version} ({id}), made by {author}, approved by {approver}."


@dataclass(frozen=True, slots=True)
class Statement:
    """Verbal statement of a likelihood ratio: `template` and its fields, each to be translated."""

    template: str
    band: Band
    likelier: str  # hypothesis
    other: str
    ratio: str  # rounded, at least 1

    @property
    def text(self) -> str:
        """English text."""
        return self.template.format(band=self.band.value, ratio=self.ratio, likelier=self.likelier, other=self.other)


def find_band(llr: float) -> Band:
    """Return the strength of a log10 LR of either sign; ValueError where it is not finite."""
    if not math.isfinite(llr):
        raise ValueError(f"a log10 likelihood ratio of {llr}")
    return list(Band)[bisect_right(STARTS, abs(llr))]


def find_zone(llr: float, policy: Policy) -> Zone:
    """Return the zone of a log10 LR; thresholds belong to the outer zones."""
    if llr >= policy.supported_llr:
        return Zone.SUPPORTED
    return Zone.AGAINST if llr <= policy.against_llr else Zone.INCONCLUSIVE


def state(llr: float, task: Task) -> Statement:
    """Return the statement of a log10 LR with both hypotheses, the likelier first."""
    band, pair = find_band(llr), HYPOTHESES[task]
    likelier, other = (pair.first, pair.second) if llr >= 0 else (pair.second, pair.first)
    template = NO_STRENGTH if band == Band.NONE else STRENGTH
    return Statement(template, band, likelier, other, _round(10 ** abs(llr)))


def name_ratio(llr: float) -> str:
    """Format the ratio of a log10 LR of either sign, such as `250`: two digits, at least 1."""
    return _round(10 ** abs(llr))


def _round(ratio: float) -> str:
    """Round to two digits, the precision of a likelihood ratio."""
    digits = 1 - math.floor(math.log10(ratio))
    rounded = round(ratio, digits)
    return f"{rounded:.1f}".removesuffix(".0") if rounded < 10 else f"{rounded:,.0f}".replace(",", " ")
