"""`wayspeak weights`: import, list and verify weights, and accept their licences."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import EngineError, LicenceNotAccepted
from engine.settings import Settings
from engine.weights.licences import LICENCES, Licence, accept_licence, find_acceptance
from engine.weights.registry import WEIGHTS, WeightCheck, WeightState, inspect_weight

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("import")
def import_checkpoint(
    path: Annotated[Path, typer.Argument(help="Downloaded checkpoint.", show_default=False)],
    yes: Annotated[bool, typer.Option("--accept-licence", help="Accept the licence, which you have read.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace existing weights of the same name.")] = False,
) -> None:
    """Import a published AV-HuBERT checkpoint, pre-trained or fine-tuned; no code in the file is executed."""
    from engine.models.avhubert_import import import_weights  # the other commands need no torch

    def agree(licence: Licence) -> bool:
        return _show_licence(licence, yes)

    imported = import_weights(path, Settings.from_env().data_dir, agree, replace)
    if not imported.is_new:
        typer.echo(f"{path.name} is imported already: {imported.path}")
        return
    if imported.inert:
        typer.echo(
            f"Named in the file, neither imported nor called ({len(imported.inert)}): {', '.join(imported.inert)}"
        )
    if imported.dropped:
        typer.echo(f"Dropped tensors ({len(imported.dropped)}): {', '.join(imported.dropped)}")
    typer.echo(f"{imported.weight.name} written to {imported.path}")


@app.command()
def accept(
    name: Annotated[str, typer.Argument(help=f"Licence: {', '.join(LICENCES)}.", show_default=False)],
    yes: Annotated[bool, typer.Option("--accept-licence", help="Accept the licence, which you have read.")] = False,
) -> None:
    """Show the summary of a licence and record its acceptance."""
    if name not in LICENCES:
        raise EngineError(f"The licence {name} is unknown.", f"Choose one of: {', '.join(LICENCES)}.")
    licence, data_dir = LICENCES[name], Settings.from_env().data_dir
    acceptance = find_acceptance(licence, data_dir)
    if acceptance is None:
        if not _show_licence(licence, yes):
            raise LicenceNotAccepted(f"The {licence.title} was not accepted.", "Nothing was changed.")
        acceptance = accept_licence(licence, data_dir)
    typer.echo(f"{licence.title}: accepted {acceptance.accepted}")


@app.command("list")
def list_weights(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all model files with state, licences, purpose and source."""
    data_dir = Settings.from_env().data_dir
    rows = [_describe(inspect_weight(weight, data_dir), data_dir) for weight in WEIGHTS]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    names = ("name", "state", "size", "code", "weights", "acceptance")
    lines = [names] + [tuple(str(_show_size(row) if key == "size" else row[key]) for key in names) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line, row in zip(lines, [None, *rows], strict=True):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if row is not None:
            typer.echo(f"    {row['purpose']}\n    {row['source']}")


@app.command()
def verify() -> None:
    """Verify the hashes of all model files; exit with 1 if one is damaged or a required one is missing."""
    data_dir = Settings.from_env().data_dir
    is_sound = True
    for check in (inspect_weight(weight, data_dir) for weight in WEIGHTS):
        is_absent = check.state is WeightState.MISSING and check.weight.is_optional
        is_sound &= is_absent or check.state is WeightState.VERIFIED
        state, detail = ("not there", "optional") if is_absent else (check.state, check.detail)
        typer.echo(f"{state:9}  {check.weight.name}: {detail}")
    if not is_sound:
        raise typer.Exit(1)


def _show_licence(licence: Licence, is_accepted: bool) -> bool:
    """Show the terms and ask for acceptance; raises LicenceNotAccepted without a terminal."""
    typer.echo(licence.summary, err=True)
    if is_accepted:
        return True
    if not sys.stdin.isatty():
        raise LicenceNotAccepted(
            f"The {licence.title} has not been accepted, and there is no terminal to ask on.",
            f"Read {licence.url}; add --accept-licence to accept it.",
        )
    return typer.confirm("Do you accept these terms?", default=False, err=True)


def _describe(check: WeightCheck, data_dir: Path) -> dict[str, Any]:
    weight, licence = check.weight, check.weight.licence
    acceptance = find_acceptance(licence, data_dir) if licence else None
    path = check.detail if check.state is WeightState.VERIFIED else None
    return {
        "name": weight.name,
        "state": str(check.state),
        "size": Path(path).stat().st_size if path else None,
        "code": weight.code_licence,
        "weights": weight.weight_licence,
        "acceptance": "not needed" if licence is None else "accepted" if acceptance else "not accepted",
        "accepted": acceptance.accepted if acceptance else None,
        "optional": weight.is_optional,
        "uses": sorted(weight.uses),
        "purpose": weight.purpose,
        "source": weight.source,
        "path": path,
    }


def _show_size(row: dict[str, Any]) -> str:
    return "-" if row["size"] is None else f"{row['size'] / 1e6:.1f} MB"
