"""Render jobs: progress, links, and the rows of the history."""

import base64
from collections.abc import Sequence
from typing import Any

from engine.fetch.fetch import MediaDescription
from engine.fetch.items import MediaItem
from engine.reports.media import describe_selection, read_judged
from engine.types import Analysis
from gallery_db.text import clean
from webapp.i18n import say
from webapp.jobs.records import Job, JobState
from webapp.templates import fill
from webapp.views.analysis import STEP_WORDS

SIGNS = {
    JobState.QUEUED: "…",
    JobState.RUNNING: "▶",
    JobState.DONE: "✔",
    JobState.FAILED: "✕",
    JobState.CANCELLED: "–",
    JobState.SET_ASIDE: "✕",
}
STATE_WORDS = {
    JobState.QUEUED: "waiting",
    JobState.RUNNING: "running",
    JobState.DONE: "done",
    JobState.FAILED: "not analysed",
    JobState.CANCELLED: "cancelled",
    JobState.SET_ASIDE: "set aside",
}
HEADERS = ("When", "File", "State", "Result", "Score", "Offset, s", "Part and sound", "Number")


def show_progress(job: Job, ahead: int = 0) -> str:
    """Show an open job as a progress bar with text; it goes on without the page."""
    if job.state == JobState.QUEUED:
        words = _wait(ahead)
    else:
        words = f"{say(STEP_WORDS.get(job.step, 'Beginning'))} · {job.share:.0%}"
        if job.left_s is not None:
            words = f"{words} · {describe_time_left(job.left_s)}"
    return fill("jobs.html", "progress", name=job.name, words=words, share=job.share)


def describe_time_left(left_s: float) -> str:
    """Return the estimated time left as text, coarser the longer it is."""
    if left_s < 50:
        return say("less than a minute left")
    if left_s < 90:
        return say("about a minute left")
    if left_s < 90 * 60:
        return say("about {n} minutes left", n=round(left_s / 60))
    return say("about {n} hours left", n=f"{left_s / 3600:.1f}")


def _wait(ahead: int) -> str:
    if ahead == 0:
        return say("Waiting for a free worker.")
    if ahead == 1:
        return say("Waiting; one job comes before this one.")
    return say("Waiting; {n} jobs come before this one.", n=ahead)


def show_failure(job: Job) -> str:
    """Show the error of a job and what to do."""
    if job.error is None:
        return fill("jobs.html", "cancelled")
    return fill(
        "macros.html",
        "error",
        title=say("The file was not analysed"),
        message=clean(job.error.message),
        hint=clean(job.error.hint),
        code=f"{job.error.code} · {clean(job.name)}",
    )


def describe_link(found: MediaDescription) -> str:
    """Show a site's description of its video, which is unverified."""
    length = say("{s} s long", s=f"{found.duration_s:.0f}") if found.duration_s else say("length not told")
    words = f"{length} · {clean(found.extractor)}"
    language = clean(found.language) or say("not stated")
    others = [clean(str(one)) for one in found.offered if one.format_id not in found.format_id.split("+")]
    picture = base64.b64encode(found.thumbnail).decode()
    return fill(
        "jobs.html",
        "link",
        title=found.title,
        words=words,
        kind=found.thumbnail_type,
        picture=picture,
        language=language,
        others=others,
    )


def describe_items(items: Sequence[MediaItem]) -> str:
    """List the videos of a link with several, one of which has to be chosen."""
    return fill("jobs.html", "items", names=[clean(one.name) for one in items])


def list_open(jobs: Sequence[Job]) -> str:
    """List the open jobs, one per line."""
    return fill("jobs.html", "open", jobs=[(job, SIGNS[job.state], _describe_open(job)) for job in jobs])


def _describe_open(job: Job) -> str:
    if job.state != JobState.RUNNING:
        return name_state(job)
    left = [] if job.left_s is None else [describe_time_left(job.left_s)]
    return ", ".join([name_state(job), f"{job.share:.0%}", *left])


def list_rows(jobs: Sequence[tuple[Job, Analysis | None]]) -> list[list[Any]]:
    """Return the rows of the history, each with the result of the first scored face."""
    return [
        [
            _time(job),
            clean(job.name),
            f"{SIGNS[job.state]} {name_state(job)}",
            *_found(job, report),
            name_part(job, report),
            job.id,
        ]
        for job, report in jobs
    ]


def name_state(job: Job) -> str:
    """Return the state of a job as text."""
    return say(STATE_WORDS[job.state])


def name_job(job: Job) -> str:
    """Return the title of a job in a list."""
    part = describe_selection(job.question.selection)
    return f"{clean(job.name)}{f' · {part}' if part else ''} · {name_state(job)} · {job.created_at:%m-%d %H:%M}"


def name_part(job: Job, report: Analysis | None) -> str:
    """Return what of the recording was judged in a few characters, or what is asked for while there is no result."""
    if report is None or report.media.to_s is None:
        return describe_selection(job.question.selection)
    return describe_selection(read_judged(report.media))


def list_downloads(job: Job) -> str:
    """Show links to the files of a finished job; they work for the owner while the job exists."""
    if job.state != JobState.DONE:
        return ""
    names = [
        ("result.json", "Report (JSON)"),
        *([("speakers.json", "Who speaks (JSON)")] if job.question.is_about_speakers else []),
        *([("phonemes.json", "Speech sounds (JSON)")] if job.question.language else []),
        ("windows.csv", "Timeline (CSV)"),
        ("report.html", "Printable report"),
        ("bundle.zip", "Evidence bundle (ZIP, signed)"),
    ]
    return fill("jobs.html", "downloads", id=job.id, files=[(name, say(text)) for name, text in names])


def _found(job: Job, report: Analysis | None) -> list[Any]:
    if report is None:
        return [job.error.code if job.error else "", "", ""]
    reasons = ", ".join(report.reasons)
    words = f"{report.status}{f': {reasons}' if reasons else ''}"
    for found in (track.consistency for track in report.tracks):
        if found.score is not None and found.offset_s is not None:
            return [words, f"{found.score:.3f}", f"{found.offset_s:+.2f}"]
    return [words, "", ""]


def _time(job: Job) -> str:
    return f"{job.created_at:%Y-%m-%d %H:%M}"
