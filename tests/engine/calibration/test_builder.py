"""Draft records: parameters of all trials, metrics of held-out ones, zones from target error rates, determinism."""

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.calibration.builder import LEAST_LLR, DraftOptions, choose_qualities, draft
from engine.calibration.fitting import fit
from engine.calibration.records import CalibrationStatus, Metric, to_json
from engine.errors import Code
from tests.engine.calibration.drawn import MANIFEST, RECIPE, draw_search, draw_trials, make_record
from tests.raising import raises


def find(metrics: tuple[Metric, ...], name: str) -> Metric:
    return next(one for one in metrics if (one.name, one.condition) == (name, "all"))


def test_a_draft_tells_what_it_is_of_and_who_made_it() -> None:
    trials = draw_trials()
    record = make_record(trials, note="of drawn clips", version="2.0.1")
    assert (record.recipe, record.manifest_sha256, record.scored_by) == (RECIPE, MANIFEST, "a pencil")
    assert (record.author, record.approver, record.status) == ("Ada", "", CalibrationStatus.DRAFT)
    assert (record.version, record.note, record.effective_prior) == ("2.0.1", "of drawn clips", 0.5)
    counts = record.counts
    assert (counts.same, counts.different) == (trials.same.sum(), (~trials.same).sum())
    assert (counts.people, counts.sources, counts.clips, counts.abstained) == (36, 12, 72, 3)


def test_parameters_are_of_all_trials_and_figures_of_held_out_ones() -> None:
    trials = draw_trials()
    made = draft(trials, DraftOptions("Ada", resamples=20))
    fitted = fit(trials)
    assert (made.record.parameters, made.record.bounds) == (fitted.parameters, fitted.bounds)
    assert not np.allclose(made.held.llrs, fitted.llrs(trials), atol=1e-6)
    assert np.allclose(made.held.llrs, fitted.llrs(trials), atol=1.2)
    llrs = made.record.llrs(trials.scores, trials.qualities, recipe=RECIPE, speech_s=trials.speech_s)
    assert llrs == pytest.approx(fitted.llrs(trials))


def test_the_same_trials_and_options_give_the_same_bytes() -> None:
    assert to_json(make_record(seed=5)) == to_json(make_record(seed=5))
    other = json.loads(to_json(make_record(created="2027-01-01T00:00:00+00:00")))
    first = json.loads(to_json(make_record()))
    assert {name for name in first if first[name] != other[name]} == {"id", "created"}


def test_zones_meet_target_rates_on_held_out_trials() -> None:
    trials = draw_trials(20, 5, gap=2.0)
    for rate in (0.05, 0.2):
        record = make_record(trials, false_support=rate, false_against=rate / 2)
        assert find(record.metrics, "different_supported").value <= rate
        assert find(record.metrics, "same_against").value <= rate / 2
        assert record.policy.supported_llr >= LEAST_LLR and record.policy.against_llr <= -LEAST_LLR
    assert find(record.metrics, "different_supported").value > 0.02  # and no more careful than was asked for


def test_genuine_speech_is_called_against_in_one_of_fifty_by_default() -> None:
    assert make_record(false_against=None).policy.false_against == 0.02
    assert make_record(draw_search(), false_against=None).policy.false_against == 0.05


def test_a_zone_that_so_few_trials_cannot_back_is_out_of_reach() -> None:
    record = make_record(false_against=0.001)
    assert record.policy.against_llr < record.bounds.lower_llr
    assert find(record.metrics, "same_against").value == find(record.metrics, "different_against").value == 0.0


def test_qualities_are_those_of_the_task_unless_others_are_asked_for() -> None:
    trials = draw_trials()
    both = replace(
        trials,
        quality_names=(*trials.quality_names, "log face size"),
        qualities=np.column_stack([trials.qualities, np.random.default_rng(0).normal(5, 0.5, len(trials))]),
    )
    assert make_record(both).qualities == trials.quality_names
    assert make_record(both, qualities=("log face size",)).qualities == ("log face size",)
    assert make_record(both, qualities=()).qualities == ()
    assert choose_qualities(both, ("log face size",)) == ("log face size",)
    with raises(Code.BAD_SCORES, match="no quality loudness"):
        make_record(both, qualities=("loudness",))


def test_real_clips_are_kept_for_p_values_of_consistency_alone() -> None:
    trials = draw_trials()
    record = make_record(trials)
    assert record.conformal is not None
    kept = [score for stratum in record.conformal.strata for score in stratum.scores]
    assert set(kept) <= set(trials.scores[trials.same])
    assert all(len(stratum.scores) <= 36 for stratum in record.conformal.strata)
    assert make_record(trials, qualities=()).conformal == record.conformal  # with any calibrator
    assert make_record(draw_search()).conformal is None


def test_calibration_without_author_is_refused() -> None:
    with raises(Code.BAD_SCORES, match="needs an author"):
        make_record(author="  ")
