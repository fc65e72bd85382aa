"""`wayspeak evaluate`: how well real clips are told from others, and how often a planted offset is found."""

import json as jsonlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID

from engine import weights
from engine.cache import ObservationCache
from engine.errors import BadManifest, EngineError
from engine.figures import (
    ConsistencyFigures,
    OffsetError,
    OffsetFigures,
    Parting,
    Report,
    Scored,
    Skipped,
    count_hits,
    count_planted,
    part,
    part_methods,
)
from engine.manifest import Row, read_manifest
from engine.measurements import MeasuredRow, Measurements, OnRow, choose_rows, decode_ahead, measure_rows
from engine.pipeline import Engine
from engine.scoreboard import print_report, to_json
from engine.settings import Settings
from engine.trials import Trial, TrialClip, cut_windows, plant_offsets, shuffle_faces, try_other_voices, try_own_voices
from engine.types import FPS

SWAPPED = "swapped voice"
"""The method of trials that hold a real face against the voice of another real clip."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Task(StrEnum):
    """What is measured."""

    CONSISTENCY = "consistency"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What changes the figures."""

    seconds: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)  # lengths of the windows
    swap: bool = False  # hold real faces against other voices though the manifest has other labels
    voices_per_face: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PooledScore:
    """A sample: the mean of its rows."""

    score: float
    group: str
    method: str
    is_real: bool


def evaluate_consistency(
    rows: Sequence[MeasuredRow], has_others: bool, engine: Engine, options: EvaluationOptions
) -> ConsistencyFigures:
    """Hold real clips against all others; against swapped voices where the manifest has no others."""
    pooled = pool_samples(rows)
    real = [one for one in pooled if one.is_real]
    labelled = [one for one in pooled if not one.is_real]
    real_clips, other_clips = ([one.clip for one in rows if one.row.is_real == wanted] for wanted in (True, False))
    bench = _Bench(engine, options, other_clips if has_others else None)
    swapped = bench.swap(real_clips) if options.swap or not has_others else []
    methods: dict[str, list[Scored]] = {SWAPPED: [*swapped]} if swapped else {}
    for one in labelled:
        methods.setdefault(one.method, []).append(one)
    return ConsistencyFigures(
        others="labelled" if has_others else SWAPPED,
        parting=part(real, labelled if has_others else swapped, options.seed),
        per_method=part_methods(real, methods, options.seed),
        by_seconds={f"{length:g}": bench.part_windows(real_clips, length) for length in options.seconds},
        control=bench.part_shuffled(real_clips),
    )


def evaluate_offset(rows: Sequence[MeasuredRow], engine: Engine, options: EvaluationOptions) -> OffsetFigures:
    """Compare offsets with the manifest's own; where it has none, with those planted into the real clips."""
    told = [(one, one.row.offset_s) for one in rows if one.row.offset_s is not None]
    if told:
        errors = [OffsetError(abs(one.offset_s - offset_s) * FPS, one.row.person) for one, offset_s in told]
        return OffsetFigures("offset_s", count_hits(errors, options.seed), None, {}, len(errors))
    clips = [one.clip for one in rows if one.row.is_real]
    planted = list(plant_offsets(clips, engine.model.encode, options=engine.options.consistency))
    shifts = sorted({one.planted for one in planted})
    return OffsetFigures(
        truth="planted",
        hits=count_planted(planted, seed=options.seed),
        within_1_frame_own=count_planted(planted, relative_to_own=True, seed=options.seed),
        by_shift={f"{shift}": count_planted([one for one in planted if one.planted == shift]) for shift in shifts},
        n_clips=len({one.name for one in planted}),
    )


