"""The `wayspeak` command: a table of commands, each imported when it is run.

The help page imports only typer.
"""

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from engine.errors import EngineError

COMMANDS = {
    "analyse": (
        "webapp.cli.analyse:analyse",
        "Check for every face in a video whether it produces the speech.",
    ),
    "doctor": (
        "webapp.cli.main:doctor",
        "Print versions, device, weights and missing requirements.",
    ),
    "weights": (
        "webapp.cli.weights:app",
        "Import, list and verify weights, and accept their licences.",
    ),
    "phonemes": (
        "webapp.cli.analyse:phonemes",
        "List phonemes that need closed or rounded lips, with the measured lips.",
    ),
    "source": (
        "webapp.cli.source:source",
        "Find which recording the motion of a face follows, and where.",
    ),
    "evaluate": (
        "webapp.cli.evaluate:evaluate",
        "Evaluate consistency or speaker recognition on a manifest of clips.",
    ),
    "robustness": (
        "webapp.cli.robustness:robustness",
        "Evaluate on clips with degraded picture or sound.",
    ),
    "calibrate": (
        "webapp.cli.calibrate:calibrate",
        "Fit a calibration record: from scores to likelihood ratios.",
    ),
    "calibration": (
        "webapp.cli.calibrate:app",
        "Show, approve or retire a calibration record.",
    ),
    "forge": (
        "webapp.cli.forge:forge",
        "Make watermarked forgeries with known truth for evaluation.",
    ),
    "fetch": (
        "webapp.cli.analyse:fetch",
        "Download the video at a link, with its provenance.",
    ),
    "enrol": (
        "webapp.cli.enrol:enrol",
        "Enrol a speaker from clips, with a consent.",
    ),
    "identify": (
        "webapp.cli.enrol:identify",
        "Identify the speaker of a clip among all enrolled speakers (1:N).",
    ),
    "verify": (
        "webapp.cli.enrol:verify",
        "Compare a clip with one enrolled speaker (1:1).",
    ),
    "forget": (
        "webapp.cli.gallery:forget",
        "Erase all data of a speaker and print a receipt.",
    ),
    "gallery": (
        "webapp.cli.gallery:app",
        "Manage enrolled speakers: list, merge, export, back up, check.",
    ),
    "batch": (
        "webapp.cli.analyse:batch",
        "Analyse many files and links, one CSV row each.",
    ),
    "serve": (
        "webapp.cli.serve:serve",
        "Serve the page and the API, with workers.",
    ),
    "work": (
        "webapp.cli.serve:work",
        "Run a worker that takes jobs from the queue.",
    ),
    "users": (
        "webapp.cli.users:app",
        "Manage accounts, roles and API keys.",
    ),
    "verify-bundle": (
        "webapp.cli.analyse:verify_bundle",
        "Verify the files and the signature of an evidence bundle.",
    ),
    "train": ("webapp.cli.train:app", "Train the Wayspeak models from clips."),
}
"""Command name: location of its function or typer app, and its line on the help page."""


class LazyGroup(TyperGroup):
    """Command group that lists the table and imports only the command that is run."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def wayspeak() -> None:
    """Check whether face and voice belong to the same speech, and who is speaking."""


def load_command(name: str) -> Any:
    """Import a command and return it as a click command."""
    module, attribute = COMMANDS[name][0].split(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False)
    single.command(name)(found)
    return get_command(single)


def doctor() -> None:
    """Print versions, device, weights and missing requirements."""
    from engine.doctor import examine, is_healthy
    from engine.settings import Settings

    findings = examine(Settings.from_env())
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.mark:8} {finding.topic:{width}}  {finding.text}")
    if not is_healthy(findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; print an EngineError as one line on standard error and exit with 2."""
    try:
        app(prog_name="wayspeak")
    except EngineError as error:
        message = " ".join(f"{error.message.rstrip('.')}. {error.hint}".split())
        sys.stderr.write(f"wayspeak: {message}\n")
        sys.exit(2)
    except BrokenPipeError:  # `wayspeak ... | head`: the reader closed the pipe, which is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
