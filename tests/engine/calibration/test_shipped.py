"""The records that come with the program: whole, of its own weights, and as good as they must be to be of use."""

from pathlib import Path

import numpy as np
import pytest

from engine.calibration.apply import find_calibration
from engine.calibration.files import APPROVER, SHIPPED, find_broken_rules, list_shipped, read_record
from engine.calibration.qualities import QUALITIES, SpeechQuality
from engine.calibration.records import Calibration, CalibrationStatus, Metric, Task, seal, to_json
from engine.calibration.trials import THEMSELVES
from engine.calibration.verbal_scale import state
from engine.features.extractor import FeatureExtractor
from engine.motion.evidence import name_recipe
from engine.pipeline import Engine
from engine.settings import Settings
from engine.style.embedder import load_dynamics
from engine.training.consistency.train import SCORED_BY
from engine.training.style.validation import EMBEDDED_BY

DRAFTS = Path(__file__).parents[3] / "docs" / "calibration-drafts"
RECORDS = list_shipped()
APPROVED = {one.task: one for one in RECORDS if one.status == CalibrationStatus.APPROVED}


def find(record: Calibration, name: str, condition: str) -> Metric:
    return next(one for one in record.metrics if (one.name, one.condition) == (name, condition))


def test_an_approved_record_is_shipped_for_each_task_and_its_draft_stands_in_the_documents() -> None:
    assert len(RECORDS) == len(list(SHIPPED.iterdir())) == len(list(DRAFTS.iterdir())) == len(Task)
    drafts = {one.id: one for one in map(read_record, DRAFTS.iterdir()) if one.status == CalibrationStatus.DRAFT}
    assert set(APPROVED) == set(Task)
    for record in APPROVED.values():
        assert record.parameters == drafts[record.supersedes].parameters


@pytest.mark.parametrize(
    "path", sorted([*SHIPPED.iterdir(), *DRAFTS.iterdir()]), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_each_file_is_written_again_as_it_was_sealed(path: Path) -> None:
    record = read_record(path)
    assert to_json(record) == path.read_text("utf-8")
    assert seal(record).id == record.id


@pytest.mark.parametrize("task", Task)
def test_each_tells_its_population_and_was_approved_by_rules_that_it_keeps(task: Task) -> None:
    record = APPROVED[task]
    assert record.population and record.note and record.scored_by in (SCORED_BY, EMBEDDED_BY, THEMSELVES)
    assert record.approver == APPROVER != record.author
    assert not list(find_broken_rules(record))


def test_each_is_in_force_for_what_comes_with_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    engine = Engine.load(settings)
    assert (engine.calibration, engine.span_calibration) == (APPROVED[Task.CONSISTENCY], APPROVED[Task.SPANS])
    recipe = load_dynamics(settings).recipe
    for task in (Task.VERIFICATION, Task.IDENTIFICATION):
        assert find_calibration(task, recipe) == APPROVED[task]
    rows = FeatureExtractor.load(settings).recipe
    assert find_calibration(Task.SOURCE, name_recipe(rows)) == APPROVED[Task.SOURCE]


def test_they_are_read_once() -> None:
    assert list_shipped() is list_shipped()


def test_consistency_is_as_good_as_it_must_be() -> None:
    record = APPROVED[Task.CONSISTENCY]
    assert find(record, "cllr", "4 s").value <= 0.25 and find(record, "cllr", "2 s").value <= 0.45
    for condition in {one.condition for one in record.metrics}:
        assert find(record, "cllr_cal", condition).value <= 0.05
    assert find(record, "same_against", "all").value <= 0.02
    assert find(record, "same_inconclusive", "all").value <= 0.12
    scores, quality = np.array([-1.0, 0.15, 0.5, 1.0]), SpeechQuality(6.0, 150.0, 0.05)
    qualities = np.array([[QUALITIES[name](quality) for name in record.qualities]] * 4)
    llrs = record.llrs(scores, qualities, recipe=record.recipe, speech_s=np.full(4, 6.0))
    lower, upper = record.bounds_at(6.0)
    assert (np.diff(llrs) >= 0).all() and llrs[0] == lower and llrs[-1] <= upper
    assert record.bounds_at(2.0)[1] < upper
    assert "moderately strong" in state(float(llrs[-1]), record.task).text


def test_verification_is_as_good_as_it_must_be() -> None:
    record = APPROVED[Task.VERIFICATION]
    assert find(record, "cllr", "all").value < 0.5 and find(record, "cllr_cal", "all").value <= 0.05
    assert find(record, "different_lr_from_10", "all").value <= 0.1


def test_a_search_among_more_people_supports_less() -> None:
    record = APPROVED[Task.IDENTIFICATION]
    qualities = np.log([[10.0, 60.0]])
    few, many = (record.llrs(np.array([0.8]), qualities, gallery_size=size)[0] for size in (3, 30))
    assert few - many == pytest.approx(1.0)


def test_the_source_is_as_good_as_it_must_be() -> None:
    record = APPROVED[Task.SOURCE]
    assert find(record, "cllr", "all").value < 0.25 and find(record, "same_inconclusive", "5 s").value <= 0.15
    assert find(record, "different_supported", "all").value <= 0.002 and record.bounds.upper_llr > 3
    llrs = record.llrs(np.array([-4.0, 0.0, 4.0, 12.0]), np.log(np.array([[6.0, 40.0]] * 4)))
    assert (np.diff(llrs) >= 0).all() and llrs[0] < -1 and llrs[-1] == record.bounds.upper_llr
