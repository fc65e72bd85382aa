"""Calibrations: stored unchanged, used by searches, named by results, immutable once approved."""

from dataclasses import replace

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from engine.calibration.apply import find_calibration
from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, choose_current, seal
from engine.errors import Code
from gallery_db.gallery import Gallery
from gallery_db.schema import CalibrationRow
from tests.engine.calibration.drawn import draw_search, make_record
from tests.gallery_db.planted import REASON, RECIPE, draw_person, embed, enrol_people, make_consent
from tests.raising import raises


@pytest.fixture(scope="module")
def draft() -> Calibration:
    return seal(replace(make_record(draw_search()), id="", recipe=RECIPE, author="Ada"))


def test_records_are_read_back_as_they_were_and_the_current_one_is_found(gallery: Gallery, draft: Calibration) -> None:
    approved = draft.approve("Grace")
    with raises(Code.BAD_CALIBRATION, match="supersedes"):
        gallery.keep_calibration(approved)
    gallery.keep_calibration(draft)
    with raises(Code.BAD_CALIBRATION, match="already"):
        gallery.keep_calibration(draft)
    assert choose_current(gallery.calibrations(), draft.task, RECIPE) is None
    gallery.keep_calibration(approved)
    assert set(gallery.calibrations()) == {draft, approved}
    assert choose_current(gallery.calibrations(), draft.task, RECIPE) == approved
    gallery.keep_calibration(approved.retire("superseded"))
    assert choose_current(gallery.calibrations(), draft.task, RECIPE) is None


def test_what_comes_with_the_program_can_be_retired_here(gallery: Gallery) -> None:
    shipped = next(one for one in list_shipped() if one.is_approved)
    gallery.keep_calibration(shipped.retire("not for our cameras"))
    assert sorted(one.status for one in gallery.calibrations()) == ["approved", "retired"]
    assert find_calibration(shipped.task, shipped.recipe) == shipped
    assert find_calibration(shipped.task, shipped.recipe, gallery.calibrations()) is None


def test_a_kept_record_judges_a_search_that_names_it(gallery: Gallery, draft: Calibration) -> None:
    gallery.keep_calibration(draft)
    gallery.keep_calibration(draft.approve("Grace"))
    record = next(one for one in gallery.calibrations() if one.approver)
    enrol_people(gallery, [1])
    probe = embed(draw_person(1), 50)
    assert record.qualities == ("log probe seconds", "log enrolled seconds")
    found = gallery.search(probe, reason=REASON, calibration=record)
    assert found.calibration_id == record.id
    llr = found.candidates[0].llr
    assert llr is not None
    assert record.bounds.lower_llr <= llr <= record.bounds.upper_llr
    assert found.is_supported == (llr >= record.threshold_llr)


def test_an_approved_one_is_never_changed(gallery: Gallery) -> None:
    row = {
        "id": "c1",
        "version": "1.0.0",
        "task": "identification",
        "status": "draft",
        "recipe": "r",
        "record": {"slope": 1.0},
        "code_version": "1",
        "seed": 0,
        "author": "Ada",
        "valid_from": make_consent().given_at,
    }
    with gallery.database.write() as connection:
        connection.execute(insert(CalibrationRow).values(row))
    with pytest.raises(IntegrityError), gallery.database.write() as connection:
        connection.execute(update(CalibrationRow).values(status="approved", approver="Ada"))
    with gallery.database.write() as connection:
        connection.execute(update(CalibrationRow).values(status="approved", approver="Grace"))
    for change in (update(CalibrationRow).values(status="retired"), delete(CalibrationRow)):
        with pytest.raises(DBAPIError, match="sealed"), gallery.database.write() as connection:
            connection.execute(change)
