"""Estimated time left of a job, on a clock that the test turns."""

import itertools

import pytest

from webapp.jobs.time_left import TimeLeft


def run(paces: list[float], step_s: float = 1.0, start: float = 0.1) -> list[float | None]:
    """Return the estimates while the share grows by these paces (per second)."""
    estimate, share, found = TimeLeft(), start, [TimeLeft().update(0.0, start)]
    found = [estimate.update(1000.0, share)]
    for count, pace in enumerate(paces, 1):
        share = min(share + pace * step_s, 1.0)
        found.append(estimate.update(1000.0 + count * step_s, share))
    return found


def test_a_steady_pace_is_counted_down() -> None:
    found = run([0.01] * 60)  # from 0.1: 90 s in all
    assert found[:5] == [None] * 5
    for count in range(5, 61):
        assert found[count] == pytest.approx(90 - count, abs=0.5)


def test_too_little_progress_has_no_estimate() -> None:
    assert run([0.0] * 100) == [None] * 101
    assert run([0.0001] * 100)[-1] is None


def test_a_stall_and_a_leap_move_the_estimate_slowly() -> None:
    found = [one for one in run([0.01] * 30 + [0.0] * 10 + [0.2] + [0.005] * 40) if one is not None]
    steps = [abs(after - before) for before, after in itertools.pairwise(found)]
    assert max(steps) < 5.0  # the unsteadied estimate would leap by 20 s


def test_the_end_is_never_behind() -> None:
    assert run([0.05] * 30)[-1] == pytest.approx(0.0, abs=1.0)
    assert all(one is None or one >= 0 for one in run([0.05] * 60))