def pool_samples(rows: Sequence[MeasuredRow]) -> list[PooledScore]:
    """Take the mean score of the rows of one sample, label and method; a row without a sample stands alone."""
    pools: dict[tuple[str, str, str], list[MeasuredRow]] = {}
    for one in rows:
        sample = f"sample {one.row.sample}" if one.row.sample else f"row {one.row.number}"
        pools.setdefault((one.row.label, one.row.method, sample), []).append(one)
    return [
        PooledScore(
            score=float(np.mean([one.score for one in pool])),
            group=pool[0].row.person,
            method=method or label,
            is_real=pool[0].row.is_real,
        )
        for (label, method, _), pool in pools.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """How faces are held against voices throughout one evaluation."""

    engine: Engine
    options: EvaluationOptions
    others: list[TrialClip] | None  # None: the other voices of the real clips themselves

    def swap(self, clips: Sequence[TrialClip]) -> list[Trial]:
        return try_other_voices(clips, self.engine.options.consistency, self.options.voices_per_face, self.options.seed)

    def part_windows(self, clips: Sequence[TrialClip], length_s: float) -> Parting:
        n_frames = round(length_s * FPS)
        others = None if self.others is None else cut_windows(self.others, n_frames, self.engine.model.encode)
        return self._part(cut_windows(clips, n_frames, self.engine.model.encode), others)

    def part_shuffled(self, clips: Sequence[TrialClip]) -> Parting:
        encode, seed = self.engine.model.encode, self.options.seed
        others = None if self.others is None else shuffle_faces(self.others, encode, seed)
        return self._part(shuffle_faces(clips, encode, seed), others)

    def _part(self, clips: Sequence[TrialClip], others: Sequence[TrialClip] | None) -> Parting:
        options = self.engine.options.consistency
        other = self.swap(clips) if others is None else try_own_voices(others, options)
        return part(try_own_voices(clips, options), other, self.options.seed)


@app.command()
def evaluate(
    manifest: Annotated[
        Path, typer.Argument(help="CSV with path, label (`real` against anything else), speaker, source, method, ...")
    ],
    task: Annotated[Task, typer.Option(help="What to measure.")] = Task.CONSISTENCY,
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
    swap: Annotated[bool, typer.Option("--swap", help="Hold real faces against other voices too.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
) -> None:
    """Measure on a manifest of clips.

    `consistency`: how well real clips are told from all others; from real faces with swapped voices where the manifest
    has no others. `offset`: how often the offset is found within one frame of the manifest's `offset_s`; of shifts of
    up to 12 frames that are planted into the real clips where the manifest has none.
    """
    options = EvaluationOptions(read_seconds(seconds), swap, seed=seed)
    rows = read_manifest(manifest)
    wanted, unwanted = select_rows(rows, task)
    usable, useless = choose_rows(wanted, limit)
    settings = Settings.from_env()
    engine = Engine.load(settings)
    store = ObservationCache(cache or settings.data_dir / "cache", engine.observer.recipe)
    with _name_disk_errors(), _show_progress() as on_row:
        if workers > 1:
            paths = [row.path for row in usable]
            decode_ahead(paths, settings, engine.observer.face_options, store, workers, on_row)
        found = measure_rows(usable, engine, store, min_seconds, on_row)
    found = replace(found, skipped=(*unwanted, *useless, *found.skipped))
    report = build_report(task, found, engine, options, read_trained_sources(settings))
    _deliver(report, json)
    if not found.measured:
        sys.stderr.write("wayspeak: no clip of the manifest could be measured; see why above.\n")
        raise typer.Exit(1)


def select_rows(rows: Sequence[Row], task: Task) -> tuple[list[Row], list[Skipped]]:
    """Part the rows that the task is about from the others; BadManifest where it cannot be done with them at all."""
    if task == Task.CONSISTENCY:
        _check_sides(rows)
        return list(rows), []
    if any(row.offset_s is not None for row in rows):
        reason, chosen = "it has no offset_s", [row for row in rows if row.offset_s is not None]
    else:
        reason, chosen = "offsets are planted into real clips alone", [row for row in rows if row.is_real]
    if not chosen:
        raise BadManifest("The manifest has neither an offset_s nor a row with the label real.", "Offsets need either.")
    taken = {row.number for row in chosen}
    return chosen, [Skipped(row.written, reason) for row in rows if row.number not in taken]


def build_report(
    task: Task, found: Measurements, engine: Engine, options: EvaluationOptions, trained_on: frozenset[str]
) -> Report:
    """Work out the figures of what was measured."""
    rows = found.measured
    figures: ConsistencyFigures | OffsetFigures
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


def read_trained_sources(settings: Settings) -> frozenset[str]:
    """Name the sources that the installed model was trained on, as far as its record tells."""
    record = weights.read_sidecar(weights.compact(settings.data_dir)).get("trained_on", {})
    return frozenset(record.get("sources", ()))


def _check_sides(rows: Sequence[Row]) -> None:
    real = [row for row in rows if row.is_real]
    if not real:
        found = ", ".join(sorted({row.label for row in rows}))
        raise BadManifest(f"The manifest has no row with the label real, only {found}.", "Others are held against it.")
    if len(real) == len(rows) and len({row.person for row in real}) < 2:
        raise BadManifest(
            "All rows of the manifest are real and of one speaker, so there is nothing to hold them against.",
            "Add clips of other speakers, whose voices can be swapped, or clips with another label.",
        )


def _deliver(report: Report, json: Path | None) -> None:
    """Print the tables and write the JSON where it is wanted; where that is standard output, tables go to the other."""
    print_report(report, Console(stderr=json == Path("-")))
    if json is None:
        return
    text = jsonlib.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n"
    if json == Path("-"):
        sys.stdout.write(text)
        return
    try:
        json.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise EngineError(f"{json} cannot be written: {cause.strerror}.", "Choose another place.") from cause


@contextmanager
def _name_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise EngineError(f"The cache cannot be written: {cause}.", "Choose another folder with --cache.") from cause


@contextmanager
def _show_progress() -> Iterator[OnRow]:
    """Draw a bar on standard error."""
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def on_row(step: str, completed: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=completed)

        yield on_row
