"""When two models contradict each other: by their own curves alone, with a band in which nothing is read."""

from dataclasses import replace

import pytest

from engine.consistency.methods import TITLES
from engine.consistency.offsets import Consistency
from engine.consistency.scorers import OpinionOptions, compare_opinions
from engine.types import Model
from tests.fakes import make_curve

MODELS = (Model.COMPACT, Model.AVHUBERT_LARGE)


def found(clarity: float, offset: int = 0, score: float = 0.5) -> Consistency:
    return Consistency(score, offset / 25, score, 0.0, None, clarity, make_curve(offset, score), ())


def agrees(first: Consistency, second: Consistency) -> bool:
    return compare_opinions(first, second, MODELS, OpinionOptions()).agrees


@pytest.mark.parametrize("apart", [0, 1, 3, -3])
def test_two_clear_peaks_near_each_other_agree(apart: int) -> None:
    assert agrees(found(6.0, 2), found(5.0, 2 + apart))


@pytest.mark.parametrize("apart", [4, -4, 20])
def test_two_clear_peaks_apart_contradict_each_other(apart: int) -> None:
    told = compare_opinions(found(6.0, 0), found(5.0, apart), MODELS, OpinionOptions())
    assert not told.agrees and f"{abs(apart) / 25:.2f} s apart" in told.text


@pytest.mark.parametrize(("first", "second", "clear", "other"), [(6, 1, 0, 1), (0.5, 4.0, 1, 0)])
def test_one_clear_and_one_clearly_not_contradict_each_other(first, second, clear, other) -> None:
    told = compare_opinions(found(first), found(second, 9), MODELS, OpinionOptions())
    assert not told.agrees
    assert (
        f"For {TITLES[MODELS[clear]]} the sound fits clearly" in told.text
        and f"for {TITLES[MODELS[other]]} it fits at none" in told.text
    )


@pytest.mark.parametrize(("first", "second"), [(3.99, 0.0), (4.0, 2.5), (3.0, 3.0), (0.0, 1.0)])
def test_nothing_is_read_between_the_bounds(first: float, second: float) -> None:
    assert agrees(found(first, 0), found(second, 12)) and agrees(found(second, 12), found(first, 0))


def test_scores_are_not_compared() -> None:
    assert agrees(found(6.0, score=0.9), found(6.0, score=0.05))


def test_bounds_are_those_of_the_options() -> None:
    strict = replace(OpinionOptions(), max_apart_frames=0)
    assert not compare_opinions(found(6.0, 0), found(6.0, 1), MODELS, strict).agrees
