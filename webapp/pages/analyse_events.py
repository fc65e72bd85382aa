"""Event handlers of the Analyse tab: submit jobs, follow them, show their results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from engine.consistency.methods import Method
from engine.errors import EngineError
from engine.types import TrackReport
from gallery_db.records import StoredSample
from gallery_db.text import clean
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.examples import EXAMPLES
from webapp.analysis.records import AnalysisRequest
from webapp.context import AppContext
from webapp.i18n import say
from webapp.jobs.records import Job, JobState, NewJob
from webapp.pages.part import PartForm
from webapp.templates import fill
from webapp.views import analysis as views
from webapp.views import identification as who_views
from webapp.views import jobs as job_views

NOBODY, EVERYBODY, ONE = "nobody", "everybody", "one"
NO_PART = PartForm()
RECENT = 25  # number of recent jobs to choose from


@dataclass(frozen=True, slots=True)
class AnalyseForm:
    """Form fields of the Analyse tab."""

    paths: tuple[str, ...] = ()
    url: str = ""
    method: str | None = None
    whom: str = NOBODY
    reason: str = ""
    speaker: str | None = None
    sounds: bool = False  # compare lip closures with English phonemes
    part: PartForm = NO_PART
    source: str | None = None  # id of a job: without a file or link, its recording is analysed again
    item: int = 0  # number of the video at a link with several; 0: not chosen

    @property
    def recordings(self) -> tuple[str, ...]:
        """Paths and link to analyse; without any, the id of the job that is analysed again."""
        url = self.url.strip()
        new = (*self.paths, url) if url else self.paths
        return new or ((self.source,) if self.source else ())

    def to_request(self) -> AnalysisRequest:
        """Return the request; raise EngineError if a field is missing.

        A part and an audio track are chosen for the previewed recording; any other is analysed whole.
        """
        if self.whom == EVERYBODY and not self.reason.strip():
            raise EngineError(
                "A search among all enrolled speakers needs a reason.",
                "Write a case number or the like, but no name: it is kept on record.",
            )
        if self.whom == ONE and not self.speaker:
            raise EngineError("No person was chosen to compare with.", "Choose one from the list.")
        part = self.part if self.recordings == (self.part.of,) else PartForm(channel=self.part.channel)
        return AnalysisRequest(
            method=self.method or Method().title,
            reason=self.reason.strip() if self.whom == EVERYBODY else None,
            speaker=self.speaker if self.whom == ONE else None,
            language="en" if self.sounds else None,
            selection=part.to_selection(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ShownJob:
    """A job with its result, if there is one."""

    job: Job
    found: AnalysisResult | None = None


def submit(context: AppContext, owner: str, asked: AnalyseForm) -> list[Job]:
    """Queue one job per file, or one for the link or for the recording of a job; raise EngineError without any."""
    question = asked.to_request()
    url = asked.url.strip()
    source = find_job(context, owner, asked.source)
    if source is not None and not asked.paths and not url:
        return [context.jobs.rerun(source.id, question)]
    if not asked.paths and not url:
        raise EngineError(
            "No video was chosen.", "Upload a file, paste a link, or take an example; then press Analyse."
        )
    new = [NewJob(owner, Path(path).name, question, Path(path)) for path in asked.paths]
    if url:
        new.append(NewJob(owner, url, question, url=url, item=asked.item))
    return [context.jobs.enqueue(one) for one in new]


def list_recent(context: AppContext, owner: str) -> list[tuple[str, str]]:
    """Return (title, id) of the owner's recent jobs, without batches."""
    jobs = [job for job in context.jobs.list(owner, limit=4 * RECENT) if job.batch is None][:RECENT]
    return [(job_views.name_job(job), job.id) for job in jobs]


def list_open(context: AppContext, owner: str) -> list[Job]:
    """Return the owner's open jobs, oldest first."""
    states = [JobState.QUEUED, JobState.RUNNING]
    return [job for job in reversed(context.jobs.list(owner, states)) if job.batch is None]


def find_job(context: AppContext, owner: str, number: str | None) -> Job | None:
    """Return the owner's job; None if there is none with this id, or it is another user's."""
    if not number:
        return None
    try:
        job = context.jobs.get(number)
    except EngineError:
        return None
    return job if job.owner == owner else None


def read(context: AppContext, job: Job) -> ShownJob:
    """Read the result of a finished job."""
    return ShownJob(job, context.jobs.read_result(job.id) if job.state == JobState.DONE else None)


def show_job(context: AppContext, job: Job | None) -> str:
    """Show the progress of a job, its result for the whole clip, or its error."""
    if job is None:
        return views.welcome()
    media = None
    if job.state.is_open:
        words = job_views.show_progress(job, context.jobs.count_ahead(job.id))
    elif job.state == JobState.DONE:
        analysis = context.jobs.read_result(job.id).analysis
        words, media = views.describe_analysis(analysis), analysis.media
    else:
        words = job_views.show_failure(job)
    return fill("pages.html", "job", id=job.id, words=words, media=media)


def describe_speaker(context: AppContext, shown: ShownJob, track: TrackReport) -> list[str]:
    """Show the speaker result of one face, or why there is none."""
    assert shown.found is not None
    places = [place for place, face in enumerate(shown.found.faces) if face.face == track.id]
    if not shown.found.faces or shown.found.speakers_error or not shown.job.question.is_about_speakers:
        return [who_views.describe_absence(shown.job.question, shown.found.speakers_error)]
    return [words for place in places for words in _describe_place(context, shown.job.owner, shown.found, place)]


def describe_others(context: AppContext, shown: ShownJob, with_track: set[int]) -> list[str]:
    """Show the speaker results of faces without a track in the analysis."""
    assert shown.found is not None
    places = [place for place, face in enumerate(shown.found.faces) if face.face not in with_track]
    return [words for place in places for words in _describe_place(context, shown.job.owner, shown.found, place)]


def show_upload(path: str | None) -> str:
    """Show the chosen file, with the known truth of an example."""
    if not path:
        return views.show_player(None)
    captions = {example.file: say(example.caption) for example in EXAMPLES}
    return views.show_player(f"gradio_api/file={quote(path, safe='/')}", captions.get(Path(path).name, ""))


def show_original(job: Job) -> str:
    """Show the file of a job, if it exists."""
    if job.sha256 is None:
        return views.show_player(None)
    return views.show_player(address_input(job), clean(job.name))


def address_input(job: Job) -> str:
    """Return the URL of a job's file, which only its owner can open."""
    return f"files/{job.id}/input"


def _describe_place(context: AppContext, owner: str, found: AnalysisResult, place: int) -> list[str]:
    face = found.faces[place]
    words = []
    if found.searches is not None:
        search = found.searches[place]
        words.append(
            who_views.describe_search(
                search, face, lambda who: _list_samples(context, who), lambda one: _find_clip(context, owner, one)
            )
        )
    if found.verifications is not None:
        words.append(who_views.describe_verification(found.verifications[place], face))
    return words


def _find_clip(context: AppContext, owner: str, sample: StoredSample) -> str | None:
    """Return the URL of the clip of a sample, if the owner submitted it and has not deleted it."""
    jobs = context.jobs.list(owner=owner, text=sample.source_hash, limit=1)
    return address_input(jobs[0]) if jobs else None


def _list_samples(context: AppContext, speaker_id: int) -> Sequence[StoredSample]:
    try:
        return context.gallery.samples(speaker_id)
    except EngineError:  # erased since, or merged into another
        return ()
