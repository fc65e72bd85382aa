"""`wayspeak train consistency`, `dynamics`, `avhubert`, `cover`: train weights, or validate on held-out clips.

On several GPUs: `torchrun --nproc-per-node N -m webapp.cli train avhubert MANIFEST.csv ...`.
"""

import json
import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import TextColumn, TimeElapsedColumn

from engine.calibration.records import Task
from engine.calibration.trials import write_trials
from engine.errors import Code
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.models.compact import CompactConsistency
from engine.settings import Settings
from engine.training.avhubert import validation as avhubert_validation
from engine.training.avhubert.dataset import PreprocessedDataset
from engine.training.avhubert.train import TRAININGS, AVHubertTraining, plan_iterations, save_avhubert, train_avhubert
from engine.training.avhubert.trainer import Losses, RunContext, join_process_group
from engine.training.avhubert.validation import Objective, choose_losses
from engine.training.consistency import train
from engine.training.consistency.train import (
    TrainingContext,
    TrainingOptions,
    align_clips,
    build_training_clips,
    list_held_out,
    save_compact,
    score_held_out,
    train_members,
)
from engine.training.style import validation as style_validation
from engine.training.style.speakers import gather_spoken_clips, read_spoken_rows, split_speakers
from engine.training.style.train import DynamicsOptions
from engine.training.style.validation import (
    list_ablations,
    measure_folds,
    save_folds,
    train_final,
    train_in_turn,
    write_held_out,
)
from engine.weights.registry import hash_file
from webapp.cli.train_cover import train_mouth_cover
from webapp.progress import show_counts

app = typer.Typer(help="Train the Wayspeak models from clips.", add_completion=False, no_args_is_help=True)
app.command("cover", short_help="Train the network for covered mouths.")(train_mouth_cover)
DEFAULTS = DynamicsOptions()


class Size(StrEnum):
    """Size of the network, as in `models.avhubert.CONFIGS`."""

    TINY = "tiny"
    BASE = "base"
    LARGE = "large"


