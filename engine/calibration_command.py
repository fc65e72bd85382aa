"""`wayspeak calibration`: look at a record, approve it, retire it. Records are never changed, but superseded."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.calibration.files import read_record, write_record
from engine.calibration.release import approve_by_rules
from engine.calibration.tables import print_record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="A record that `wayspeak calibrate` wrote.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Where the record goes that takes its place.")]


@app.command()
def show(record: File) -> None:
    """Print a record: what it is of, how good it is, who made and who approved it."""
    print_record(read_record(record), Console(file=sys.stdout))


@app.command()
def approve(
    record: File,
    out: Out,
    approver: Annotated[str, typer.Option(help="Who approves it; never who made it.")] = "",
    by_rules: Annotated[
        bool, typer.Option("--by-rules", help="Approve by the fixed rules of a release, in place of a person.")
    ] = False,
) -> None:
    """Approve a draft that another person made."""
    if by_rules == bool(approver):
        raise typer.BadParameter("a draft is approved either by --approver or --by-rules.")
    found = read_record(record)
    approved = approve_by_rules(found) if by_rules else found.approve(approver)
    write_record(approved, out)
    typer.echo(f"{out} written: approved by {approved.approver}, in place of {approved.supersedes[:12]}.")


@app.command()
def retire(record: File, out: Out, note: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Retire an approved record; results keep the id of the record that they were made with."""
    retired = read_record(record).retire(note)
    write_record(retired, out)
    typer.echo(f"{out} written: retired, in place of {retired.supersedes[:12]}.")
