"""The tabs History and Calibration: rows, comparison, which record is in force and who approved it."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.calibration.files import read_record
from engine.calibration.records import CalibrationStatus, Task
from engine.errors import Code, EngineError
from engine.types import MediaReport, MediaSelection
from tests.fakes import make_analysis, make_report
from tests.webapp.jobs.samples import make_result, submit
from tests.webapp.pages.contexts import OWNER, finish_job
from tests.webapp.views.test_analysis import MEAN, Tags
from webapp.analysis.records import AnalysisRequest
from webapp.context import AppContext
from webapp.pages import about, calibration, history
from webapp.pages import history as comparing
from webapp.views import jobs as job_views
from webapp.views.plots import plot_comparison, plot_metrics

DRAFTS = Path(__file__).parents[3] / "docs" / "calibration-drafts"


def test_history_lists_result_of_every_job(context: AppContext, tmp_path: Path) -> None:
    done = finish_job(context, tmp_path)
    failed = submit(context.jobs, tmp_path, "bad.mp4", OWNER)
    context.jobs.lease("w")
    context.jobs.fail(failed.id, "w", Code.UNREADABLE_VIDEO("It is a text.", "Choose a video."))
    jobs = context.jobs.list(OWNER)
    rows = job_views.list_rows([(job, history.read_report(context, job)) for job in jobs])
    assert [row[-1] for row in rows] == [failed.id, done.id]
    assert rows[0][1:6] == ["bad.mp4", "✕ not analysed", "UNREADABLE_VIDEO", "", ""]
    assert rows[1][1:3] == ["clip.mp4", "✔ done"] and rows[1][4:6] == ["0.400", "+0.08"]
    assert len(rows[0]) == len(job_views.HEADERS)


def test_history_names_what_of_the_recording_was_judged(context: AppContext, tmp_path: Path) -> None:
    asked = AnalysisRequest(selection=MediaSelection(60.0, 75.5, channel="FL"))
    made = make_result("a.mp4")
    media = MediaReport(from_s=60.0, to_s=75.52, audio_track=2, channel="FL", rotation_deg=90)
    judged = replace(made, analysis=replace(made.analysis, media=media))
    done = finish_job(context, tmp_path, "a.mp4", asked, judged)
    old = finish_job(context, tmp_path, "c.mp4")  # a report of an earlier version
    waiting = submit(context.jobs, tmp_path, "b.mp4", OWNER, question=asked)
    column = job_views.HEADERS.index("Part and sound")
    rows = job_views.list_rows([(job, history.read_report(context, job)) for job in (done, waiting, old)])
    assert {row[-1]: row[column] for row in rows} == {
        done.id: "0:01:00–0:01:15.5 · #2 · FL", waiting.id: "0:01:00–0:01:15.5 · FL", old.id: "",
    }  # fmt: skip
    assert "0:01:00–0:01:15.5" in job_views.name_job(done)
    text = Tags(comparing.describe([done, old], [judged.analysis, made.analysis])).text
    assert "the pictures were turned by 90° clockwise" in text and "left channel (FL)" in text


@pytest.mark.parametrize(
    ("left_s", "words"),
    [(0.0, "less than a minute left"), (70.0, "about a minute left"), (600.0, "about 10 minutes left"),
     (9000.0, "about 2.5 hours left")],
)  # fmt: skip
def test_progress_shows_the_time_left(context: AppContext, tmp_path: Path, left_s: float, words: str) -> None:
    job = submit(context.jobs, tmp_path, "a.mp4", OWNER)
    context.jobs.lease("w")
    context.jobs.renew(job.id, "w", "faces", 0.4, left_s)
    running = context.jobs.get(job.id)
    assert f"40% · {words}" in Tags(job_views.show_progress(running)).text
    assert f"running, 40%, {words}" in Tags(job_views.list_open([running])).text


def test_a_report_that_is_gone_leaves_the_row(context: AppContext, tmp_path: Path) -> None:
    job = finish_job(context, tmp_path)
    (context.jobs.folder(job.id) / "result.json").unlink()
    assert history.read_report(context, job) is None
    assert job_views.list_rows([(job, None)])[0][1] == "clip.mp4"


def test_two_analyses_stand_side_by_side(context: AppContext, tmp_path: Path) -> None:
    jobs = [finish_job(context, tmp_path, name) for name in ("a.mp4", "b.mp4")]
    first = make_analysis(make_report(0.2), make_report(None), name="a.mp4")
    second = replace(make_analysis(make_report(0.6, 3), name=MEAN), recipe="another")
    text = Tags(comparing.describe(jobs, [first, second])).text
    assert "0.200" in text and "0.600" in text and "+0.12 s" in text and "not on one scale" in text
    assert "img" not in [tag for tag, _ in Tags(comparing.describe(jobs, [first, second])).found]
    assert "not on one scale" not in comparing.describe(jobs, [first, first])
    lines = comparing.list_timelines(jobs, [first, second])
    assert [name for name, _ in lines] == ["A: a.mp4", "B: b.mp4"]
    assert [trace.name for trace in plot_comparison(lines).data] == ["A: a.mp4", "B: b.mp4"]
    assert comparing.list_timelines(jobs, [make_analysis(make_report(None))] * 2) == []


def test_the_records_that_come_with_the_program_are_in_force(context: AppContext) -> None:
    records, in_force = calibration.list_records(context), calibration.find_in_force(context)
    used = [one for one in records if one.id in in_force]
    assert {one.task for one in used} == set(Task)
    assert {one.status for one in used} == {CalibrationStatus.APPROVED}
    assert all(one.author != one.approver for one in used)
    rows = calibration.list_rows(records, in_force)
    assert sum(row[3] == "✔" for row in rows) == len(Task) and all(len(row) == len(calibration.HEADERS) for row in rows)


def test_a_record_is_described_with_what_it_is_worth(context: AppContext) -> None:
    for record in calibration.list_records(context):
        words = calibration.describe(record)
        assert record.population[:20] in Tags(words).text and record.manifest_sha256 in words
        assert len(plot_metrics(record.metrics).data[0].x) >= 5


def test_a_retired_record_judges_no_more_and_is_kept(context: AppContext) -> None:
    (old,) = [
        one
        for one in calibration.list_records(context)
        if one.id in calibration.find_in_force(context) and one.task == Task.CONSISTENCY
    ]
    retired = old.retire("other clips")
    calibration.keep_record(context, retired, old.id)
    assert calibration.find_in_force(context).isdisjoint({old.id, retired.id})
    assert {old.id, retired.id} <= {one.id for one in calibration.list_records(context)}


def test_the_author_cannot_approve(context: AppContext) -> None:
    context.gallery.keep_calibration(read_record(DRAFTS / "consistency.json"))
    (draft,) = [
        one
        for one in calibration.list_records(context)
        if one.status == CalibrationStatus.DRAFT and one.task == Task.CONSISTENCY
    ]
    with pytest.raises(EngineError):
        draft.approve(draft.author)
    approved = draft.approve("Grace")
    calibration.keep_record(context, approved, draft.id)
    assert approved.id in calibration.find_in_force(context)
    with pytest.raises(EngineError, match="No record was chosen"):
        calibration.find_record(context, "nothing")


def test_about_names_models_licences_and_limits(context: AppContext) -> None:
    text = Tags(about.list_models(context)).text
    assert "compact" in text and "dynamics" in text and "non-commercial research alone" in text and "MIT" in text
    assert "Match does not prove authenticity" in about._list_limits()
    assert "torch" in about.list_findings(context)


def test_the_fixture_is_what_the_history_shows() -> None:
    assert len(make_result().analysis.tracks) == 2
