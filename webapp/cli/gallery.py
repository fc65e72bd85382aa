"""`wayspeak gallery` and `wayspeak forget`: manage enrolled speakers."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.calibration.files import read_record
from engine.calibration.records import Calibration
from engine.errors import EngineError
from engine.reports.json import write_json
from engine.settings import Settings
from gallery_db.gallery import Gallery
from gallery_db.records import NameConflict, StoredSample
from gallery_db.text import (
    SCHEMA_VERSION,
    clean,
    describe_check,
    describe_enrolment,
    describe_receipt,
    describe_speakers,
    describe_stats,
    to_json,
)
from webapp.gallery import open_gallery

app = typer.Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the speaker.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command("list")
def list_speakers(
    name: Annotated[str | None, typer.Argument(help="List the clips of this speaker.")] = None,
    as_json: AsJson = False,
) -> None:
    """List all enrolled speakers, or the clips of one speaker with their numbers."""
    with open_gallery(Settings.from_env()) as gallery:
        if name is not None:
            samples = [replace(one, thumbnail=None) for one in gallery.samples(name)]
            _show(_describe_samples(samples), samples, as_json)
        else:
            speakers = gallery.speakers()
            _show(describe_speakers(speakers, datetime.now(UTC)), speakers, as_json)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Print the size, search backend and location of the gallery."""
    with open_gallery(Settings.from_env()) as gallery:
        found = gallery.stats()
        _show(describe_stats(found), found, as_json)


@app.command()
def check() -> None:
    """Check the integrity and repair derived data; exit with 1 if a problem remains."""
    with open_gallery(Settings.from_env()) as gallery:
        found = gallery.check()
    _show(describe_check(found))
    if not found.is_sound:
        raise typer.Exit(1)


@app.command()
def calibrations(as_json: AsJson = False) -> None:
    """List the stored calibration records; approved ones take precedence over shipped ones."""
    with open_gallery(Settings.from_env()) as gallery:
        found = gallery.calibrations()
        _show([_describe_calibration(one) for one in found] or ["No record is stored."], found, as_json)


@app.command()
def keep(
    records: Annotated[list[Path], typer.Argument(help="Records, each after its predecessor.", show_default=False)],
) -> None:
    """Store calibration records; the newest approved one of a task and recipe is used from then on."""
    with open_gallery(Settings.from_env()) as gallery:
        for record in [read_record(path) for path in records]:
            gallery.keep_calibration(record)
            typer.echo(f"{_describe_calibration(record)}: stored")


@app.command("export")
def export_people(
    file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    speaker: Annotated[list[str] | None, typer.Option(help="Only this speaker; repeatable.")] = None,
) -> None:
    """Export all or some speakers to one file: vectors, consents and thumbnails, with a checksum."""
    refuse_existing(file)
    with open_gallery(Settings.from_env()) as gallery:
        n_people = gallery.export(file, speaker)
    typer.echo(f"{n_people} speakers written to {file}. Speakers erased later remain in that file: delete it in time.")


