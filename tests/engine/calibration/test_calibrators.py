"""Calibrators: hand-computed values, monotonicity, clipping to the fitted range."""

import numpy as np
import pytest

from engine.calibration.calibrators import FallingRatio, Isotonic, Logistic

PLAIN = Logistic(0.5, 2.0, (), (), (1.0,), (0.5,), (), ())
RICH = Logistic(0.0, 1.0, (0.5,), (0.25,), (0.0, 2.0), (1.0, 0.5), (1.0,), (3.0,))


def test_an_affine_calibrator_by_hand() -> None:
    assert PLAIN.apply(np.array([1.0, 2.0]), np.zeros((2, 0))) == pytest.approx([0.5, 4.5])


def test_qualities_shift_and_tilt_and_are_held_within_what_was_seen() -> None:
    # quality 3 is 2 deviations up: 0.5 * 2 + s (1 + 0.25 * 2)
    assert RICH.apply(np.array([1.0]), np.array([[3.0]])) == pytest.approx([2.5])
    assert RICH.apply(np.array([1.0]), np.array([[99.0]])) == pytest.approx([2.5])
    assert RICH.apply(np.array([1.0]), np.array([[-99.0]])) == pytest.approx([-0.5])
    assert RICH.least_slope() == pytest.approx(0.5)


def test_a_ratio_that_would_fall_while_the_score_rises_is_refused() -> None:
    with pytest.raises(FallingRatio):
        Logistic(0.0, 1.0, (0.0,), (0.6,), (0.0, 2.0), (1.0, 0.5), (1.0,), (3.0,))  # at quality 1: 1 - 1.2
    with pytest.raises(FallingRatio):
        Logistic(0.0, -0.1, (), (), (0.0,), (1.0,), (), ())
    with pytest.raises(FallingRatio):
        Isotonic((0.0, 1.0), (1.0, 0.5))


def test_parameters_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="1 qualities"):
        Logistic(0.0, 1.0, (0.5,), (), (0.0, 2.0), (1.0, 0.5), (1.0,), (3.0,))
    with pytest.raises(ValueError, match="scale"):
        Logistic(0.0, 1.0, (), (), (0.0,), (0.0,), (), ())
    with pytest.raises(ValueError, match="scale"):
        Logistic(0.0, 1.0, (0.5,), (0.25,), (0.0, 2.0), (1.0, 0.5), (3.0,), (1.0,))
    for scores, llrs in (((0.0, 0.0), (0.0, 1.0)), ((), ()), ((0.0,), (0.0, 1.0))):
        with pytest.raises(ValueError, match=r"rise|scores for"):
            Isotonic(scores, llrs)


def test_isotonic_is_straight_between_points_and_level_beyond() -> None:
    steps = Isotonic((0.0, 1.0, 2.0), (-1.0, -1.0, 2.0))
    found = steps.apply(np.array([-5.0, 0.5, 1.5, 9.0]), np.zeros((4, 0)))
    assert found == pytest.approx([-1.0, -1.0, 0.5, 2.0])
