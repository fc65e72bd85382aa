"""`wayspeak enrol`, `identify` and `verify`: enrol clips, and compare clips with the gallery."""

import getpass
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from engine.calibration.apply import find_calibration
from engine.calibration.files import read_record
from engine.calibration.records import Calibration, CalibrationStatus, Task
from engine.calibration.verbal_scale import BEHIND, PEOPLE_ZONE_WORDS, find_zone
from engine.errors import Code, EngineError
from engine.reports.json import error_to_json, write_json
from engine.settings import Settings
from engine.style.clip_embeddings import ClipEmbedder
from engine.style.records import FaceEmbedding
from gallery_db import records
from gallery_db.errors import EnrolmentRefused
from gallery_db.records import MAX_TERM_DAYS, MAX_TEXT, Basis, Consent, NewSample
from gallery_db.speakers import clean_name
from gallery_db.text import (
    CAUTION,
    clean,
    describe_enrolment,
    describe_enrolment_check,
    describe_rejections,
    describe_search,
    describe_verification,
)
from webapp.analysis.gallery_queries import to_sample, write_answers
from webapp.cli.gallery import AsJson, Name
from webapp.cli.workers import WorkersOption, read_settings
from webapp.gallery import open_gallery
from webapp.progress import show_progress

Value = TypeVar("Value")
Clip = Annotated[Path, typer.Argument(help="The video.", show_default=False)]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(help="Approved calibration record to use instead of the current one."),
]


def enrol(
    name: Name,
    clips: Annotated[list[Path], typer.Argument(help="Videos of this person speaking.", show_default=False)],
    basis: Annotated[Basis | None, typer.Option(help="Legal basis of the enrolment.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Purpose, in one sentence.")] = None,
    term_days: Annotated[int | None, typer.Option(help=f"Term in days, at most {MAX_TERM_DAYS}.")] = None,
    collector: Annotated[
        str | None, typer.Option(help="Person who obtained the consent.  [default: current user]")
    ] = None,
    notice_version: Annotated[str, typer.Option("--notice", help="Version of the consent notice.")] = records.VERSION,
    session: Annotated[str, typer.Option(help="Recording session of the clips.")] = "",
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Enrol even if the clips match another speaker.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the result; write nothing.")] = False,
    workers: WorkersOption = None,
) -> None:
    """Enrol a speaker from clips; at least 20 s of speech in two clips are recommended.

    Basis, purpose and term are required; missing ones are prompted for. Clips that are outliers, tampered with, or
    match another enrolled speaker are rejected and listed.
    """
    if len(session) > MAX_TEXT:
        raise EngineError(f"--session has {len(session)} characters.", f"Use at most {MAX_TEXT}.")
    clean_name(name)  # check the name before the clips are analysed, which takes long
    consent = ask_consent(basis, purpose, term_days, collector, notice_version)
    with open_gallery(Settings.from_env()) as gallery:
        samples = read_samples(ClipEmbedder.load(read_settings(workers)), clips, session)
        if dry_run:
            admission = gallery.admit(name, samples, allow_duplicate=allow_duplicate)
            typer.echo("\n".join([*describe_enrolment_check(admission), "A dry run: nothing was written."]))
            return
        try:
            done = gallery.enrol(name, samples, consent, allow_duplicate=allow_duplicate)
        except EnrolmentRefused as refused:
            typer.echo("\n".join(describe_rejections(refused.rejected)))
            raise
    typer.echo("\n".join(describe_enrolment(done)))


def identify(
    clip: Clip,
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="Number of candidates.")] = 5,
    reason: Annotated[
        str | None, typer.Option(help="Reason for the search: a case number, no name; kept in the audit log.")
    ] = None,
    calibration: CalibrationFile = None,
    as_json: AsJson = False,
    workers: WorkersOption = None,
) -> None:
    """Compare each face of a clip with all enrolled speakers (open set: possibly none is supported)."""
    reason = reason or ask("--reason", "Why is everybody searched", str)
    with _tell_errors(as_json), open_gallery(Settings.from_env()) as gallery:
        known = read_calibration(calibration, Task.IDENTIFICATION)
        watcher = ClipEmbedder.load(read_settings(workers))
        if known is None:
            known = find_calibration(Task.IDENTIFICATION, watcher.recipe, gallery.calibrations())
        faces = _look(watcher, clip)
        found = [gallery.search(one.embedding, k, reason=reason, calibration=known) for one in faces]
    if as_json:
        sys.stdout.write(write_answers(faces, searches=found))
        return
    for face, search in zip(faces, found, strict=True):
        llr = search.candidates[0].llr if search.candidates and search.is_supported is not None else None
        typer.echo("\n".join([describe_face(face), *describe_search(search), *describe_zone(known, llr)]))
    typer.echo("\n".join([*describe_calibration(known), CAUTION]))