@app.command("import")
def import_people(
    file: Annotated[Path, typer.Argument(help="Exported file.", show_default=False)],
    merge: Annotated[bool, typer.Option("--merge", help="Add samples to speakers of the same name.")] = False,
    rename: Annotated[bool, typer.Option("--rename", help="Enrol speakers of existing names as NAME (2) etc.")] = False,
) -> None:
    """Enrol the speakers of an exported file, with their consents.

    If a name exists, nothing is written, unless --merge or --rename is given.
    """
    if merge and rename:
        raise EngineError("--merge and --rename contradict each other.", "Choose one.")
    conflict = NameConflict.MERGE if merge else NameConflict.RENAME if rename else NameConflict.REFUSE
    with open_gallery(Settings.from_env()) as gallery:
        done = gallery.import_(file, on_conflict=conflict)
    for one in done:
        typer.echo("\n".join(describe_enrolment(one)))
    typer.echo(f"{len(done)} speakers imported.")


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)]) -> None:
    """Write a copy of the gallery to a file while it is in use."""
    refuse_existing(file)
    with open_gallery(Settings.from_env()) as gallery:
        gallery.backup(file)
    typer.echo(f"Written to {file}. Speakers erased later remain in that file: delete it in time.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="Backup file.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Replace the gallery by a backup; current data are lost."""
    confirm(f"Replace the gallery by {file}? The current enrolments are lost.", yes)
    forgotten = Gallery.restore(Settings.from_env(), file)
    again = f" {forgotten} speakers erased since the backup were erased again." if forgotten else ""
    typer.echo(f"Restored from {file}.{again}")


@app.command()
def merge(
    kept: Annotated[str, typer.Argument(help="Speaker to keep.", show_default=False)],
    absorbed: Annotated[str, typer.Argument(help="Speaker to absorb.", show_default=False)],
) -> None:
    """Merge two speakers; `unmerge` reverts it."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.merge(kept, absorbed)
    typer.echo(
        f"{clean(speaker.name)} has {speaker.n_samples} clips now. To undo it: wayspeak gallery unmerge {absorbed}"
    )


@app.command()
def unmerge(name: Annotated[str, typer.Argument(help="Absorbed speaker.", show_default=False)]) -> None:
    """Revert a merge: restore the absorbed speaker with its clips."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.unmerge(name)
    typer.echo(f"{clean(speaker.name)} has {speaker.n_samples} clips again.")


@app.command()
def reassign(
    sample: Annotated[int, typer.Argument(help="Number of the clip, see `list NAME`.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Speaker of the clip.", show_default=False)],
) -> None:
    """Move a clip to another speaker."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.reassign(sample, name)
    typer.echo(f"Clip {sample} now belongs to {clean(speaker.name)}.")


@app.command()
def rename(name: Name, new: Annotated[str, typer.Argument(help="New name.", show_default=False)]) -> None:
    """Rename a speaker."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.rename(name, new)
    typer.echo(f"{clean(name)} is now {clean(speaker.name)}.")


@app.command()
def forget(name: Name, yes: Yes = False) -> None:
    """Erase all data of a speaker: embeddings, thumbnails, consents, results. This cannot be undone."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.speaker(name)
        confirm(f"Erase {clean(speaker.name)} ({speaker.n_samples} clips)? This cannot be undone.", yes)
        receipt = gallery.forget(speaker.id)
    _show(describe_receipt(speaker.name, receipt))


@app.command("forget-overdue")
def forget_overdue(yes: Yes = False) -> None:
    """Erase the data of expired consents; run this daily."""
    with open_gallery(Settings.from_env()) as gallery:
        count = gallery.stats().n_overdue
        if count:
            confirm(f"Erase the overdue data of {count} speakers? This cannot be undone.", yes)
        receipts = gallery.forget_overdue()
    for receipt in receipts:
        _show(describe_receipt("A speaker with an expired consent", receipt))
    typer.echo(f"{len(receipts)} forgotten.")


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation; raises EngineError for no, or without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise EngineError(f"{question} There is no terminal to ask on.", "Add --yes to confirm.")
    if not typer.confirm(question, default=False, err=True):
        raise EngineError("It was not confirmed.", "Nothing was changed.")


def refuse_existing(file: Path) -> None:
    """Raise EngineError if the file exists."""
    if file.exists():
        raise EngineError(f"{file} already exists.", "Choose another name, or delete it first.")


def _describe_samples(samples: Sequence[StoredSample]) -> list[str]:
    return [
        f"{one.id:6}  {clean(one.source_name)}  {one.embedding.seconds:.1f} s, consent ({one.consent.basis}) until "
        f"{one.consent.expires_at:%Y-%m-%d}, {clean(one.consent.purpose)}"
        for one in samples
    ]


def _describe_calibration(record: Calibration) -> str:
    return clean(
        f"{record.id[:12]}  {record.task} {record.version}, {record.status}, by {record.author}, "
        f"approved by {record.approver or 'nobody'}, for {record.recipe}"
    )


def _show(lines: Sequence[str], record: Any = None, as_json: bool = False) -> None:
    if as_json:
        sys.stdout.write(write_json({"schema_version": SCHEMA_VERSION, "found": to_json(record)}))
        return
    for line in lines:
        typer.echo(line)
