"""Records: what they compute, what they refuse, their life, and that nothing else comes out of a file."""

import ast
import hashlib
import json
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import numpy as np
import pytest

from engine.calibration import records
from engine.calibration.files import read_record, write_record
from engine.calibration.lengths import LengthBounds
from engine.calibration.records import (
    MAX_CHARS,
    Bounds,
    Calibration,
    CalibrationStatus,
    CalibratorKind,
    Logistic,
    Policy,
    Task,
    choose_current,
    from_json,
    seal,
    to_json,
)
from engine.errors import Code, FolderUnwritable
from tests.engine.calibration.drawn import RECIPE, draw_search, draw_trials, make_record
from tests.raising import raises


@pytest.fixture(scope="module")
def record() -> Calibration:
    return make_record()


@pytest.fixture(scope="module")
def search_record() -> Calibration:
    return make_record(draw_search())


def change(record: Calibration, **changes: object) -> str:
    """The JSON of a record with other values at the top."""
    return json.dumps(json.loads(to_json(record)) | changes)


def test_a_record_comes_back_from_its_file_as_it_was(
    record: Calibration, search_record: Calibration, tmp_path: Path
) -> None:
    isotonic = make_record(draw_trials(40, 6), kind=CalibratorKind.ISOTONIC)
    for one in (record, search_record, isotonic, record.approve("Bob")):
        write_record(one, tmp_path / "new" / "record.json")
        assert read_record(tmp_path / "new" / "record.json") == one
        assert to_json(from_json(to_json(one))) == to_json(one)


def test_ratios_rise_with_the_score_and_stay_within_the_bounds(record: Calibration) -> None:
    scores = np.linspace(-50, 50, 401)
    for quality in (-9.0, 1.5, 2.0, 9.0):
        llrs = record.llrs(scores, np.full((401, 1), quality), recipe=RECIPE, speech_s=np.full(401, 12.0))
        assert (np.diff(llrs) >= 0).all()
        assert (llrs[0], llrs[-1]) == (record.bounds.lower_llr, record.bounds.upper_llr)
    assert record.threshold_llr == record.policy.supported_llr


def test_scores_of_another_recipe_are_refused_with_both_named(record: Calibration) -> None:
    with raises(Code.RECIPE_MISMATCH, match=r"drawn-0123, these are of drawn-4567"):
        record.llrs(np.zeros(1), np.zeros((1, 1)), recipe="drawn-4567")
    with raises(Code.RECIPE_MISMATCH):
        record.check_recipe("")


def test_shapes_and_numbers_that_cannot_be_are_refused(record: Calibration) -> None:
    good = np.zeros((2, 1))
    for scores, qualities in ((np.zeros(2), None), (np.zeros(2), np.zeros((2, 2))), (np.zeros((2, 1)), good)):
        with pytest.raises(ValueError, match=r"expected \(N, 1\)"):
            record.llrs(scores, qualities)
    for scores, qualities in ((np.array([0, np.nan]), good), (np.zeros(2), np.array([[0], [np.inf]]))):
        with pytest.raises(ValueError, match="finite"):
            record.llrs(scores, qualities)
    assert record.llrs(np.zeros(0), np.zeros((0, 1)), speech_s=np.zeros(0)).shape == (0,)


def test_larger_gallery_lowers_the_ratio_and_smaller_does_not_raise_it(
    search_record: Calibration,
) -> None:
    scores, qualities = np.array([1.6]), np.full((1, 2), 2.0)
    llrs = {n: float(search_record.llrs(scores, qualities, gallery_size=n)[0]) for n in (0, 5, 35, 70, 350)}
    assert llrs[0] == llrs[5] == llrs[35] < search_record.bounds.upper_llr
    assert llrs[70] == pytest.approx(llrs[35] - np.log10(2)) and llrs[350] == pytest.approx(llrs[35] - 1)
    assert float(search_record.llrs(scores, qualities, gallery_size=10**9)[0]) == search_record.bounds.lower_llr