def verify(
    name: Name,
    clip: Clip,
    calibration: CalibrationFile = None,
    as_json: AsJson = False,
    workers: WorkersOption = None,
) -> None:
    """Compare each face of a clip with one enrolled speaker."""
    with _tell_errors(as_json), open_gallery(Settings.from_env()) as gallery:
        known = read_calibration(calibration, Task.VERIFICATION)
        speaker = gallery.speaker(name)  # before the clip is looked at
        watcher = ClipEmbedder.load(read_settings(workers))
        if known is None:
            known = find_calibration(Task.VERIFICATION, watcher.recipe, gallery.calibrations())
        faces = _look(watcher, clip)
        found = [gallery.verify(speaker.id, one.embedding, calibration=known) for one in faces]
    if as_json:
        sys.stdout.write(write_answers(faces, verifications=found))
        return
    for face, verification in zip(faces, found, strict=True):
        zone = describe_zone(known, verification.llr)
        typer.echo("\n".join([describe_face(face), *describe_verification(verification), *zone]))
    typer.echo("\n".join([*describe_calibration(known), CAUTION]))


def ask_consent(
    basis: Basis | None, purpose: str | None, term_days: int | None, collector: str | None, notice_version: str
) -> Consent:
    """Build the consent; prompts for missing values, raises EngineError without a terminal."""
    if basis is None and sys.stdin.isatty():
        typer.echo(records.TEXT, err=True)
    basis = basis or ask("--basis", f"Basis ({', '.join(Basis)})", Basis)
    purpose = purpose or ask("--purpose", "Purpose", str)
    term_days = term_days if term_days is not None else ask("--term-days", "Term in days", int)
    try:
        return Consent(basis, purpose, term_days, notice_version, collector or _find_user())
    except ValueError as cause:
        raise EngineError(
            f"The consent is not valid: {cause}.", "Correct it and enrol again; nothing was written."
        ) from cause


def ask(option: str, question: str, kind: Callable[[str], Value]) -> Value:
    """Prompt until the answer converts to the kind; raises EngineError without a terminal."""
    if not sys.stdin.isatty():
        raise EngineError(f"{option} is missing, and there is no terminal to ask on.", f"Add {option}.")
    return typer.prompt(question, value_proc=_of_kind(kind), err=True)


def read_samples(watcher: ClipEmbedder, clips: Sequence[Path], session: str) -> list[NewSample]:
    """Read a sample from each usable clip and report the others; raises EnrolmentRefused without any."""
    samples = []
    for clip in clips:
        try:
            with show_progress() as on_step:
                samples.append(to_sample(watcher.find_speaker(clip, on_step), session))
        except EngineError as error:
            typer.echo(f"  left out: {clean(clip.name)}: {clean(error.message)} {clean(error.hint)}")
    if not samples:
        raise EnrolmentRefused(
            f"None of {len(clips)} clips can be enrolled.", "See the reasons above; nothing was written."
        )
    return samples


def read_calibration(path: Path | None, task: Task) -> Calibration | None:
    """Read a calibration; raises BAD_CALIBRATION if it is not approved or for another task."""
    if path is None:
        return None
    record = read_record(path)
    if record.task != task or record.status != CalibrationStatus.APPROVED:
        raise Code.BAD_CALIBRATION(
            f"{path.name} is a {record.status} calibration for {record.task}, wanted an approved one for {task}.",
            "Make one with `wayspeak calibrate` and have another person approve it.",
        )
    return record


def describe_calibration(known: Calibration | None) -> list[str]:
    """Describe the calibration with author and approver; empty without one."""
    if known is None:
        return []
    return [clean(BEHIND.format(version=known.version, id=known.id[:12], author=known.author, approver=known.approver))]


def describe_zone(known: Calibration | None, llr: float | None) -> list[str]:
    """Describe the zone of a log10 LR and the next step; empty without evidence."""
    return [] if known is None or llr is None else [f"  {PEOPLE_ZONE_WORDS[find_zone(llr, known.policy)]}"]


def describe_face(face: FaceEmbedding) -> str:
    """Describe a face with file, number, times and speech."""
    natural = "" if face.embedding.is_natural else ", motion not natural"
    speech = "of speech" if face.has_sound else "without sound, all taken for speech"
    return (
        f"{clean(face.name)}, face {face.face + 1}, {face.start_s:.1f} to {face.end_s:.1f} s, "
        f"{face.speech_s:.1f} s {speech}{natural}"
    )


def _look(watcher: ClipEmbedder, clip: Path) -> tuple[FaceEmbedding, ...]:
    with show_progress() as on_step:
        return watcher.embed_clip(clip, on_step)


@contextmanager
def _tell_errors(as_json: bool) -> Iterator[None]:
    """With --json, also print an error as JSON."""
    try:
        yield
    except EngineError as error:
        if as_json:
            sys.stdout.write(write_json(error_to_json(error)))
        raise


def _find_user() -> str:
    """Return the login name; prompts if the system has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ask("--collector", "Person who obtained the consent", str)


def _of_kind(kind: Callable[[str], Value]) -> Callable[[str], Value]:
    def convert(answer: str) -> Value:
        try:
            return kind(answer.strip())
        except ValueError as cause:
            raise typer.BadParameter(f"{answer!r} is not valid") from cause

    return convert
