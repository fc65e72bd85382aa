"""The typer command behind `wayspeak phonemes`: which sounds should close or round the lips, and whether they did."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.articulation import ArticulationReport, check_faces
from engine.articulation_report import list_rows, summarise, to_json
from engine.cli import show_progress
from engine.errors import EngineError
from engine.media import open_clip
from engine.observer import Observer
from engine.output import STDOUT, write_output
from engine.report import write_json
from engine.settings import Settings
from engine.speechsounds import SoundRecogniser
from engine.types import FPS, OnStep

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def phonemes(
    file: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    start: Annotated[float, typer.Option("--from", min=0, help="Begin at this second.")] = 0.0,
    end: Annotated[float | None, typer.Option("--to", min=0, help="End at this one.  [default: the end]")] = None,
    language: Annotated[str, typer.Option(help="What is spoken; only en is known.")] = "en",
    json: Annotated[Path | None, typer.Option(help="Write the table as JSON here; '-' for standard output.")] = None,
) -> None:
    """List the speech sounds that should close or round the lips, and whether the measured lips did.

    An explanation to look and listen to, beside the score of `wayspeak analyse` and no part of it.
    """
    if end is not None and end <= start:
        raise typer.BadParameter(f"--to {end:g} is not after --from {start:g}")
    recogniser = SoundRecogniser.load(language)
    observer = Observer.load(Settings.from_env())
    with show_progress() as on_step:
        reports = examine(file, observer, recogniser, (start, float("inf") if end is None else end), on_step)
    if json != STDOUT:
        print_reports(reports, Console())
    if json is not None:
        write_output(write_json(to_json(reports)), json)


def examine(
    file: Path,
    observer: Observer,
    recogniser: SoundRecogniser,
    span_s: tuple[float, float],
    on_step: OnStep = lambda name, completed, total: None,
) -> tuple[ArticulationReport, ...]:
    """See and hear a file, and hold each of its faces against the sounds; EngineError where it cannot be read."""
    clip = open_clip(file, observer.limits)
    if span_s[0] >= clip.n_frames / FPS:
        raise EngineError(
            f"{file.name} is {clip.duration_s:.1f} s long, and {span_s[0]:g} s on is asked for.", "Begin earlier."
        )
    seen = observer.observe_clip(clip, on_step)
    return check_faces(recogniser, clip.audio, seen.heard.voiced, seen.tracks, span_s, on_step)


def print_reports(reports: tuple[ArticulationReport, ...], console: Console) -> None:
    """Print a table and its sum for each face."""
    if not reports:
        console.print("No face was found, so there are no lips to look at.")
    for number, report in enumerate(reports):
        title = f"Face {number + 1}, {report.start_s:.1f} to {report.end_s:.1f} s"
        table = Table("at s", "sound", "lips", "measured", "", title=title)
        for row in list_rows(report):
            table.add_row(*row)
        if report.sounds:
            console.print(table)
        else:
            console.print(f"{title}: no sound that should close or round the lips was heard.")
        for line in summarise(report):
            console.print(line, highlight=False)