def test_a_search_of_another_task_has_no_gallery(record: Calibration) -> None:
    scores, qualities = np.array([1.6]), np.full((1, 1), 2.0)
    plain = record.llrs(scores, qualities, speech_s=np.array([7.0]))
    assert record.llrs(scores, qualities, speech_s=np.array([7.0]), gallery_size=10**6) == plain


BY_LENGTH = (LengthBounds(1.5, 4.0, -0.5, 1.0), LengthBounds(4.0, None, -1.0, 2.0))


def test_ratio_of_little_speech_is_never_beyond_the_bounds_of_its_length(record: Calibration) -> None:
    bounded = seal(replace(record, bounds=Bounds(-1.0, 2.0, "drawn"), bounds_by_length=BY_LENGTH))
    lengths_s = np.array([1.0, 1.5, 3.99, 4.0, 60.0])
    for score, wanted in ((50.0, [0.0, 1.0, 1.0, 2.0, 2.0]), (-50.0, [0.0, -0.5, -0.5, -1.0, -1.0])):
        llrs = bounded.llrs(np.full(5, score), np.full((5, 1), 2.0), speech_s=lengths_s)
        assert llrs.tolist() == wanted
    assert [bounded.bounds_at(seconds) for seconds in (1.0, 2.0, 4.0)] == [(0.0, 0.0), (-0.5, 1.0), (-1.0, 2.0)]
    with pytest.raises(ValueError, match="seconds of speech of every score are required"):
        bounded.llrs(np.zeros(2), np.zeros((2, 1)))


def test_record_with_one_pair_of_bounds_keeps_its_id_and_schema(search_record: Calibration) -> None:
    written = json.loads(to_json(search_record))
    assert written.pop("schema") == 1 and "bounds_by_length" not in written
    found = written.pop("id")
    assert found == hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()
    assert from_json(to_json(search_record)).id == search_record.id == found


def test_changed_bounds_of_a_length_are_refused(record: Calibration) -> None:
    written = json.loads(to_json(record))
    assert written["schema"] == 2
    written["bounds_by_length"][0]["upper_llr"] += 0.01
    with raises(Code.BAD_CALIBRATION, match="changed after it was sealed"):
        from_json(json.dumps(written))


def test_ranges_with_a_gap_or_beyond_the_bounds_of_the_record_are_refused(record: Calibration) -> None:
    with pytest.raises(ValueError, match="do not follow"):
        replace(
            record, bounds=Bounds(-1.0, 2.0, "x"), bounds_by_length=(BY_LENGTH[0], LengthBounds(5.0, None, 0.0, 0.0))
        )
    with pytest.raises(ValueError, match="beyond the bounds"):
        replace(record, bounds=Bounds(-1.0, 1.9, "x"), bounds_by_length=BY_LENGTH)


def test_its_author_cannot_approve_a_record_under_any_spelling(record: Calibration) -> None:
    for name in ("Ada", " ada ", "ADA", "", "  "):
        with raises(Code.BAD_CALIBRATION, match="cannot be approved by"):
            record.approve(name)


def test_each_status_change_is_a_new_record_naming_its_predecessor(record: Calibration) -> None:
    approved = record.approve("Bob")
    retired = approved.retire("a better one")
    assert [one.status for one in (record, approved, retired)] == ["draft", "approved", "retired"]
    assert len({record.id, approved.id, retired.id}) == 3
    assert (record.supersedes, approved.supersedes, retired.supersedes) == ("", record.id, approved.id)
    assert (retired.approver, retired.note) == ("Bob", "a better one")
    assert retired.parameters == record.parameters and retired.metrics == record.metrics
    for wrong in (lambda: approved.approve("Eve"), lambda: record.retire("x"), lambda: retired.retire("x")):
        with raises(Code.BAD_CALIBRATION, match="cannot be"):
            wrong()


