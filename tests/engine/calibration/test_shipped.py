"""The records that come with the program: whole, of its own weights, and as good as they must be to be of use."""

import numpy as np
import pytest

from engine import weights
from engine.calibration.bands import state
from engine.calibration.files import SHIPPED, list_shipped
from engine.calibration.records import Calibration, CalibrationStatus, Metric, Task

RECORDS = {f"{one.task} {one.version}": one for one in list_shipped()}


def find(record: Calibration, name: str, condition: str) -> Metric:
    return next(one for one in record.metrics if (one.name, one.condition) == (name, condition))


def test_the_folder_holds_records_and_nothing_else() -> None:
    assert RECORDS and len(RECORDS) == len(list(SHIPPED.iterdir()))


@pytest.mark.parametrize("name", RECORDS)
def test_each_tells_its_population_and_is_a_draft_or_approved_by_another(name: str) -> None:
    record = RECORDS[name]
    assert record.population and record.note and record.counts.people >= 20
    assert record.status == CalibrationStatus.DRAFT or record.approver.casefold() != record.author.casefold()


def test_consistency_is_calibrated_for_the_weights_that_come_with_it() -> None:
    record = next(one for one in RECORDS.values() if one.task == Task.CONSISTENCY)
    assert weights.read_sidecar(weights.SHIPPED / "compact.safetensors")["recipe"] in record.recipe
    assert find(record, "cllr", "4 s").value < 0.4
    for k in (10, 100):
        low = find(record, f"different_lr_from_{k}", "all").low
        assert low is not None and low <= 1 / k
    assert find(record, "same_inconclusive", "all").value <= 0.15
    llrs = record.llrs(np.array([-1.0, 0.15, 0.5, 1.0]), np.full((4, 1), np.log(6.0)), recipe=record.recipe)
    assert (np.diff(llrs) >= 0).all() and llrs[0] == record.bounds.lower_llr and llrs[-1] <= record.bounds.upper_llr
    assert "moderately strong" in state(float(llrs[-1]), record.task).text
