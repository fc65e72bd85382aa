"""`wayspeak source`: which recording the motion of a face follows."""

from pathlib import Path
from typing import Annotated

import typer

from engine.calibration.apply import find_calibration
from engine.calibration.files import read_record
from engine.calibration.records import Calibration, Task
from engine.features.extractor import FeatureExtractor
from engine.motion.comparison import ClipMotion, describe_clip, search_sources
from engine.motion.evidence import name_recipe
from engine.motion.report import list_lines, to_json
from engine.reports.json import write_json
from webapp.cli.output import write_output
from webapp.cli.workers import WorkersOption, read_settings
from webapp.progress import show_progress


def source(
    suspect: Annotated[Path, typer.Argument(help="The video in question.", show_default=False)],
    candidates: Annotated[list[Path], typer.Argument(help="Recordings it may be made from.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="Approved calibration record to use instead of the shipped one.")
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Find the segments of a video that follow a recording, with offset, speed and the regions that follow.

    A face swap or a reenactment reproduces the motion of its driver frame by frame, a lip-sync that of head and eyes.
    """
    extractor = FeatureExtractor.load(read_settings(workers), cut_faces=True)
    recipe = name_recipe(extractor.recipe)
    known: Calibration | None = read_record(calibration) if calibration else find_calibration(Task.SOURCE, recipe)
    if known is not None:
        known.check_recipe(recipe)
    wanted, *recordings = [_describe(path, extractor) for path in (suspect, *candidates)]
    found = search_sources(wanted, recordings, recipe, known)
    text = write_json(to_json(found)) if as_json else "\n".join(list_lines(found)) + "\n"
    write_output(text, Path("-"))


def _describe(path: Path, extractor: FeatureExtractor) -> ClipMotion:
    with show_progress() as on_step:
        return describe_clip(extractor.extract(path, on_step))