def test_the_current_record_is_approved_superseded_by_none_and_of_that_recipe(record: Calibration) -> None:
    first = record.approve("Bob", "2026-01-01T00:00:00+00:00")
    draft = make_record(seed=1, version="1.1.0", supersedes=first.id)
    # a draft that names it does not take its place before it is approved itself
    second = draft.approve("Bob", "2026-02-01T00:00:00+00:00")
    other = make_record(replace(draw_trials(), recipe="other")).approve("Bob", "2027-01-01T00:00:00+00:00")
    assert choose_current([record, draft], Task.CONSISTENCY, RECIPE) is None
    assert choose_current([record, first, other], Task.CONSISTENCY, RECIPE) == first
    assert choose_current([record, first, draft, second, other], Task.CONSISTENCY, RECIPE) == second
    assert choose_current([other, second, draft, first], Task.CONSISTENCY, RECIPE) == second
    assert choose_current([record, first, first.retire("old")], Task.CONSISTENCY, RECIPE) is None
    assert choose_current([record, first], Task.VERIFICATION, RECIPE) is None


def test_an_older_approved_record_that_nothing_names_gives_way_to_a_newer_one(record: Calibration) -> None:
    older = record.approve("Bob", "2026-03-01T00:30:00+02:00")  # half past ten the evening before, in UTC
    newer = make_record(seed=1).approve("Bob", "2026-02-28T23:00:00+00:00")
    assert choose_current([newer, older], Task.CONSISTENCY, RECIPE) == newer


def test_a_record_that_was_changed_after_it_was_sealed_is_refused(record: Calibration) -> None:
    with raises(Code.BAD_CALIBRATION, match="changed after it was sealed"):
        from_json(change(record, note="better than it was"))
    with raises(Code.BAD_CALIBRATION, match="changed after it was sealed"):
        from_json(change(record, bounds={"lower_llr": -9.0, "upper_llr": 9.0, "method": "none"}))
    with pytest.raises(FrozenInstanceError):
        record.note = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stranger": 1}, "stranger: Unexpected keyword"),
        ({"schema": 3}, "schema 1"),
        ({"schema": 1}, "schema 1"),
        ({"bounds_by_length": []}, "schema 1"),
        ({"seed": True}, "seed: .* valid integer"),
        ({"seed": 1.5}, "seed: .* valid integer"),
        ({"seed": "0"}, "seed: .* valid integer"),
        ({"effective_prior": "0.5"}, "effective_prior: .* valid number"),
        ({"effective_prior": 1e999}, "effective_prior: .* finite number"),
        ({"task": "mind reading"}, "task: Input should be 'consistency'"),
        ({"parameters": {"scores": [0.0], "llrs": [1.0]}}, "logistic calibration with Isotonic"),
        ({"parameters": {"__reduce__": "os.system"}}, "parameters.*required"),
        ({"parameters": "import os"}, "parameters.* an object"),
        ({"metrics": {"cllr": 0.1}}, "metrics: .* valid array"),
        ({"bounds": {"lower_llr": 1.0, "upper_llr": 2.0, "method": ""}}, "do not include 0"),
        ({"bounds": {"lower_llr": "-1", "upper_llr": 2.0, "method": ""}}, r"bounds\.lower_llr: .* valid number"),
        ({"bounds": {"lower_llr": -1, "upper_llr": 2, "method": "", "x": 1}}, r"bounds\.x: Unexpected keyword"),
        ({"qualities": ["a", "b"]}, "2 qualities named, 1 fitted"),
        ({"author": " "}, "author"),
        ({"approver": "Bob"}, "approved by 'Bob'"),
        ({"status": "approved"}, "approved by ''"),
        ({"status": "approved", "approver": "ADA"}, "approved by 'ADA'"),
        ({"version": "newest"}, "version"),
        ({"manifest_sha256": "../../etc/passwd"}, "manifest"),
        ({"supersedes": "yesterday"}, "SHA-256"),
        ({"created": "2026-01-02T03:04:05"}, "zone"),
        ({"created": "yesterday"}, "isoformat"),
        ({"note": "x" * 30_000}, "note: .* at most 20000 characters"),
    ],
)
def test_a_file_with_anything_else_in_it_is_refused(record: Calibration, changes: dict, reason: str) -> None:
    with raises(Code.BAD_CALIBRATION, match=reason):
        from_json(change(record, **changes))


