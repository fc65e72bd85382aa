"""The typer command behind `wayspeak train consistency`."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from engine.cache import ObservationCache
from engine.calibration.trials import write_trials
from engine.evaluation.trials import Encode
from engine.models.compact import CompactConsistency
from engine.observer import Observer
from engine.settings import Settings
from engine.training.clips import TrainingClip, split_folds
from engine.training.consistency import (
    TrainingOptions,
    Workshop,
    align_clips,
    observe_clips,
    save_compact,
    train_held_out,
    train_members,
)
from engine.training.members import Trainee
from engine.training.scores import score_held_out
from engine.training.validation import encode_by_context, encode_by_members, sum_up, try_fold

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips; real ones in sync are used.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Where compact.safetensors goes.")] = Path("runs/compact"),
    cache: Annotated[Path | None, typer.Option(help="Where observations are kept; default: the data folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same clips, same machine: same weights.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each member.")] = 400,
    members: Annotated[int, typer.Option(min=1, help="Networks that form the model.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train side by side.")] = os.cpu_count() or 1,
    validate: Annotated[bool, typer.Option("--validate", help="Measure on folds left out instead.")] = False,
    ablate: Annotated[bool, typer.Option("--ablate", help="With --validate: alignment alone, masking alone.")] = False,
    scores: Annotated[
        Path | None, typer.Option(help="With --validate: write the left-out clips' scores here, to calibrate from.")
    ] = None,
) -> None:
    """Train the compact consistency model, or measure what this training is worth; a stopped run is taken up again."""
    settings = Settings.from_env()
    observer = Observer.load(settings)
    kept = ObservationCache(cache or settings.data_dir / "cache" / "observations", observer.recipe)
    options = TrainingOptions(seed=seed, n_members=members)
    options = replace(options, members=replace(options.members, steps=steps))
    device = "cuda" if settings.device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        report = _reporter(bar)
        clips = observe_clips(manifest, observer, kept, lambda done, total: report("clips", done, total))
        shop = Workshop(out / "checkpoints", device, workers, lambda name, step: report(name, step, None))
        aligned = align_clips(clips, options, shop)
        if validate:
            figures = measure(aligned, options, shop, ablate)
            out.mkdir(parents=True, exist_ok=True)
            (out / "validation.json").write_text(json.dumps(figures, indent=2) + "\n")
            (out / "held-out.json").write_text(json.dumps(_list_held_out(aligned, options), indent=2) + "\n")
            if scores is not None:
                write_trials(score_held_out(manifest, aligned, options, shop, observer, kept), scores)
        else:
            trained = train_members("final", aligned, options, shop)
            model = CompactConsistency.of([trainee.member for trainee in trained])
            save_compact(model, out / "compact.safetensors", options, aligned)
    typer.echo(json.dumps(figures, indent=2) if validate else f"{out / 'compact.safetensors'} written.")


def measure(
    clips: list[TrainingClip], options: TrainingOptions, shop: Workshop, ablate: bool
) -> dict[str, dict[str, object]]:
    """Train without each fold in turn and measure on it; with `ablate`, one member of each kind besides."""
    held_out = train_held_out("held-out", clips, options, shop)
    figures = {"model": _measure(clips, options, held_out, encode_by_members, False)}
    if not ablate:
        return figures
    firsts = {fold: trainees[:1] for fold, trainees in held_out.items()}
    figures["both"] = _measure(clips, options, firsts, encode_by_members, True)
    for name, aligned, masked in (("alignment", True, False), ("masking", False, True)):
        kind = replace(options, n_members=1, members=replace(options.members, aligned=aligned, masked=masked))
        encode = encode_by_members if aligned else encode_by_context
        figures[name] = _measure(clips, options, train_held_out(f"held-out-{name}", clips, kind, shop), encode, True)
    return figures


def _measure(
    clips: list[TrainingClip],
    options: TrainingOptions,
    held_out: dict[int, list[Trainee]],
    encode: Callable[[list[Trainee]], Encode],
    fast: bool,
) -> dict[str, object]:
    fold_of = split_folds(clips, options.n_folds)
    tried = [
        try_fold([clip for clip in clips if fold_of[clip.corpus] == fold], encode(trainees), fast)
        for fold, trainees in held_out.items()
    ]
    return sum_up(tried)


def _list_held_out(clips: list[TrainingClip], options: TrainingOptions) -> dict[str, list[str]]:
    """Name the corpora that the networks of each fold never saw, for whoever takes their checkpoints up later."""
    held: dict[str, list[str]] = {}
    for corpus, fold in sorted(split_folds(clips, options.n_folds).items()):
        held.setdefault(str(fold), []).append(corpus)
    return dict(sorted(held.items()))


def _reporter(bar: Progress) -> Callable[[str, int, int | None], None]:
    tasks = {}

    def report(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=done)

    return report
