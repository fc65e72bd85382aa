"""The command line: everything of `engine/cli.py`, and the gallery's commands.

Only typer is imported to print a help page; what a command needs is imported when it is run.
"""

from typing import TYPE_CHECKING

import typer

from engine.cli import FORWARDED, app, forward
from engine.cli import main as run

if TYPE_CHECKING:
    from engine.calibration.records import Calibration
    from engine.settings import Settings

CLIPS = "webapp.gallery_command"
PEOPLE = "webapp.people_command"
SERVING, WORKING = "webapp.serving", "webapp.jobs.command"
BATCH = "webapp.batch_command"
ACCOUNTS, EVIDENCE = "webapp.accounts.command", "webapp.evidence.command"


@app.command(context_settings=FORWARDED, add_help_option=False)
def enrol(context: typer.Context) -> None:
    """Enrol how somebody speaks, on a consent: `wayspeak enrol NAME CLIP... --basis BASIS ...`."""
    forward(CLIPS, context, "enrol")


@app.command(context_settings=FORWARDED, add_help_option=False)
def identify(context: typer.Context) -> None:
    """Say whose way of speaking a clip shows, of all enrolled, or that none is supported: `wayspeak identify CLIP`."""
    forward(CLIPS, context, "identify")


@app.command(context_settings=FORWARDED, add_help_option=False)
def verify(context: typer.Context) -> None:
    """Hold a clip against one enrolled speaker: `wayspeak verify NAME CLIP`."""
    forward(CLIPS, context, "verify")


@app.command(context_settings=FORWARDED, add_help_option=False)
def forget(context: typer.Context) -> None:
    """Erase all that is kept of a speaker, and print a receipt: `wayspeak forget NAME`."""
    forward(PEOPLE, context, "forget")


@app.command(context_settings=FORWARDED, add_help_option=False)
def gallery(context: typer.Context) -> None:
    """Look after who is enrolled: `wayspeak gallery list|stats|check|export|import|backup|restore|merge|...`."""
    forward(PEOPLE, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def batch(context: typer.Context) -> None:
    """Analyse many files and links, a row each: `wayspeak batch SOURCES... --out FOLDER [--resume] [--ray ADDRESS]`."""
    forward(BATCH, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Serve the page and the API, with workers: `wayspeak serve [--host HOST] [--port PORT] [--workers N]`."""
    forward(SERVING, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def work(context: typer.Context) -> None:
    """Take jobs from the queue of the page, beside it or elsewhere on this machine: `wayspeak work [--once]`."""
    forward(WORKING, context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def users(context: typer.Context) -> None:
    """Say who may log in, and make keys of the API: `wayspeak users add|list|passwd|role|disable|key`."""
    forward(ACCOUNTS, context)


@app.command("verify-bundle", context_settings=FORWARDED, add_help_option=False)
def verify_bundle(context: typer.Context) -> None:
    """Check an evidence bundle and its signature: `wayspeak verify-bundle BUNDLE.zip [--fingerprint SHA256]`."""
    forward(EVIDENCE, context)


def read_kept(settings: "Settings") -> list["Calibration"]:
    """Read the calibrations that the users of the gallery keep; where there is no gallery, none is made."""
    from webapp.asking import Asker

    asker = Asker(settings)
    try:
        return asker.read_calibrations()
    finally:
        asker.close()


def main() -> None:
    """Run the command line; an EngineError becomes one line on standard error and exit code 2."""
    run(app, kept=read_kept)


if __name__ == "__main__":
    main()
