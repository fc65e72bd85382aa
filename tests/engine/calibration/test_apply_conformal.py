"""P-values of real clips: right in finite samples, stratum by stratum, and never smaller than the clips allow."""

import numpy as np
import pytest

from engine.calibration.apply import find_stratum, fit_conformal, tell_p
from engine.calibration.records import Conformal, Stratum


def make(*scores: float) -> Conformal:
    return Conformal((Stratum(4.0, 10.0, tuple(sorted(scores))), Stratum(10.0, None, ())))


def test_the_p_value_counts_scores_that_are_no_higher() -> None:
    conformal = make(0.1, 0.2, 0.2, 0.4)
    assert [tell_p(conformal, score, 5.0) for score in (0.05, 0.1, 0.2, 0.3, 0.5)] == [0.2, 0.4, 0.8, 0.8, 1.0]


def test_no_clip_is_stranger_than_the_number_of_clips_allows() -> None:
    conformal = make(*np.linspace(0, 1, 19))
    assert tell_p(conformal, -99.0, 5.0) == conformal.strata[0].smallest_p == 1 / 20
    assert conformal.strata[1].smallest_p == 1 and tell_p(conformal, -99.0, 12.0) == 1.0


def test_the_edge_belongs_to_the_stratum_that_begins_there_and_too_little_speech_to_none() -> None:
    conformal = make(0.5)
    assert find_stratum(conformal, 4.0) is conformal.strata[0] and find_stratum(conformal, 10.0) is conformal.strata[1]
    assert find_stratum(conformal, 3.99) is None and tell_p(conformal, 0.5, 3.99) is None


def test_real_clips_are_called_strange_no_more_often_than_was_asked_for() -> None:
    # finite-sample validity: P(p <= a) <= a for each n, also where n is small, scores have ties and a heavy tail
    rng, n_runs = np.random.default_rng(0), 4000
    for n, digits in ((9, 1), (19, 6), (50, 2)):
        scores = rng.standard_t(2, (n_runs, n + 1)).round(digits)
        p = np.array([tell_p(make(*run[:-1]), float(run[-1]), 5.0) for run in scores])
        for rate in (0.05, 0.1, 0.2, 0.5):
            assert (p <= rate).mean() <= rate + 3 * (rate * (1 - rate) / n_runs) ** 0.5
        if digits == 6 and n == 19:  # and where it can be exact, it is
            assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.012)


def test_each_length_is_held_to_its_own_clips() -> None:
    # short clips score lower; a p-value over all lengths would call them strange far too often
    rng, n = np.random.default_rng(1), 400
    seconds = np.where(np.arange(2 * n) < n, 5.0, 12.0)
    scores = rng.normal(np.where(seconds < 10, 0.0, 4.0))
    people = np.array([f"p{row}" for row in range(2 * n)])
    half = np.arange(2 * n) % 2 == 0
    by_length = fit_conformal(scores[half], seconds[half], people[half])
    at_once = fit_conformal(scores[half], seconds[half], people[half], edges_s=(4.0,))
    short = [(float(score), 5.0) for score in scores[~half & (seconds < 10)]]
    assert np.mean([(tell_p(by_length, *one) or 0) <= 0.1 for one in short]) < 0.16
    assert np.mean([(tell_p(at_once, *one) or 0) <= 0.1 for one in short]) > 0.17


def test_each_person_gives_one_score_to_a_stratum_drawn_by_the_seed() -> None:
    scores, seconds = np.arange(12.0), np.array([4.0, 5.0, 7.0] * 4)
    people = np.repeat(["ada", "bob", "eve", "kim"], 3)
    found = fit_conformal(scores, seconds, people, seed=3)
    assert [len(one.scores) for one in found.strata] == [4, 4, 0]
    assert set(found.strata[1].scores) == {2.0, 5.0, 8.0, 11.0}
    assert all(low in (0, 1, 3, 4, 6, 7, 9, 10) for low in found.strata[0].scores)
    assert fit_conformal(scores, seconds, people, seed=3) == found
    assert any(fit_conformal(scores, seconds, people, seed=seed) != found for seed in range(9))
    with pytest.raises(ValueError, match="rising"):
        fit_conformal(scores, seconds, people, edges_s=(4.0, 4.0))
