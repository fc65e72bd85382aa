"""Between the pictures of the calibration notebook: kept scores, records written and kept, figures as tables."""

from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.calibration.files import read_record
from engine.calibration.records import Task
from engine.calibration.trials import write_trials
from engine.errors import Code
from engine.evaluation.score_overview import summarise_trials
from engine.settings import Settings
from gallery_db.gallery import Gallery
from tests.engine.calibration.drawn import RECIPE, draw_search, draw_trials, make_record
from tests.raising import raises
from webapp.notebook.calibration import Sources, gather, keep_records, look_over, tabulate_metrics, tabulate_partings


def show(table: Table) -> str:
    shown = StringIO()
    Console(width=160, file=shown).print(table)
    return shown.getvalue()


def test_kept_scores_stand_in_for_a_manifest(tmp_path: Path) -> None:
    write_trials(draw_search(), tmp_path / "scores.json")
    sources = Sources("", str(tmp_path / "scores.json"), Task.IDENTIFICATION)
    trials, remark = gather(sources, Settings(tmp_path))
    assert (trials.task, trials.recipe, remark) == (Task.IDENTIFICATION, RECIPE, "")
    seen = look_over(sources, Settings(tmp_path))
    assert set(seen.scores) == {"same", "different"} and len(seen.scores["same"]) == trials.same.sum()
    with raises(Code.BAD_SCORES, match="for identification, not for consistency"):
        gather(Sources("", str(tmp_path / "scores.json"), Task.CONSISTENCY), Settings(tmp_path))


def test_a_draft_is_written_and_an_approved_record_where_somebody_approves_it(tmp_path: Path) -> None:
    record, settings = make_record(), Settings(tmp_path / "data")
    assert list(keep_records(record, "", tmp_path / "alone", None)) == [tmp_path / "alone" / "consistency-draft.json"]
    assert not settings.data_dir.exists()
    with raises(Code.BAD_CALIBRATION):
        keep_records(record, " ada ", tmp_path / "own", settings)  # its author
    assert not (tmp_path / "own").exists()
    written = keep_records(record, "Bob", tmp_path / "both", settings)
    assert [read_record(path) for path in written] == list(written.values())
    with Gallery.open(settings) as gallery:
        assert sorted(one.status for one in gallery.calibrations()) == ["approved", "draft"]


def test_tables_hold_every_figure_and_say_where_there_is_none() -> None:
    record = make_record()
    lines = show(tabulate_metrics(record)).splitlines()
    assert sum("cllr_cal" in line for line in lines) == len({one.condition for one in record.metrics})
    assert f"{record.metrics[0].value:.3f}" in "".join(lines)
    lengths = show(tabulate_partings(summarise_trials(draw_trials()).lengths, "length"))
    assert "whole" in lengths and "4 s" in lengths and "length" in lengths
