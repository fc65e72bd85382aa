"""Events of the Analyse tab: jobs are submitted, followed, and shown to their owners."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from engine.consistency.methods import Method
from engine.errors import Code, EngineError
from engine.types import ClockSeam, MediaReport
from tests.engine.reports.test_lip_closures import make_report as make_lip_report
from tests.gallery_db.planted import enrol_people
from tests.webapp.jobs.samples import make_result, submit, write_file
from tests.webapp.pages.contexts import OWNER, finish_job
from tests.webapp.views.test_analysis import MEAN, Tags
from webapp.analysis.examples import EXAMPLES
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.context import AppContext
from webapp.jobs.records import JobState
from webapp.jobs.schema import JobRow
from webapp.pages import analyse_events
from webapp.pages.analyse_events import EVERYBODY, ONE, AnalyseForm
from webapp.views import jobs as job_views

ABOUT = AnalysisRequest(reason="case 12", speaker="Ada")


def test_every_file_is_a_job_and_the_link_one_more(context: AppContext, tmp_path: Path) -> None:
    paths = tuple(str(write_file(tmp_path, name, name.encode())) for name in ("a.mp4", "b.mp4"))
    jobs = analyse_events.submit(context, OWNER, AnalyseForm(paths, " https://example.org/talk ", None))
    assert [(job.name, job.url) for job in jobs] == [
        ("a.mp4", None),
        ("b.mp4", None),
        ("https://example.org/talk", "https://example.org/talk"),
    ]
    assert {job.state for job in jobs} == {JobState.QUEUED}
    assert [job.id for job in analyse_events.list_open(context, OWNER)] == [job.id for job in jobs]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (AnalyseForm(), "No video was chosen"),
        (AnalyseForm(("a.mp4",), whom=EVERYBODY, reason="  "), "needs a reason"),
        (AnalyseForm(("a.mp4",), whom=ONE), "No person was chosen"),
    ],
)
def test_a_form_that_lacks_something_is_refused_and_nothing_is_kept(
    context: AppContext, asked: AnalyseForm, words: str
) -> None:
    with pytest.raises(EngineError, match=words) as refused:
        analyse_events.submit(context, OWNER, asked)
    assert refused.value.hint
    assert context.jobs.list() == []


def test_only_what_is_asked_for_is_asked() -> None:
    form = AnalyseForm(method=Method().title, reason="case 12", speaker="Ada")
    assert form.to_request() == AnalysisRequest()
    assert replace(form, whom=EVERYBODY).to_request() == AnalysisRequest(reason="case 12")
    assert replace(form, whom=ONE).to_request() == AnalysisRequest(speaker="Ada")


def test_job_is_visible_only_to_its_owner(context: AppContext, tmp_path: Path) -> None:
    job = finish_job(context, tmp_path)
    assert analyse_events.find_job(context, OWNER, job.id) == job
    for owner, number in (("eve", job.id), (OWNER, "0" * 32), (OWNER, "../.."), (OWNER, None)):
        assert analyse_events.find_job(context, owner, number) is None
    assert analyse_events.list_recent(context, "eve") == [] and analyse_events.list_open(context, "eve") == []


def test_the_batches_are_not_offered_one_by_one(context: AppContext, tmp_path: Path) -> None:
    submit(context.jobs, tmp_path, owner=OWNER, batch="enrol-1")
    assert analyse_events.list_recent(context, OWNER) == [] and analyse_events.list_open(context, OWNER) == []


def test_job_status_is_shown_at_every_stage(context: AppContext, tmp_path: Path) -> None:
    job = submit(context.jobs, tmp_path, owner=OWNER)
    assert "Waiting for a free worker" in analyse_events.show_job(context, job)
    second = submit(context.jobs, tmp_path, "b.mp4", OWNER)
    assert "one job comes before" in analyse_events.show_job(context, second)
    context.jobs.lease("w")
    context.jobs.renew(job.id, "w", "faces", 0.37)
    running = analyse_events.show_job(context, context.jobs.get(job.id))
    assert "Following faces · 37%" in running and 'value="0.370"' in running
    context.jobs.fail(job.id, "w", Code.UNREADABLE_VIDEO(f"{MEAN} is a text.", "Choose <b>another</b>."))
    failed = Tags(analyse_events.show_job(context, context.jobs.get(job.id)))
    assert "is a text." in failed.text and "Choose <b>another</b>." in failed.text and "UNREADABLE_VIDEO" in failed.text
    assert "img" not in [tag for tag, _ in failed.found]
    assert "cancelled" in analyse_events.show_job(context, context.jobs.cancel(second.id))
    assert "Upload a talking-head clip" in analyse_events.show_job(context, None)


def test_a_job_that_is_done_is_shown_with_its_number(context: AppContext, tmp_path: Path) -> None:
    job = finish_job(context, tmp_path)
    words = analyse_events.show_job(context, job)
    assert f'data-job="{job.id}"' in words and "clip.mp4" in words and "SHA-256" in words


def test_the_script_is_given_the_clock_of_the_player(context: AppContext, tmp_path: Path) -> None:
    found = make_result()
    media = MediaReport(player_zero_s=1.5, seams=(ClockSeam(6.0, 6.0, 57.0),))
    job = finish_job(context, tmp_path, found=replace(found, analysis=replace(found.analysis, media=media)))
    words = analyse_events.show_job(context, job)
    assert 'data-zero="1.500" data-jumps="[[6.0, 51.0]]"' in words
    plain = analyse_events.show_job(context, finish_job(context, tmp_path))
    assert 'data-zero="0.000"' in plain and "data-jumps" not in plain


def test_both_results_are_shown_for_each_face(context: AppContext, tmp_path: Path) -> None:
    shown = analyse_events.read(context, finish_job(context, tmp_path, question=ABOUT))
    assert shown.found is not None
    first, second = (analyse_events.describe_speaker(context, shown, track) for track in shown.found.analysis.tracks)
    assert "1. Ada" in first[0] and "2. Ben" in first[0] and "Compared with Ada" in first[1]
    assert "1. Ben" in second[0] and "Ada" not in second[0]
    assert analyse_events.describe_others(context, shown, {0, 1}) == []
    assert len(analyse_events.describe_others(context, shown, {0})) == 2


def test_thumbnails_of_enrolled_speakers_are_shown(context: AppContext, tmp_path: Path) -> None:
    (number,) = enrol_people(context.gallery, [3])
    found = make_result()
    assert found.searches is not None
    candidate = replace(found.searches[0].candidates[0], speaker_id=number)
    search = replace(found.searches[0], candidates=(candidate,))
    found = replace(found, searches=(search, search), verifications=None)
    shown = analyse_events.read(context, finish_job(context, tmp_path, question=ABOUT, found=found))
    assert shown.found is not None
    (words,) = analyse_events.describe_speaker(context, shown, shown.found.analysis.tracks[0])
    assert words.count("data:image/jpeg;base64,") == 2 and "<video" not in words  # enrolled from elsewhere
    source = context.gallery.samples(number)[0].source_hash
    with context.jobs.database.write() as connection:
        connection.execute(update(JobRow).where(JobRow.id == shown.job.id).values(sha256=source))
    (words,) = analyse_events.describe_speaker(context, shown, shown.found.analysis.tracks[0])
    assert f'src="files/{shown.job.id}/input"' in words and "Watch their clips" in words


def test_reason_for_no_named_speaker_is_shown(context: AppContext, tmp_path: Path) -> None:
    plain = replace(make_result(), searches=None, verifications=None)
    shown = analyse_events.read(context, finish_job(context, tmp_path, found=plain))
    assert shown.found is not None
    assert (
        "Nobody was asked about" in analyse_events.describe_speaker(context, shown, shown.found.analysis.tracks[0])[0]
    )
    error = JobError("WEIGHTS_MISSING", "The file of the model is not there.", "Restore it.")
    lacking = replace(plain, faces=(), speakers_error=error)
    shown = analyse_events.read(context, finish_job(context, tmp_path, "b.mp4", ABOUT, lacking))
    assert shown.found is not None
    (words,) = analyse_events.describe_speaker(context, shown, shown.found.analysis.tracks[0])
    assert "Restore it." in words and "WEIGHTS_MISSING" in words


def test_examples_are_announced_as_such_and_other_files_are_not() -> None:
    assert "animated portrait" in analyse_events.show_upload(f"/somewhere/{EXAMPLES[0].file}")
    assert "animated portrait" not in analyse_events.show_upload("/somewhere/else.mp4")
    assert "No video chosen" in analyse_events.show_upload(None)
    assert "gradio_api/file=/tmp/a%20b/c%231.mp4" in analyse_events.show_upload("/tmp/a b/c#1.mp4")


def test_the_file_of_a_job_is_fetched_by_its_number_alone(context: AppContext, tmp_path: Path) -> None:
    job = finish_job(context, tmp_path)
    assert f'src="files/{job.id}/input"' in analyse_events.show_original(job)
    assert "No video chosen" in analyse_events.show_original(replace(job, sha256=None))


def test_what_a_job_left_can_be_fetched(context: AppContext, tmp_path: Path) -> None:
    job = finish_job(context, tmp_path)
    links = job_views.list_downloads(job)
    for name in ("result.json", "windows.csv", "report.html", "bundle.zip"):
        assert f'href="files/{job.id}/{name}"' in links
    assert "speakers.json" not in links
    assert "speakers.json" in job_views.list_downloads(replace(job, question=ABOUT))
    assert job_views.list_downloads(replace(job, state=JobState.RUNNING)) == ""


def test_a_name_cannot_carry_markup(context: AppContext, tmp_path: Path) -> None:
    job = replace(finish_job(context, tmp_path), name=MEAN)
    texts = [job_views.show_progress(job), job_views.show_failure(job), job_views.list_open([job])]
    for words in [*texts, analyse_events.show_original(job)]:
        assert "img" not in [tag for tag, _ in Tags(words).found]


def test_the_form_asks_for_lip_closures_only_where_it_is_ticked() -> None:
    assert AnalyseForm(("a.mp4",)).to_request().language is None
    assert AnalyseForm(("a.mp4",), sounds=True).to_request() == AnalysisRequest(language="en")


def test_lip_closures_are_offered_where_they_were_asked_for(context: AppContext, tmp_path: Path) -> None:
    found = replace(make_result(), articulations=(make_lip_report(),))
    asked = finish_job(context, tmp_path, question=AnalysisRequest(language="en"), found=found)
    assert "phonemes.json" in job_views.list_downloads(asked)
    assert "phonemes.json" not in job_views.list_downloads(finish_job(context, tmp_path, "other.mp4"))
