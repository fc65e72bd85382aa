"""Trial collection from drawn speakers: pairs, covariates and exclusions."""

from dataclasses import replace

import numpy as np
import pytest

from engine.calibration.builder import ENROLLED, PROBE
from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrials, TrialOptions
from engine.evaluation.speakers.calibration_trials import collect_speaker_trials
from engine.evaluation.speakers.embeddings import EmbeddedRow
from tests.engine.evaluation.speakers.people import RECIPE, draw_people, embed, gather, make_row

ORIGIN = Origin(RECIPE, "ab" * 32)


def gather_drawn(people: list[EmbeddedRow], task: Task, *pools_s: float, **options: object) -> ScoredTrials:
    plain = TrialOptions(pools_s=pools_s or (1.0,), **options)  # type: ignore[arg-type]
    return collect_speaker_trials(gather(*people), [one.row for one in people], task, ORIGIN, plain)


def take(trials: ScoredTrials, condition: str) -> ScoredTrials:
    return trials.take(np.flatnonzero(trials.conditions == condition))


def test_pairs_are_those_of_other_sessions_and_each_is_there_once() -> None:
    trials = take(gather_drawn(draw_people(5, 3), Task.VERIFICATION, per_face=99), "1 s")
    assert trials.same.sum() == 5 * 3  # two of three sessions
    assert (~trials.same).sum() == 10 * 9
    assert ((trials.people[:, 0] == trials.people[:, 1]) == trials.same).all()
    assert (trials.sources == trials.people).all()
    assert trials.scores[trials.same].mean() > trials.scores[~trials.same].mean() + 0.5
    assert trials.scores.max() <= 1 and trials.n_clips == 15


def test_of_two_people_no_more_pairs_are_kept_than_were_asked_for() -> None:
    people = draw_people(12, 3)
    trials = take(gather_drawn(people, Task.VERIFICATION, per_face=4), "1 s")
    assert trials.same.sum() == 12 * 3
    assert 4 * 30 < (~trials.same).sum() <= 4 * 36
    again = take(gather_drawn(people, Task.VERIFICATION, per_face=4), "1 s")
    assert (again.scores == trials.scores).all()
    other = take(gather_drawn(people, Task.VERIFICATION, per_face=4, seed=1), "1 s")
    assert len(other) != len(trials) or not np.array_equal(other.scores, trials.scores)


def test_sample_is_compared_with_all_enrolled_sessions_except_its_own() -> None:
    trials = take(gather_drawn(draw_people(4, 3, per_session=2), Task.VERIFICATION, 2.0, per_face=99), "2 s, enrolled")
    assert trials.same.sum() == 4 * 3 and (~trials.same).sum() == 12 * 3
    assert trials.quality_names == (PROBE, ENROLLED)
    assert np.exp(trials.qualities[:, 0]) == pytest.approx(np.full(48, 2.0))
    enrolled = np.exp(trials.qualities[:, 1])
    assert enrolled[trials.same] == pytest.approx(np.full(12, 4.0))  # two sessions of three
    assert enrolled[~trials.same] == pytest.approx(np.full(36, 6.0))


def test_samples_of_every_length_have_a_name_and_are_all_there() -> None:
    trials = gather_drawn(draw_people(4, 3, per_session=4), Task.VERIFICATION, 2.0, 4.0)
    assert set(trials.conditions) == {"2 s", "4 s", "2 s, enrolled", "4 s, enrolled"}
    assert (
        take(trials, "4 s").scores[take(trials, "4 s").same].mean()
        > take(trials, "2 s").scores[take(trials, "2 s").same].mean()
    )


def test_search_trial_names_enrolled_speaker_or_best_impostor() -> None:
    people = draw_people(6, 2, noise=0.2)
    trials = gather_drawn(people, Task.IDENTIFICATION)
    assert (trials.same.sum(), (~trials.same).sum(), trials.gallery_size) == (12, 12, 5)
    vectors = np.array([one.embedding.vector for one in people], np.float64)
    speakers = np.array([one.row.speaker for one in people])
    for probe in range(12):  # of one clip each, so a person is the mean of two clips, or of the other one
        others = {}
        for name in np.unique(speakers):
            own = np.flatnonzero((speakers == name) & (np.arange(12) != probe))
            mean = vectors[own].mean(axis=0)
            others[name] = float(mean @ vectors[probe] / np.linalg.norm(mean))
        enrolled, absent = trials.take(np.array([2 * probe])), trials.take(np.array([2 * probe + 1]))
        assert enrolled.same[0] and enrolled.scores[0] == pytest.approx(others.pop(speakers[probe]), abs=1e-5)
        assert not absent.same[0] and absent.scores[0] == pytest.approx(max(others.values()), abs=1e-5)
        assert absent.people[0, 1] == max(others, key=lambda name: others[name])


def test_unnatural_motion_is_excluded_and_counted() -> None:
    people = draw_people(5, 2)
    frozen = [
        embed(one.row, one.embedding.vector, evidence=-9.0) if n in (0, 3) else one for n, one in enumerate(people)
    ]
    for task in (Task.VERIFICATION, Task.IDENTIFICATION):
        trials = gather_drawn(frozen, task)
        assert trials.n_abstained == 2 and trials.scores.min() > -1.5
        assert len(trials) < len(gather_drawn(people, task))


def test_manipulated_clips_are_excluded() -> None:
    people = draw_people(5, 2)
    forged = [embed(make_row(90 + n, f"p{n}", "s0", label="fake", method="swap"), np.ones(16)) for n in range(5)]
    plain, mixed = gather_drawn(people, Task.VERIFICATION), gather_drawn([*people, *forged], Task.VERIFICATION)
    assert np.array_equal(np.sort(plain.scores), np.sort(mixed.scores))


def test_same_session_pairs_are_kept_on_request() -> None:
    people = draw_people(4, 2, per_session=2)
    apart, together = (gather_drawn(people, Task.VERIFICATION, same_session=same) for same in (False, True))
    assert take(apart, "1 s").same.sum() == 4 * 4 and take(together, "1 s").same.sum() == 4 * 6


def test_no_samples_give_no_trials() -> None:
    alone = [replace(one, row=replace(one.row, session="s0")) for one in draw_people(1, 2)]
    trials = gather_drawn(alone, Task.IDENTIFICATION)
    assert len(trials) == 0 and trials.people.shape == (0, 2) and trials.qualities.shape == (0, 2)
