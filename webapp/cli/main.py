"""The `wayspeak` command: a table of commands, each imported when it is run.

Only typer is imported to print the help page.
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
        "Tell for every face in a video whether it belongs to the speech that is heard.",
    ),
    "doctor": (
        "webapp.cli.main:doctor",
        "Print versions, device and weights, and what is missing; exit with 1 if something needed is.",
    ),
    "weights": (
        "webapp.cli.weights:app",
        "Bring weights in, accept their licence, list or verify: `wayspeak weights import|accept|list|verify`.",
    ),
    "phonemes": (
        "webapp.cli.analyse:phonemes",
        "List the sounds that should close or round the lips, and whether they did: `wayspeak phonemes FILE`.",
    ),
    "evaluate": (
        "webapp.cli.evaluate:evaluate",
        "Measure on a manifest of clips: `wayspeak evaluate MANIFEST.csv --task ...`, for clips and for people.",
    ),
    "robustness": (
        "webapp.cli.robustness:robustness",
        "Measure what is left when clips get worse: `wayspeak robustness MANIFEST.csv [--what all] [--levels 1,3,5]`.",
    ),
    "calibrate": (
        "webapp.cli.calibrate:calibrate",
        "Make scores mean something: `wayspeak calibrate MANIFEST.csv --task ... --author NAME --out RECORD.json`.",
    ),
    "calibration": (
        "webapp.cli.calibrate:app",
        "Look at a calibration record, approve or retire it: `wayspeak calibration show|approve|retire RECORD.json`.",
    ),
    "forge": (
        "webapp.cli.forge:forge",
        "Forge marked clips whose truth is known, to measure on: `wayspeak forge MANIFEST.csv --out FOLDER`.",
    ),
    "fetch": (
        "webapp.cli.analyse:fetch",
        "Fetch the video at a link, safely and with where it is from: `wayspeak fetch URL [--out FILE] [--info]`.",
    ),
    "enrol": (
        "webapp.cli.enrol:enrol",
        "Enrol how somebody speaks, on a consent: `wayspeak enrol NAME CLIP... --basis BASIS ...`.",
    ),
    "identify": (
        "webapp.cli.enrol:identify",
        "Say whose way of speaking a clip shows, of all enrolled, or that none is supported: `wayspeak identify CLIP`.",
    ),
    "verify": (
        "webapp.cli.enrol:verify",
        "Hold a clip against one enrolled speaker: `wayspeak verify NAME CLIP`.",
    ),
    "forget": (
        "webapp.cli.gallery:forget",
        "Erase all that is kept of a speaker, and print a receipt: `wayspeak forget NAME`.",
    ),
    "gallery": (
        "webapp.cli.gallery:app",
        "Look after who is enrolled: `wayspeak gallery list|stats|check|export|import|backup|restore|merge|...`.",
    ),
    "batch": (
        "webapp.cli.analyse:batch",
        "Analyse many files and links, a row each: "
        "`wayspeak batch SOURCES... --out FOLDER [--resume] [--ray ADDRESS]`.",
    ),
    "serve": (
        "webapp.cli.serve:serve",
        "Serve the page and the API, with workers: `wayspeak serve [--host HOST] [--port PORT] [--workers N]`.",
    ),
    "work": (
        "webapp.cli.serve:work",
        "Take jobs from the queue of the page, beside it or elsewhere on this machine: `wayspeak work [--once]`.",
    ),
    "users": (
        "webapp.cli.users:app",
        "Say who may log in, and make keys of the API: `wayspeak users add|list|passwd|role|disable|key`.",
    ),
    "verify-bundle": (
        "webapp.cli.analyse:verify_bundle",
        "Check an evidence bundle and its signature: `wayspeak verify-bundle BUNDLE.zip [--fingerprint SHA256]`.",
    ),
    "train": ("webapp.cli.train:app", "Train Wayspeak's own models from clips."),
}
"""Name: where the function or the typer app is, and its line on the help page."""


class LazyGroup(TyperGroup):
    """A group that lists its commands from the table and imports the one that is run."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def wayspeak() -> None:
    """Do this face and this voice belong to the same speech?"""


def load_command(name: str) -> Any:
    """Import the command of this name, ready to be called with its arguments."""
    module, attribute = COMMANDS[name][0].split(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False)
    single.command(name)(found)
    return get_command(single)


def doctor() -> None:
    """Print versions, device and weights, and what is missing; exit with 1 if something needed is."""
    from engine.doctor import examine, is_healthy
    from engine.settings import Settings

    findings = examine(Settings.from_env())
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.mark:8} {finding.topic:{width}}  {finding.text}")
    if not is_healthy(findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an EngineError becomes one line on standard error and exit code 2."""
    try:
        app(prog_name="wayspeak")
    except EngineError as error:
        message = " ".join(f"{error.message.rstrip('.')}. {error.hint}".split())
        sys.stderr.write(f"wayspeak: {message}\n")
        sys.exit(2)
    except BrokenPipeError:  # `wayspeak ... | head`: the reader has closed the pipe, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