@app.command(
    "consistency",
    short_help="Train the compact consistency model.",
)
def train_consistency(
    manifest: Annotated[
        Path, typer.Argument(help="CSV of clips; real synchronised ones are used.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/compact"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache; default: in the data folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed; reproducible on the same machine.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps per ensemble member.")] = 600,
    members: Annotated[int, typer.Option(min=1, help="Ensemble members.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = os.cpu_count() or 1,
    validate: Annotated[bool, typer.Option("--validate", help="Validate on held-out folds instead.")] = False,
    ablate: Annotated[bool, typer.Option("--ablate", help="With --validate: also each loss alone.")] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="With --validate: also with fewer people, and with half of the seconds.")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="With --validate: file for the scores of held-out clips; those of spans: NAME-spans next to it."
        ),
    ] = None,
) -> None:
    """Train the compact consistency model, or validate its training; an interrupted run is resumed."""
    settings = Settings.from_env()
    extractor = FeatureExtractor.load(settings)
    kept = FeatureCache(cache or settings.data_dir / "cache" / "observations", extractor.recipe)
    options = TrainingOptions(seed=seed, n_members=members)
    options = replace(options, members=replace(options.members, steps=steps))
    with show_counts(TimeElapsedColumn()) as report:
        clips = build_training_clips(manifest, extractor, kept, lambda done, total: report("clips", done, total))
        shop = TrainingContext(out / "checkpoints", _pick_device(settings), workers, report)
        aligned = align_clips(clips, options, shop)
        if validate:
            figures = train.measure_held_out(aligned, options, shop, ablate)
            figures |= train.measure_curve(aligned, options, shop) if curve else {}
            out.mkdir(parents=True, exist_ok=True)
            (out / "validation.json").write_text(json.dumps(figures, indent=2) + "\n")
            (out / "held-out.json").write_text(json.dumps(list_held_out(aligned, options), indent=2) + "\n")
            if scores is not None:
                scored = score_held_out(manifest, aligned, options, shop, extractor, kept)
                write_trials(scored[Task.CONSISTENCY], scores)
                write_trials(scored[Task.SPANS], scores.with_name(f"{scores.stem}-spans{scores.suffix}"))
        else:
            trained = train_members("final", aligned, options, shop)
            model = CompactConsistency.of([trainee.member for trainee in trained])
            save_compact(model, out / "compact.safetensors", options, aligned)
    typer.echo(json.dumps(figures, indent=2) if validate else f"{out / 'compact.safetensors'} written.")


@app.command(
    "dynamics",
    short_help="Train the speaking-style model.",
)
def train_dynamics(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips; real ones are used, also without sound.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/dynamics"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache; default: in the data folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed; reproducible on the same machine.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps per ensemble member.")] = DEFAULTS.steps,
    members: Annotated[int, typer.Option(min=1, help="Ensemble members.")] = DEFAULTS.n_members,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = os.cpu_count() or 1,
    validate: Annotated[bool, typer.Option("--validate", help="Validate on held-out speakers instead.")] = False,
    ablate: Annotated[bool, typer.Option("--ablate", help="With --validate: also without each component.")] = False,
    curve: Annotated[bool, typer.Option("--curve", help="With --validate: also with fewer speakers.")] = False,
    measured: Annotated[
        int,
        typer.Option(
            "--folds",
            min=1,
            max=style_validation.N_FOLDS,
            help="With --validate: number of folds, of four.",
        ),
    ] = style_validation.N_FOLDS,
    forged: Annotated[
        list[Path] | None,
        typer.Option(help="CSV of `wayspeak forge`: motion of the speakers on other faces, labelled by motion."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="With --validate: keep the weights of each fold.")] = False,
    scores: Annotated[
        Path | None,
        typer.Option(help="With --validate: folder for the scores of held-out speakers, one file per task."),
    ] = None,
) -> None:
    """Train the speaking-style model, or cross-validate its training over held-out speakers."""
    if (ablate or curve or keep or scores) and not validate:
        raise typer.BadParameter("--ablate, --curve, --keep and --scores need --validate.")
    options = DynamicsOptions(seed=seed, steps=steps, n_members=members)
    settings, console = Settings.from_env(), Console(stderr=True)
    with show_counts(TimeElapsedColumn(), console=console) as report:
        clips = gather_spoken_clips(
            read_spoken_rows(manifest, forged or []),
            settings,
            cache or settings.data_dir / "cache",
            workers,
            report,
            lambda told: console.print(told, markup=False),
        )
        folds = split_speakers(clips, style_validation.N_FOLDS, seed=0)
        if not all(len(fold) > 1 for fold in folds):
            raise Code.BAD_MANIFEST(
                f"{manifest.name} has too few speakers with clips of several sessions to leave some out.",
                f"At least {2 * style_validation.N_FOLDS} speakers with 18 clips of 4 sessions each are needed.",
            )
        out.mkdir(parents=True, exist_ok=True)
        if validate:
            variants = {"model": options, **(list_ablations(options) if ablate else {})}
            parts, models = train_in_turn(
                clips, folds, measured, variants, workers, curve, lambda done, total: report("trainings", done, total)
            )
            if keep:
                save_folds(models, parts["model"], clips, folds, options, out)
            if scores is not None:
                write_held_out(models, parts["model"], clips, folds, hash_file(manifest), scores)
            figures = {name: measure_folds(looks, options.seed) for name, looks in parts.items()}
            (out / "validation.json").write_text(json.dumps(figures, indent=2) + "\n")
        else:
            train_final(clips, folds, options, out, lambda name, member, step: report(f"{name} {member + 1}", step))
    typer.echo(json.dumps(figures, indent=2) if validate else f"{out / 'dynamics.safetensors'} written.")


