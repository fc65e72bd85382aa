"""`wayspeak evaluate`: from a manifest of clips to tables of figures."""

import json as jsonlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console

from engine.consistency.methods import Method, choose_method
from engine.datasets.manifest import Row, Skipped
from engine.datasets.public import Choice, Layout
from engine.errors import Code, EngineError
from engine.evaluation.bench import EvaluationOptions
from engine.evaluation.consistency import evaluate_consistency, evaluate_offset
from engine.evaluation.measurements import (
    Measurements,
    ReadOptions,
    embed_clips,
    read_rows,
    read_trained_sources,
    score_clips,
)
from engine.evaluation.results import ConsistencyResults, OffsetResults, Report
from engine.evaluation.speakers.identity import (
    IdentityOptions,
    IdentityTask,
    check_manifest,
    evaluate_identity,
)
from engine.evaluation.speakers.results import IdentityReport
from engine.evaluation.tables import print_report, to_json
from engine.pipeline import Engine
from engine.settings import Settings
from engine.style.embedder import EmbedderName
from engine.types import Mode, Model
from webapp.cli.output import STDOUT, show_counts, write_output


class Task(StrEnum):
    """What is measured."""

    CONSISTENCY = "consistency"
    OFFSET = "offset"
    VERIFICATION = "verification"
    IDENTIFICATION = "identification"
    IOS = "ios"


