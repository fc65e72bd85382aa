"""`wayspeak evaluate`: metrics on a manifest of clips."""

import json as jsonlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console

from engine.calibration.apply import find_calibration
from engine.calibration.files import read_record
from engine.calibration.records import Task as CalibrationTask
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
from engine.evaluation.motion_clips import describe_clips
from engine.evaluation.motion_sources import SourceOptions, SourceReport, evaluate_sources
from engine.evaluation.motion_tables import print_sources
from engine.evaluation.results import ConsistencyResults, OffsetResults, Report
from engine.evaluation.speakers.identity import (
    IdentityOptions,
    IdentityTask,
    check_manifest,
    evaluate_identity,
)
from engine.evaluation.speakers.results import IdentityReport
from engine.evaluation.tables import print_report, print_skipped, to_json
from engine.pipeline import Engine
from engine.settings import Settings
from engine.style.embedder import EmbedderName
from engine.types import Mode, Model
from webapp.cli.output import STDOUT, write_output
from webapp.progress import show_counts


class Task(StrEnum):
    """Evaluation task."""

    CONSISTENCY = "consistency"
    OFFSET = "offset"
    VERIFICATION = "verification"
    IDENTIFICATION = "identification"
    IOS = "ios"
    SOURCE = "source"


def evaluate(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV with path, label (`real` or other), speaker, source, method, ...; or folder of a public "
            "collection."
        ),
    ],
    task: Annotated[Task, typer.Option(help="Task.")] = Task.CONSISTENCY,
    also: Annotated[
        list[Path] | None, typer.Option(help="Another manifest, such as one of forged clips; repeatable.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Layout of the folder.  [default: detected]")] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Only the clips of this list in the format of SpeechForensics.")
    ] = None,
    split: Annotated[str, typer.Option(help="Only this split of the folder, such as test.")] = "",
    compression: Annotated[str, typer.Option(help="Compression of FaceForensics++: raw, c0, c23 or c40.")] = "",
    json: Annotated[
        Path | None, typer.Option(help="Write the results as JSON to this file; '-': standard output.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache.  [default: in the data folder]")
    ] = None,
    seconds: Annotated[str, typer.Option(help="Window lengths in seconds, at least 1.")] = "1,2,3,5",
    min_seconds: Annotated[float, typer.Option(min=0, help="Skip shorter clips.")] = 0.0,
    limit: Annotated[int, typer.Option(min=0, help="Number of clips to use, spread evenly; 0: all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Decoding processes.")] = 1,
    model: Annotated[Model | None, typer.Option(help="Model.  [default: compact; AV-HuBERT in paper mode]")] = None,
    mode: Annotated[Mode, typer.Option(help="Over time, or as in SpeechForensics.")] = Mode.STRICT,
    embedder: Annotated[
        EmbedderName, typer.Option(help="For speakers: speaking style, or face shape as a baseline.")
    ] = EmbedderName.DYNAMICS,
    pool: Annotated[
        float | None, typer.Option(min=1, help="For speakers: pool clips to samples of this many seconds.")
    ] = None,
    same_session: Annotated[
        bool, typer.Option("--same-session", help="For speakers: also compare samples of one session.")
    ] = False,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="For speakers: no candidate for clips of unnatural motion.")
    ] = True,
    swap: Annotated[bool, typer.Option("--swap", help="Also compare real faces with other voices.")] = False,
    trim_silence: Annotated[
        bool, typer.Option("--trim-silence", help="Also report results without leading and trailing silence.")
    ] = False,
    in_depth: Annotated[
        bool,
        typer.Option(
            "--in-depth",
            help="For consistency: also report scores, more lengths, no offset search, ablations.",
        ),
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="For consistency: --in-depth, with plots as HTML and PNG in this folder.")
    ] = None,
    distractors: Annotated[
        int, typer.Option(min=0, help="For the source: other recordings per clip, drawn at random; 0: all.")
    ] = 0,
    degrade: Annotated[bool, typer.Option("--degrade/--no-degrade", help="For the source: also degrade.")] = True,
    calibration: Annotated[
        Path | None, typer.Option(help="For the source: calibration record.  [default: the shipped one]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Evaluate on a manifest of clips.

    `consistency`: discriminate real clips and all others, or real faces with swapped voices if the manifest has no
    others. `offset`: share of clips with the AV offset found within one frame of `offset_s`, or of planted shifts of up
    to 12 frames if the manifest has no `offset_s`.

    `verification`: discriminate pairs of samples of one and of two speakers. `identification`: rank-1 rate among all
    enrolled speakers, also in an open set. `ios`: for forged clips with different face_owner and motion_owner, whether
    the motion_owner is identified. All three enrol real rows by speaker, never compare samples of one session, and
    report other labels by method. A clip of unnatural motion has no candidate, which counts as an error for a real
    clip; --no-gate evaluates the embedding alone.

    `source`: whether the recording that a made clip follows (same `pair`; motion_owner, face_owner) comes first among
    all other recordings of the manifest: whole, cut to 2, 5 and 10 s, and with its motion degraded.
    """
    settings, reading = Settings.from_env(), ReadOptions(cache, min_seconds, limit, workers)
    deep = in_depth or figures is not None
    if deep and task != Task.CONSISTENCY:
        raise typer.BadParameter("--in-depth and --figures are for --task consistency")
    drawings = load_drawings() if figures else None
    options = EvaluationOptions(read_seconds(seconds), swap, seed=seed, trim_silence=trim_silence, in_depth=deep)
    rows, absent = read_clips([manifest, *(also or ())], layout, Choice(listed, split, compression))
    if task == Task.SOURCE:
        chosen = SourceOptions(n_distractors=distractors, degrades=degrade, seed=seed)
        found = measure_sources(rows, chosen, calibration, settings, reading)
        _deliver(replace(found, skipped=(*absent, *found.skipped)), json)
        return
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
        sys.stderr.write("wayspeak: no clip of the manifest could be measured; see the reasons above.\n")
        raise typer.Exit(1)
    if figures and drawings and isinstance(report, Report) and isinstance(report.figures, ConsistencyResults):
        drawings.write_plots(drawings.plot_consistency(report.figures), figures)


def load_drawings() -> ModuleType:
    """Import the plots; raises EngineError if Plotly, an optional dependency, is not installed."""
    try:
        return import_module("engine.evaluation.plots")
    except ImportError as cause:
        raise EngineError("Plots need plotly, which is not installed.", "pip install 'wayspeak[figures]'") from cause


def read_clips(paths: Sequence[Path], layout: Layout | None, choice: Choice) -> tuple[list[Row], list[Skipped]]:
    """Read manifests and folders; raises typer.BadParameter for options of a folder without a folder."""
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
    """Evaluate consistency or offset."""
    wanted, unwanted = select_rows(rows, task)
    engine = Engine.load(settings, method)
    with show_counts() as on_row:
        found = score_clips(wanted, engine, settings, reading, on_row)
    found = replace(found, skipped=(*unwanted, *found.skipped))
    return build_report(task, found, engine, options, read_trained_sources(settings, engine.scorer.model))


def measure_people(
    rows: Sequence[Row], options: IdentityOptions, settings: Settings, reading: ReadOptions
) -> IdentityReport:
    """Evaluate speaker recognition with embeddings of faces."""
    check_manifest(rows, options)
    with show_counts() as on_row:
        embedded = embed_clips(rows, options, settings, reading, on_row)
    return evaluate_identity(embedded, rows, options)


def measure_sources(
    rows: Sequence[Row], options: SourceOptions, calibration: Path | None, settings: Settings, reading: ReadOptions
) -> SourceReport:
    """Evaluate which recording drove a face; raises BAD_MANIFEST if no clip has a source in the manifest."""
    if not any(row.pair for row in rows):
        raise Code.BAD_MANIFEST(
            "The manifest has no `pair`: no clip names the recording that it follows.",
            "Give a made clip and its source the same `pair`.",
        )
    with show_counts() as on_row:
        clips = describe_clips(rows, settings, reading, on_row)
        known = read_record(calibration) if calibration else find_calibration(CalibrationTask.SOURCE, clips.recipe)
        return evaluate_sources(clips, known, options, on_row)


def select_rows(rows: Sequence[Row], task: Task) -> tuple[list[Row], list[Skipped]]:
    """Split rows into usable and skipped ones for the task; raises BAD_MANIFEST if none is usable."""
    if task == Task.CONSISTENCY:
        _check_sides(rows)
        return list(rows), []
    if any(row.offset_s is not None for row in rows):
        reason, chosen = "it has no offset_s", [row for row in rows if row.offset_s is not None]
    else:
        reason, chosen = "offsets are planted into real clips only", [row for row in rows if row.is_real]
    if not chosen:
        raise Code.BAD_MANIFEST(
            "The manifest has neither an offset_s nor a row with the label real.", "Offsets need either."
        )
    taken = {row.number for row in chosen}
    return chosen, [Skipped(row.written, reason) for row in rows if row.number not in taken]


def build_report(
    task: Task, found: Measurements, engine: Engine, options: EvaluationOptions, trained_on: frozenset[str]
) -> Report:
    """Compute the metrics of the measurements."""
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
    """Parse window lengths in seconds such as `1,2,3,5`, at least 1 s; raises typer.BadParameter."""
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
            "Add clips of other speakers for swapped voices, or clips with another label.",
        )


def _deliver(report: Report | IdentityReport | SourceReport, json: Path | None) -> None:
    """Print the tables and write the JSON; tables go to standard error if the JSON goes to standard output."""
    console = Console(stderr=json == STDOUT)
    if isinstance(report, SourceReport):
        print_sources(report, console)
        print_skipped(report.skipped, console)
    else:
        print_report(report, console)
    if json is not None:
        built = asdict(report) if isinstance(report, SourceReport) else to_json(report)
        write_output(jsonlib.dumps(built, indent=2, ensure_ascii=False) + "\n", json)