@app.command(
    "avhubert",
    short_help="Train AV-HuBERT of any size: masked prediction and frame-wise alignment.",
)
def pretrain_avhubert(
    manifest: Annotated[
        Path, typer.Argument(help="CSV of clips; real synchronised ones are used.", show_default=False)
    ],
    config: Annotated[Size, typer.Option(help="Size of the network.")] = Size.TINY,
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/avhubert"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder for preprocessed clips; default: in the data folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed; reproducible on the same machine.")] = 1,
    iterations: Annotated[int | None, typer.Option(min=1, help="Iterations of clustering and training.")] = None,
    units: Annotated[
        list[int] | None, typer.Option(min=2, help="Clusters, for all iterations or per iteration.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps per iteration.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak learning rate.")] = None,
    micro_batches: Annotated[
        int | None, typer.Option(min=1, help="Micro-batches per step, over all processes.")
    ] = None,
    sparing: Annotated[bool | None, typer.Option(help="Use less memory by activation checkpointing.")] = None,
    objective: Annotated[Objective, typer.Option(help="Training objective.")] = Objective.BOTH,
    workers: Annotated[int, typer.Option(min=1, help="Preprocessing processes.")] = os.cpu_count() or 1,
    loaders: Annotated[int, typer.Option(min=0, help="Data-loading processes per GPU.")] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    validate: Annotated[bool, typer.Option("--validate", help="Validate on held-out folds instead.")] = False,
    fold: Annotated[list[int] | None, typer.Option(min=0, max=3, help="With --validate: hold out this fold.")] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="With --validate: also each objective alone.")] = False,
) -> None:
    """Train AV-HuBERT from real clips, or validate its training; an interrupted run is resumed."""
    options = replace(TRAININGS[config], seed=seed)
    options = replace(options, iterations=plan_iterations(options.iterations, iterations, units or []))
    options = _choose_steps(options, steps, learning_rate, micro_batches, sparing)
    settings = Settings.from_env()
    note = TextColumn("{task.fields[note]}")
    with (
        join_process_group(_pick_device(settings)) as crew,
        show_counts(TimeElapsedColumn(), note, disable=not crew.leads) as report,
    ):

        def on_step(name: str, step: int, losses: Losses) -> None:
            report(name, step, note=" ".join(f"{key} {value:.3f}" for key, value in losses.items()))

        archive = PreprocessedDataset(
            cache or settings.data_dir / "cache" / "reels",
            settings,
            workers,
            lambda done, total: report("clips", done, total),
            lambda told: typer.echo(f"left out: {told}", err=True),
        )
        reels = archive.gather_with(crew, manifest)
        shop = RunContext(out / "checkpoints", crew, loaders, save_every, on_step)
        if validate:
            objectives = list(Objective) if ablate else [objective]
            figures = avhubert_validation.measure_held_out(
                reels, options, shop, fold or list(range(avhubert_validation.N_FOLDS)), objectives
            )
            told = json.dumps(figures, indent=2)
            if crew.leads:
                (out / "validation.json").write_text(told + "\n", encoding="utf-8")
        else:
            options = choose_losses(options, objective)
            model, trends = train_avhubert(reels, options, shop)
            path = out / f"avhubert_{config}.safetensors"
            told = f"{path} written."
            if crew.leads:
                save_avhubert(model, path, options, reels, trends)
    if crew.leads:
        typer.echo(told)


def _choose_steps(
    options: AVHubertTraining,
    steps: int | None,
    learning_rate: float | None,
    micro_batches: int | None,
    sparing: bool | None,
) -> AVHubertTraining:
    """Replace the step options that are not None."""
    asked = {"steps": steps, "learning_rate": learning_rate, "micro_batches": micro_batches, "sparing": sparing}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(options, steps=replace(options.steps, **given))


def _pick_device(settings: Settings) -> str:
    return "cuda" if settings.device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