def evaluate(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV with path, label (`real` against anything else), speaker, source, method, ...; or the folder of "
            "a public collection."
        ),
    ],
    task: Annotated[Task, typer.Option(help="What to measure.")] = Task.CONSISTENCY,
    also: Annotated[
        list[Path] | None, typer.Option(help="Another manifest, such as one of forged clips; again for more.")
    ] = None,
    layout: Annotated[
        Layout | None, typer.Option(help="Which collection the folder is.  [default: what it looks like]")
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Of the folder, only what this list of SpeechForensics' format names.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the folder, only this split, such as test.")] = "",
    compression: Annotated[str, typer.Option(help="Of FaceForensics++: raw, c0, c23 or c40.")] = "",
    json: Annotated[
        Path | None, typer.Option(help="Write the figures as JSON into this file; '-' for standard output.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for what was seen in each clip.  [default: in the data folder]")
    ] = None,
    seconds: Annotated[str, typer.Option(help="Lengths of the windows, at least 1 s each.")] = "1,2,3,5",
    min_seconds: Annotated[float, typer.Option(min=0, help="Leave out clips that are shorter.")] = 0.0,
    limit: Annotated[int, typer.Option(min=0, help="Take so many clips, spread evenly; 0 takes all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 1,
    model: Annotated[
        Model | None, typer.Option(help="Who compares.  [default: compact; in paper mode AV-HuBERT]")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By time, or as SpeechForensics does.")] = Mode.STRICT,
    embedder: Annotated[
        EmbedderName, typer.Option(help="For people: the way of speaking, or the face's shape for comparison.")
    ] = EmbedderName.DYNAMICS,
    pool: Annotated[
        float | None, typer.Option(min=1, help="For people: pool clips to samples of so many seconds.")
    ] = None,
    same_session: Annotated[
        bool, typer.Option("--same-session", help="For people: hold samples of one session against each other too.")
    ] = False,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="For people: whose motion is not natural names nobody.")
    ] = True,
    swap: Annotated[bool, typer.Option("--swap", help="Hold real faces against other voices too.")] = False,
    trim_silence: Annotated[
        bool, typer.Option("--trim-silence", help="Tell as well what is left without leading and trailing silence.")
    ] = False,
    in_depth: Annotated[
        bool,
        typer.Option(
            "--in-depth",
            help="For consistency, tell as well: scores, other lengths, no offset, what is left without a part.",
        ),
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="For consistency: look in depth, and draw HTML and PNG into this folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
) -> None:
    """Measure on a manifest of clips.

    `consistency`: how well real clips are told from all others; from real faces with swapped voices where the manifest
    has no others. `offset`: how often the offset is found within one frame of the manifest's `offset_s`; of shifts of
    up to 12 frames that are planted into the real clips where the manifest has none.

    `verification`: how well two samples of one person are told from two of two. `identification`: how often the right
    one of all enrolled comes first, also among strangers. `ios`: whether forged clips, whose face_owner and
    motion_owner are two people, lead to who moved. All three enrol real rows by their speaker, hold nothing of one
    session against itself, and look up clips with another label method by method. A clip whose motion is not natural
    names nobody, which counts against an untouched one; --no-gate tells what the embedding alone would do.
    """
    settings, reading = Settings.from_env(), ReadOptions(cache, min_seconds, limit, workers)
    deep = in_depth or figures is not None
    if deep and task != Task.CONSISTENCY:
        raise typer.BadParameter("--in-depth and --figures are for --task consistency")
    drawings = load_drawings() if figures else None
    options = EvaluationOptions(read_seconds(seconds), swap, seed=seed, trim_silence=trim_silence, in_depth=deep)
    rows, absent = read_clips([manifest, *(also or ())], layout, Choice(listed, split, compression))
    report: Report | IdentityReport
    if task in (Task.CONSISTENCY, Task.OFFSET):
        report = measure_clips(
            rows, task, options, choose_method(model, mode, None, settings.data_dir), settings, reading
        )
    else:
        people = IdentityOptions(IdentityTask(task), embedder, pool, same_session, gate, seed)
        report = measure_people(rows, people, settings, reading)
    report = replace(report, skipped=(*absent, *report.skipped))
    _deliver(report, json)
    if not report.n_rows:
        sys.stderr.write("wayspeak: no clip of the manifest could be measured; see why above.\n")
        raise typer.Exit(1)
    if figures and drawings and isinstance(report, Report) and isinstance(report.figures, ConsistencyResults):
        drawings.write_plots(drawings.plot_consistency(report.figures), figures)


def load_drawings() -> ModuleType:
    """Give what draws; EngineError where Plotly, which nothing else here needs, is not installed."""
    try:
        return import_module("engine.evaluation.plots")
    except ImportError as cause:
        raise EngineError("Figures need plotly, which is not installed.", "pip install 'wayspeak[figures]'") from cause


def read_clips(paths: Sequence[Path], layout: Layout | None, choice: Choice) -> tuple[list[Row], list[Skipped]]:
    """Read manifests and folders as `read_rows` does; typer.BadParameter for a folder's option without a folder."""
    if (layout is not None or choice != Choice()) and not any(path.is_dir() for path in paths):
        raise typer.BadParameter("--layout, --list, --split and --compression are for a folder, not for a CSV")
    return read_rows(paths, layout, choice)


def measure_clips(
    rows: Sequence[Row],
    task: Task,
    options: EvaluationOptions,
    method: Method,
    settings: Settings,
    reading: ReadOptions,
) -> Report:
    """Measure faces against voices."""
    wanted, unwanted = select_rows(rows, task)
    engine = Engine.load(settings, method)
    with show_counts() as on_row:
        found = score_clips(wanted, engine, settings, reading, on_row)
    found = replace(found, skipped=(*unwanted, *found.skipped))
    return build_report(task, found, engine, options, read_trained_sources(settings, engine.expert.model))


def measure_people(
    rows: Sequence[Row], options: IdentityOptions, settings: Settings, reading: ReadOptions
) -> IdentityReport:
    """Measure how people are told by what is embedded of their faces."""
    check_manifest(rows, options)
    with show_counts() as on_row:
        embedded = embed_clips(rows, options, settings, reading, on_row)
    return evaluate_identity(embedded, rows, options)


def select_rows(rows: Sequence[Row], task: Task) -> tuple[list[Row], list[Skipped]]:
    """Part the rows that the task is about from the others; BAD_MANIFEST where it cannot be done with them at all."""
    if task == Task.CONSISTENCY:
        _check_sides(rows)
        return list(rows), []
    if any(row.offset_s is not None for row in rows):
        reason, chosen = "it has no offset_s", [row for row in rows if row.offset_s is not None]
    else:
        reason, chosen = "offsets are planted into real clips alone", [row for row in rows if row.is_real]
    if not chosen:
        raise Code.BAD_MANIFEST(
            "The manifest has neither an offset_s nor a row with the label real.", "Offsets need either."
        )
    taken = {row.number for row in chosen}
    return chosen, [Skipped(row.written, reason) for row in rows if row.number not in taken]


def build_report(
    task: Task, found: Measurements, engine: Engine, options: EvaluationOptions, trained_on: frozenset[str]
) -> Report:
    """Work out the figures of what was measured."""
    rows = found.measured
    figures: ConsistencyResults | OffsetResults
    if task == Task.CONSISTENCY:
        figures = evaluate_consistency(rows, found.has_others, engine, options)
    else:
        figures = evaluate_offset(rows, engine, options)
    return Report(
        recipe=engine.recipe,
        figures=figures,
        n_rows=len(rows),
        n_refused_by_gates=sum(one.refused for one in rows),
        n_from_trained_sources=sum(one.row.source in trained_on for one in rows),
        skipped=tuple(found.skipped),
    )


def read_seconds(text: str) -> tuple[float, ...]:
    """Read `1,2,3,5`; typer.BadParameter where that is no list of lengths from 1 s on."""
    try:
        lengths = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as cause:
        raise typer.BadParameter(f"{text!r} is not a list such as 1,2,3,5") from cause
    if not all(1.0 <= length <= 900.0 for length in lengths):
        raise typer.BadParameter(f"windows are from 1 to 900 s long, found {text!r}")
    return lengths


def _check_sides(rows: Sequence[Row]) -> None:
    real = [row for row in rows if row.is_real]
    if not real:
        found = ", ".join(sorted({row.label for row in rows}))
        raise Code.BAD_MANIFEST(
            f"The manifest has no row with the label real, only {found}.", "Others are held against it."
        )
    if len(real) == len(rows) and len({row.person for row in real}) < 2:
        raise Code.BAD_MANIFEST(
            "All rows of the manifest are real and of one speaker, so there is nothing to hold them against.",
            "Add clips of other speakers, whose voices can be swapped, or clips with another label.",
        )


def _deliver(report: Report | IdentityReport, json: Path | None) -> None:
    """Print the tables and write the JSON where it is wanted; where that is standard output, tables go to the other."""
    print_report(report, Console(stderr=json == STDOUT))
    if json is not None:
        write_output(jsonlib.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n", json)