def test_missing_and_doubled_keys_numbers_that_are_none_and_what_is_no_record_are_refused(record: Calibration) -> None:
    found = json.loads(to_json(record))
    del found["bounds"]["method"]
    older = json.loads(to_json(record))
    del older["counts"]["gallery_size"]
    text = to_json(record)
    for broken, reason in (
        (json.dumps(found), r"bounds\.method: Field required"),
        (json.dumps(older), r"counts\.gallery_size: Field required"),
        (text.replace('"seed": 0', '"seed": 0, "seed": 0'), "'seed' is repeated"),
        (text.replace('"effective_prior": 0.5', '"effective_prior": NaN'), "effective_prior: .* finite number"),
        (text.replace('"effective_prior": 0.5', '"effective_prior": -Infinity'), "effective_prior: .* finite number"),
        (text.replace('"effective_prior": 0.5', '"effective_prior": 1e999'), "effective_prior: .* finite number"),
        ("[1, 2]", "schema"),
        ("", "Expecting value"),
        ("[" * 200_000, "recursion depth"),
        (" " * (MAX_CHARS + 1), "characters long"),
    ):
        assert broken != text
        with raises(Code.BAD_CALIBRATION, match=reason):
            from_json(broken)


def test_files_that_cannot_be_read_or_written_say_so(record: Calibration, tmp_path: Path) -> None:
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.json", "bytes.json"):
        with raises(Code.BAD_CALIBRATION, match=name):
            read_record(tmp_path / name)
    with pytest.raises(FolderUnwritable, match="cannot be written"):
        write_record(record, tmp_path / "bytes.json" / "record.json")


def test_numbers_of_numpy_are_plain_once_a_record_is_sealed(record: Calibration) -> None:
    bounds = Bounds(np.float64(-1.0), 2, "by hand")  # type: ignore[arg-type]
    sealed = seal(replace(record, bounds=bounds, bounds_by_length=()))
    assert type(sealed.bounds.lower_llr) is type(sealed.bounds.upper_llr) is float
    assert from_json(to_json(sealed)) == sealed


def test_zones_and_parameters_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="not below"):
        Policy(0.3, 0.3, 0.05, 0.05)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Policy(0.3, -0.3, 0.0, 0.05)


def test_the_status_and_the_approver_belong_together(record: Calibration) -> None:
    with pytest.raises(ValueError, match="approved by"):
        replace(record, status=CalibrationStatus.APPROVED)
    assert isinstance(record.parameters, Logistic)
    with pytest.raises(ValueError, match="isotonic calibration with Logistic"):
        replace(record, calibrator=CalibratorKind.ISOTONIC)


def test_a_record_says_nothing_of_any_one_person(record: Calibration) -> None:
    text = json.dumps(asdict(record))
    assert not any(name in text for name in set(draw_trials().people.ravel()))


def test_records_and_their_application_are_imported_without_torch_and_scikit_learn() -> None:
    room = Path(records.__file__).parent
    for name in ("__init__", "apply", "calibrators", "files", "records", "trials", "verbal_scale"):
        tree = ast.parse((room / f"{name}.py").read_text("utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        ours = {one for one in modules if one.startswith("engine")}
        assert ours <= {"engine.errors", "engine.json_fields", "engine.types"} | {
            f"engine.calibration.{one}"
            for one in ("calibrators", "files", "lengths", "qualities", "records", "trials", "verbal_scale")
        }, name
        assert not {"torch", "sklearn", "scipy"} & {one.split(".")[0] for one in modules}, name
