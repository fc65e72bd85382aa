"""Verbal scale: every threshold, both hypotheses, and no statement for a ratio that is not finite."""

import math

import pytest

from engine.calibration.records import Policy, Task
from engine.calibration.verbal_scale import HYPOTHESES, Band, Zone, find_band, find_zone, state

EDGES = {
    1.0: Band.NONE,
    1.99: Band.NONE,
    2.0: Band.WEAK,
    9.99: Band.WEAK,
    10.0: Band.MODERATE,
    99.9: Band.MODERATE,
    100.0: Band.MODERATELY_STRONG,
    1000.0: Band.STRONG,
    1e4: Band.VERY_STRONG,
    999_999.0: Band.VERY_STRONG,
    1e6: Band.EXTREMELY_STRONG,
    1e9: Band.EXTREMELY_STRONG,
}


@pytest.mark.parametrize("ratio", EDGES)
def test_bands_begin_where_the_guideline_has_them_for_either_hypothesis(ratio: float) -> None:
    assert find_band(math.log10(ratio)) == find_band(-math.log10(ratio)) == EDGES[ratio]


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("llr", [-3.2, -0.1, 0.0, 0.2, 2.5])
def test_both_hypotheses_are_named_and_the_likelier_first(task: Task, llr: float) -> None:
    pair, said = HYPOTHESES[task], state(llr, task)
    assert pair.first in said.text and pair.second in said.text
    assert (said.likelier, said.other) == ((pair.first, pair.second) if llr >= 0 else (pair.second, pair.first))
    assert said.text.index(said.likelier) < said.text.index(said.other)
    assert said.band.value in said.text and "{" not in said.text
    assert ("times" in said.text) == (said.band != Band.NONE)


def test_a_mirrored_ratio_is_said_in_the_same_words_the_other_way_round() -> None:
    one, other = state(2.3, Task.CONSISTENCY), state(-2.3, Task.CONSISTENCY)
    assert (one.template, one.band, one.ratio) == (other.template, other.band, other.ratio)
    assert (one.likelier, one.other) == (other.other, other.likelier)


@pytest.mark.parametrize(
    ("ratio", "wanted"), [(2.0, "2"), (3.46, "3.5"), (9.96, "10"), (47.3, "47"), (251.0, "250"), (31_622.0, "32 000")]
)
def test_ratio_has_two_digits(ratio: float, wanted: str) -> None:
    assert state(math.log10(ratio), Task.VERIFICATION).ratio == wanted


def test_three_zones_whose_edges_are_decisions() -> None:
    policy = Policy(0.5, -0.75, 0.05, 0.05)
    wanted = {llr: find_zone(llr, policy) for llr in (0.5, 0.499, 0.0, -0.749, -0.75, -3.0)}
    assert list(wanted.values()) == [Zone.SUPPORTED, *[Zone.INCONCLUSIVE] * 3, Zone.AGAINST, Zone.AGAINST]


def test_what_is_no_number_has_no_band() -> None:
    for llr in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="log10 likelihood ratio"):
            find_band(llr)
