"""`wayspeak gallery` and `wayspeak forget`: all that reads no clip."""

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
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_speakers(
    name: Annotated[str | None, typer.Argument(help="List the clips of this speaker.")] = None,
    as_json: AsJson = False,
) -> None:
    """List everybody who is enrolled, or the clips of one speaker with their numbers."""
    with open_gallery(Settings.from_env()) as gallery:
        if name is not None:
            samples = [replace(one, thumbnail=None) for one in gallery.samples(name)]
            _show(_describe_samples(samples), samples, as_json)
        else:
            speakers = gallery.speakers()
            _show(describe_speakers(speakers, datetime.now(UTC)), speakers, as_json)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Say how much is enrolled, how it is searched, and where it stands."""
    with open_gallery(Settings.from_env()) as gallery:
        found = gallery.stats()
        _show(describe_stats(found), found, as_json)


@app.command()
def check() -> None:
    """Look for damage and mend what can be; exit with 1 where something cannot."""
    with open_gallery(Settings.from_env()) as gallery:
        found = gallery.check()
    _show(describe_check(found))
    if not found.is_sound:
        raise typer.Exit(1)


@app.command()
def calibrations(as_json: AsJson = False) -> None:
    """List the calibration records that are kept here; approved ones win over what comes with the program."""
    with open_gallery(Settings.from_env()) as gallery:
        found = gallery.calibrations()
        _show([_describe_calibration(one) for one in found] or ["None is kept."], found, as_json)


@app.command()
def keep(
    records: Annotated[list[Path], typer.Argument(help="Records, each after what it follows.", show_default=False)],
) -> None:
    """Keep calibration records: the newest approved one of a task and recipe is in force from then on, everywhere."""
    with open_gallery(Settings.from_env()) as gallery:
        for record in [read_record(path) for path in records]:
            gallery.keep_calibration(record)
            typer.echo(f"{_describe_calibration(record)}: kept")


@app.command("export")
def export_people(
    file: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)],
    speaker: Annotated[list[str] | None, typer.Option(help="This speaker alone; again for more.")] = None,
) -> None:
    """Write everybody, or some, into one portable file: vectors, consents, thumbnails, under a checksum."""
    refuse_existing(file)
    with open_gallery(Settings.from_env()) as gallery:
        n_people = gallery.export(file, speaker)
    typer.echo(f"{n_people} speakers written to {file}. Who is forgotten here stays in that file: delete it in time.")


@app.command("import")
def import_people(
    file: Annotated[Path, typer.Argument(help="An exported file.", show_default=False)],
    merge: Annotated[bool, typer.Option("--merge", help="Add to speakers whose names are there already.")] = False,
    rename: Annotated[bool, typer.Option("--rename", help="Enrol these under NAME (2), and so on.")] = False,
) -> None:
    """Enrol the people of an exported file, on the consents that come with them.

    Where a name is there already nothing is written at all, unless --merge or --rename says what is meant.
    """
    if merge and rename:
        raise EngineError("--merge and --rename contradict each other.", "Choose one.")
    conflict = NameConflict.MERGE if merge else NameConflict.RENAME if rename else NameConflict.REFUSE
    with open_gallery(Settings.from_env()) as gallery:
        done = gallery.import_(file, on_conflict=conflict)
    for one in done:
        typer.echo("\n".join(describe_enrolment(one)))
    typer.echo(f"{len(done)} speakers brought in.")


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)]) -> None:
    """Write the whole gallery into a file, while others go on using it."""
    refuse_existing(file)
    with open_gallery(Settings.from_env()) as gallery:
        gallery.backup(file)
    typer.echo(f"Written to {file}. Who is forgotten from now on stays in that file: delete it in time.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Put a backup in the place of the gallery, which is gone then."""
    confirm(f"Replace the whole gallery by {file}? What is enrolled now is lost.", yes)
    forgotten = Gallery.restore(Settings.from_env(), file)
    again = f" {forgotten} who had been forgotten since were forgotten anew." if forgotten else ""
    typer.echo(f"Restored from {file}.{again}")


@app.command()
def merge(
    kept: Annotated[str, typer.Argument(help="The speaker who stays.", show_default=False)],
    absorbed: Annotated[str, typer.Argument(help="The one whose clips join theirs.", show_default=False)],
) -> None:
    """Make two speakers one; `unmerge` undoes it."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.merge(kept, absorbed)
    typer.echo(
        f"{clean(speaker.name)} has {speaker.n_samples} clips now. To undo it: wayspeak gallery unmerge {absorbed}"
    )


@app.command()
def unmerge(name: Annotated[str, typer.Argument(help="The speaker who was absorbed.", show_default=False)]) -> None:
    """Undo a merge: the clips that came with this speaker are theirs again."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.unmerge(name)
    typer.echo(f"{clean(speaker.name)} has {speaker.n_samples} clips again.")


@app.command()
def reassign(
    sample: Annotated[int, typer.Argument(help="Number of the clip, see `list NAME`.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Whose it is.", show_default=False)],
) -> None:
    """Give a clip to another speaker."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.reassign(sample, name)
    typer.echo(f"Clip {sample} is {clean(speaker.name)}'s now.")


@app.command()
def rename(name: Name, new: Annotated[str, typer.Argument(help="The new name.", show_default=False)]) -> None:
    """Correct a name."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.rename(name, new)
    typer.echo(f"{clean(name)} is {clean(speaker.name)} now.")


@app.command()
def forget(name: Name, yes: Yes = False) -> None:
    """Erase all that is kept of a speaker: clips' embeddings, thumbnails, consents, results. It cannot be undone."""
    with open_gallery(Settings.from_env()) as gallery:
        speaker = gallery.speaker(name)
        confirm(f"Forget {clean(speaker.name)} ({speaker.n_samples} clips)? It cannot be undone.", yes)
        receipt = gallery.forget(speaker.id)
    _show(describe_receipt(speaker.name, receipt))


@app.command("forget-overdue")
def forget_overdue(yes: Yes = False) -> None:
    """Erase all that is kept on consents whose term has ended; to be run once a day."""
    with open_gallery(Settings.from_env()) as gallery:
        count = gallery.stats().n_overdue
        if count:
            confirm(f"Forget what is overdue of {count} speakers? It cannot be undone.", yes)
        receipts = gallery.forget_overdue()
    for receipt in receipts:
        _show(describe_receipt("Somebody whose term has ended", receipt))
    typer.echo(f"{len(receipts)} forgotten.")


def confirm(question: str, yes: bool) -> None:
    """Go on where the answer is yes; EngineError where it is no, or there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise EngineError(f"{question} There is nobody to ask.", "Who means it adds --yes.")
    if not typer.confirm(question, default=False, err=True):
        raise EngineError("It was not confirmed.", "Nothing was changed.")


def refuse_existing(file: Path) -> None:
    """EngineError where something stands there already."""
    if file.exists():
        raise EngineError(f"{file} is there already.", "Choose another name, or delete it first.")


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
