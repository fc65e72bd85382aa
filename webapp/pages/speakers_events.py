"""Event handlers of the Speakers tab, independent of the layout."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from engine.errors import EngineError
from engine.style.records import FaceEmbedding, choose_speaker
from gallery_db import records
from gallery_db.records import Basis, Consent, Enrolment, EnrolmentCheck, NewSample, Speaker
from gallery_db.speakers import clean_name
from gallery_db.text import clean
from webapp.analysis.gallery_queries import to_sample
from webapp.analysis.records import AnalysisRequest
from webapp.context import AppContext
from webapp.i18n import say
from webapp.jobs.records import Job, JobState, NewJob
from webapp.pages import analyse_events
from webapp.templates import fill
from webapp.views import speakers as views
from webapp.views.analysis import list_players


@dataclass(frozen=True, slots=True, eq=False)
class ClipState:
    """Analysis of one clip for enrolment."""

    job: Job
    face: FaceEmbedding | None  # None while the job is open, and for a clip that cannot be enrolled
    note: str  # shown to the user


@dataclass(frozen=True, slots=True)
class ConsentForm:
    """Consent fields of the form."""

    basis: str | None
    purpose: str
    term_days: float | None
    collector: str
    is_told: bool  # the consent notice was shown to the person
    release: str | None = None  # path of the signed release

    def sign(self) -> Consent:
        """Return the consent; raise EngineError that names the missing field."""
        if not self.is_told:
            raise EngineError("It is not confirmed that the notice was shown to the person.", "Tick that box.")
        if not self.basis or not self.purpose.strip() or not self.term_days:
            raise EngineError("The consent lacks its basis, its purpose or its term.", "Fill all three in.")
        release = None if self.release is None else _hash(Path(self.release))
        try:
            return Consent(
                Basis(self.basis),
                self.purpose,
                int(self.term_days),
                records.VERSION,
                self.collector,
                release_sha256=release,
            )
        except ValueError as cause:
            raise EngineError(f"The consent is not valid: {cause}.", "Correct the field; nothing was kept.") from cause


def list_rows(context: AppContext, text: str = "") -> list[list[Any]]:
    """Return the rows of the table."""
    return views.list_rows(context.gallery.speakers(), text, datetime.now(UTC))


def list_names(context: AppContext) -> list[str]:
    """Return all speaker names."""
    return [one.name for one in context.gallery.speakers()]


def show_speaker(context: AppContext, name: str | None) -> str:
    """Show one speaker, or how to choose one."""
    if not name:
        return fill("speakers.html", "nobody")
    return views.describe_speaker(context.gallery.speaker(name), context.gallery.samples(name), datetime.now(UTC))


def list_clips(context: AppContext, name: str | None) -> list[tuple[str, int]]:
    """Return (title, sample id) of the clips of a speaker."""
    samples = context.gallery.samples(name) if name else []
    return [(f"{one.id}: {clean(one.source_name)}", one.id) for one in samples]


def submit_clips(context: AppContext, owner: str, paths: Sequence[str]) -> list[str]:
    """Submit clips for enrolment and return the ids of their jobs."""
    if not paths:
        raise EngineError("No clip was chosen.", "Upload clips of the person speaking; two of 10 s are enough.")
    batch = f"enrol-{uuid4().hex}"
    new = [NewJob(owner, Path(path).name, AnalysisRequest(), Path(path), batch=batch) for path in paths]
    return [context.jobs.enqueue(one).id for one in new]


def read_clips(context: AppContext, ids: Sequence[str]) -> list[ClipState]:
    """Return the current state of each clip."""
    return [_read_clip(context, context.jobs.get(one)) for one in ids]


def show_players(clips: Sequence[ClipState]) -> str:
    """Show a player per clip."""
    return list_players([(analyse_events.address_input(one.job), clean(one.job.name)) for one in clips])


def show_table(clips: Sequence[ClipState]) -> str:
    """Show the clips as a table."""
    if not clips:
        return ""
    return views.describe_quality(
        [one.face for one in clips], [one.job.name for one in clips], [one.note for one in clips]
    )


def try_enrolment(
    context: AppContext, name: str, clips: Sequence[ClipState], session: str, allow_duplicate: bool
) -> EnrolmentCheck:
    """Check an enrolment without writing anything."""
    return context.gallery.admit(clean_name(name), take_samples(clips, session), allow_duplicate=allow_duplicate)


def enrol(
    context: AppContext, name: str, clips: Sequence[ClipState], session: str, form: ConsentForm, allow_duplicate: bool
) -> Enrolment:
    """Enrol all accepted clips in one transaction."""
    consent = form.sign()
    samples = take_samples(clips, session)
    return context.gallery.enrol(clean_name(name), samples, consent, allow_duplicate=allow_duplicate)


def take_samples(clips: Sequence[ClipState], session: str) -> list[NewSample]:
    """Return the samples of the accepted clips; raise EngineError if there is none, or a job is still open."""
    if any(one.job.state.is_open for one in clips):
        raise EngineError("Some clips have not been analysed yet.", "Wait until the table is complete.")
    samples = [to_sample(one.face, session) for one in clips if one.face is not None and not one.note]
    if not samples:
        raise EngineError("None of the clips can be enrolled.", "Upload clips and analyse them first.")
    return samples


def name_collector(owner: str) -> str:
    """Return the default collector of a consent."""
    if owner != "local":
        return owner
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def find_speaker(context: AppContext, name: str | None) -> Speaker:
    """Return the chosen speaker; raise EngineError if none is chosen."""
    if not name:
        raise EngineError("No person was chosen.", "Choose one from the list first.")
    return context.gallery.speaker(name)


def _read_clip(context: AppContext, job: Job) -> ClipState:
    if job.state.is_open:
        words = say("waiting") if job.state == JobState.QUEUED else f"{say('looking')}, {job.share:.0%}"
        return ClipState(job, None, words)
    if job.error is not None or job.state != JobState.DONE:
        return ClipState(job, None, clean(job.error.message) if job.error else say("cancelled"))
    found = context.jobs.read_result(job.id)
    if found.speakers_error is not None:
        return ClipState(job, None, f"{clean(found.speakers_error.message)} {clean(found.speakers_error.hint)}")
    try:
        face = choose_speaker(found.faces, lambda: found.analysis)
        to_sample(face)
    except EngineError as error:
        return ClipState(job, None, f"{clean(error.message)} {clean(error.hint)}")
    return ClipState(job, face, "")


def _hash(path: Path) -> str:
    from engine.weights.registry import hash_file

    return hash_file(path)
