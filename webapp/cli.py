"""The command line: everything of `engine/cli.py`, and the gallery's commands.

Only typer is imported to print a help page; what a command needs is imported when it is run.
"""

import typer

from engine.cli import FORWARDED, app, forward
from engine.cli import main as run

CLIPS = "webapp.gallery_command"
PEOPLE = "gallery_db.command"


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


def main() -> None:
    """Run the command line; an EngineError becomes one line on standard error and exit code 2."""
    run(app)


if __name__ == "__main__":
    main()
