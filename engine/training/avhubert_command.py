"""The typer command behind `wayspeak train avhubert`.

On several GPUs: `torchrun --nproc-per-node N -m engine.training.avhubert_command MANIFEST.csv ...`.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.cli import main
from engine.errors import Code
from engine.settings import Settings
from engine.training.archive import Archive
from engine.training.avhubert import (
    TRAININGS,
    AVHubertTraining,
    begin_untrained,
    plan_iterations,
    save_avhubert,
    train_avhubert,
)
from engine.training.clips import split_folds
from engine.training.crew import Crew, join_crew
from engine.training.probation import sum_up_probation, try_reels
from engine.training.reels import Reel
from engine.training.steps import Losses, Shop
from engine.training.validation import MIN_WHOLE

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

N_FOLDS = 4


class Objective(StrEnum):
    """What is learnt."""

    BOTH = "both"
    ALIGNMENT = "alignment"
    MASKING = "masking"


LOSSES: dict[Objective, dict[str, float]] = {
    Objective.BOTH: {},
    Objective.ALIGNMENT: {"masked": 0.0, "unmasked": 0.0},
    Objective.MASKING: {"alignment": 0.0},
}
"""Weights of losses that each objective sets."""


class Size(StrEnum):
    """A size of the network, as in `models.avhubert.CONFIGS`."""

    TINY = "tiny"
    BASE = "base"
    LARGE = "large"


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips; real ones in sync are used.", show_default=False)],
    config: Annotated[Size, typer.Option(help="Size of the network.")] = Size.TINY,
    out: Annotated[Path, typer.Option(help="Where avhubert_SIZE.safetensors goes.")] = Path("runs/avhubert"),
    cache: Annotated[Path | None, typer.Option(help="Where cut clips are kept; default: the data folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same clips, same machine: same weights.")] = 1,
    iterations: Annotated[int | None, typer.Option(min=1, help="Rounds of clustering and training.")] = None,
    units: Annotated[list[int] | None, typer.Option(min=2, help="Clusters: of all iterations, or of each.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each iteration.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="At its highest.")] = None,
    micro_batches: Annotated[int | None, typer.Option(min=1, help="Of each step, shared by the processes.")] = None,
    sparing: Annotated[bool | None, typer.Option(help="Less memory: compute encoder layers twice.")] = None,
    objective: Annotated[Objective, typer.Option(help="What is learnt.")] = Objective.BOTH,
    workers: Annotated[int, typer.Option(min=1, help="Processes that cut clips side by side.")] = os.cpu_count() or 1,
    loaders: Annotated[int, typer.Option(min=0, help="Processes that prepare batches ahead, for each GPU.")] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    validate: Annotated[bool, typer.Option("--validate", help="Measure on folds left out instead.")] = False,
    fold: Annotated[list[int] | None, typer.Option(min=0, max=3, help="With --validate: leave this out.")] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="With --validate: each objective alone besides.")] = False,
) -> None:
    """Train AV-HuBERT from real clips, or measure what that is worth; a stopped run is taken up again."""
    options = replace(TRAININGS[config], seed=seed)
    options = replace(options, iterations=plan_iterations(options.iterations, iterations, units or []))
    options = _choose(options, steps, learning_rate, micro_batches, sparing)
    settings = Settings.from_env()
    with join_crew(_pick_device(settings)) as crew, _show_progress(crew) as (on_row, on_step):
        place = cache or settings.data_dir / "cache" / "reels"
        reels = _gather(Archive(place, settings, workers, on_row, _complain), manifest, crew)
        shop = Shop(out / "checkpoints", crew, loaders, save_every, on_step)
        if validate:
            objectives = list(Objective) if ablate else [objective]
            figures = measure(reels, options, shop, fold or list(range(N_FOLDS)), objectives)
            told = json.dumps(figures, indent=2)
            if crew.leads:
                (out / "validation.json").write_text(told + "\n", encoding="utf-8")
        else:
            options = _learn(options, objective)
            model, trends = train_avhubert(reels, options, shop)
            path = out / f"avhubert_{config}.safetensors"
            told = f"{path} written."
            if crew.leads:
                save_avhubert(model, path, options, reels, trends)
    if crew.leads:
        typer.echo(told)


def measure(
    reels: Sequence[Reel], options: AVHubertTraining, shop: Shop, folds: Sequence[int], objectives: Sequence[Objective]
) -> dict[str, object]:
    """Train without each of the folds in turn, by each of the objectives, and measure on what was left out.

    BAD_MANIFEST where nothing can be left out, or nothing left out is long enough to be judged.
    """
    fold_of = split_folds(reels, N_FOLDS)
    judged = [fold for fold in folds if any(fold_of[one.corpus] == fold and _is_long(one) for one in reels)]
    if len(set(fold_of.values())) < 2 or not judged:
        raise Code.BAD_MANIFEST(
            "Nothing can be left out to be judged",
            f"Validation needs clips of two sources, and some of {MIN_WHOLE} frames in a fold that is left out.",
        )
    inside = {fold: [one for one in reels if fold_of[one.corpus] == fold] for fold in judged}
    outside = {fold: [one for one in reels if fold_of[one.corpus] != fold] for fold in judged}
    figures: dict[str, object] = {}
    if shop.crew.leads:
        figures["untrained"] = sum_up_probation([try_reels(begin_untrained(options), inside[fold]) for fold in judged])
    for name in objectives:
        kind = _learn(options, name)
        tried, losses = [], {}
        for fold in judged:
            apart = replace(shop, folder=shop.folder / f"{name}-{fold}")
            model, trends = train_avhubert(outside[fold], kind, apart)
            losses[str(fold)] = [trend.sum_up() for trend in trends]
            if shop.crew.leads:
                tried.append(try_reels(model, inside[fold]))
        if shop.crew.leads:
            figures[name] = sum_up_probation(tried) | {"losses_first_and_last": losses}
    return figures


def _choose(
    options: AVHubertTraining,
    steps: int | None,
    learning_rate: float | None,
    micro_batches: int | None,
    sparing: bool | None,
) -> AVHubertTraining:
    """Replace the options of steps that are not None."""
    asked = {"steps": steps, "learning_rate": learning_rate, "micro_batches": micro_batches, "sparing": sparing}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(options, steps=replace(options.steps, **given))


def _learn(options: AVHubertTraining, objective: Objective) -> AVHubertTraining:
    """Switch off the losses that are not of the objective."""
    weights: dict[str, Any] = {**LOSSES[objective]}
    return replace(options, losses=replace(options.losses, **weights))


def _is_long(reel: Reel) -> bool:
    return reel.n_frames >= MIN_WHOLE


def _pick_device(settings: Settings) -> str:
    return "cuda" if settings.device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"


def _gather(archive: Archive, manifest: Path, crew: Crew) -> list[Reel]:
    """Let the first process cut what is missing; the others find it done."""
    if crew.leads:
        reels = archive.gather(manifest)
    crew.wait()
    return reels if crew.leads else replace(archive, workers=1, on_skip=_keep_quiet).gather(manifest)


def _complain(told: str) -> None:
    typer.echo(f"left out: {told}", err=True)


def _keep_quiet(told: str) -> None:
    pass


@contextmanager
def _show_progress(
    crew: Crew,
) -> Iterator[tuple[Callable[[int, int], None], Callable[[str, int, Losses], None]]]:
    """Draw bars on standard error, for the first process alone."""
    columns = (
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not crew.leads) as bar:
        tasks = {}

        def report(name: str, done: int, total: int | None, told: str = "") -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total, told=told)
            bar.update(tasks[name], completed=done, told=told)

        def on_step(name: str, step: int, losses: Losses) -> None:
            report(name, step, None, " ".join(f"{key} {value:.3f}" for key, value in losses.items()))

        yield lambda done, total: report("clips", done, total), on_step


if __name__ == "__main__":
    main(app, "python -m engine.training.avhubert_command")
