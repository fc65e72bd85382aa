"""The typer command behind `wayspeak train dynamics`."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from safetensors.torch import save_file

from engine.cache import ObservationCache, observe_cached
from engine.calibration.records import Task
from engine.calibration.trials import write_trials
from engine.decoding import decode_ahead
from engine.dynamics import Nature
from engine.errors import Code, EngineError
from engine.manifest import Row, read_manifest
from engine.models.dvp import DVP, write_options
from engine.observer import Observer
from engine.permissions import MARK, Use, mark_uses
from engine.settings import Settings
from engine.training.dynamics import DynamicsOptions, OnStep, measure_natural, train_dvp
from engine.training.dynamics_scores import embed_left_out, score_left_out
from engine.training.dynamics_validation import (
    Looks,
    group_evidence,
    look_at,
    look_at_all,
    measure_looks,
    tell_natures,
)
from engine.training.speakers import SpokenClip, build_spoken_clip, split_speakers
from engine.weights import hash_file

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
N_FOLDS = 4
FEWER = (6, 12)  # speakers of the learning curve
DEFAULTS = DynamicsOptions()
Held = tuple[DVP, Looks]  # a network and what it makes of the people it never saw


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips; real ones are used, with sound or without.")],
    out: Annotated[Path, typer.Option(help="Where dynamics.safetensors goes.")] = Path("runs/dynamics"),
    cache: Annotated[Path | None, typer.Option(help="Where observations are kept; default: the data folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same clips, same machine: same weights.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each member.")] = DEFAULTS.steps,
    members: Annotated[int, typer.Option(min=1, help="Networks that form the model.")] = DEFAULTS.n_members,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train side by side.")] = os.cpu_count() or 1,
    validate: Annotated[bool, typer.Option("--validate", help="Measure on speakers left out.")] = False,
    ablate: Annotated[bool, typer.Option("--ablate", help="With --validate: each part off, all off.")] = False,
    curve: Annotated[bool, typer.Option("--curve", help="With --validate: fewer speakers.")] = False,
    measured: Annotated[
        int, typer.Option("--folds", min=1, max=N_FOLDS, help="With --validate: measure so many of the four folds.")
    ] = N_FOLDS,
    forged: Annotated[
        list[Path] | None,
        typer.Option(help="CSV of `wayspeak forge`: the same people's motion on other faces, seen as who moves."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="With --validate: keep the weights of each fold.")] = False,
    scores: Annotated[
        Path | None,
        typer.Option(help="With --validate: folder for the left-out people's scores, to calibrate from; one a task."),
    ] = None,
) -> None:
    """Train the model of speaking styles; or, leaving speakers out in turn, measure what this training is worth."""
    if (ablate or curve or keep or scores) and not validate:
        raise typer.BadParameter("--ablate, --curve, --keep and --scores go with --validate.")
    options = DynamicsOptions(seed=seed, steps=steps, n_members=members)
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        clips = _gather(_read_rows(manifest, forged or []), cache, workers, bar)
        folds = split_speakers(clips, N_FOLDS, seed=0)
        if not all(len(fold) > 1 for fold in folds):
            raise Code.BAD_MANIFEST(
                f"{manifest.name} has too few speakers with clips of several sessions to leave some out.",
                f"At least {2 * N_FOLDS} speakers with 18 clips of 4 sessions each are needed.",
            )
        out.mkdir(parents=True, exist_ok=True)
        if validate:
            variants = {"model": options, **(ablations(options) if ablate else {})}
            parts, models = _look_in_turn(clips, folds, measured, variants, workers, curve, bar)
            if keep:
                _keep_folds(models, parts["model"], clips, folds, options, out)
            if scores is not None:
                _write_scores(models, parts["model"], clips, folds, hash_file(manifest), scores)
            figures = {name: measure_looks(looks, options.seed) for name, looks in parts.items()}
            (out / "validation.json").write_text(json.dumps(figures, indent=2) + "\n")
        else:
            _train_final(clips, folds, options, out, bar)
    typer.echo(json.dumps(figures, indent=2) if validate else f"{out / 'dynamics.safetensors'} written.")


def ablations(options: DynamicsOptions) -> dict[str, DynamicsOptions]:
    """Each of the three parts off, all off, and what else is worth knowing."""
    spatial = replace(options.model, frequency=False, centred=False)
    return {
        "no negatives": replace(options, negatives=()),
        "no frequency": replace(options, model=spatial),
        "temporal spectrum": replace(options, model=replace(options.model, spectrum=True)),
        "no adversary": replace(options, adversary=0.0),
        "no pairs": replace(options, pairs=0),
        "all off": replace(options, negatives=(), adversary=0.0, pairs=0, model=spatial),
        "no pictures": replace(options, model=replace(options.model, n_bands=0)),
        "fine pictures and blendshapes": replace(options, model=replace(options.model, n_bands=32, n_shapes=16)),
    }


def save_dvp(model: DVP, path: Path, options: DynamicsOptions, clips: Sequence[SpokenClip]) -> None:
    """Write the weights in half precision and the sidecar that names their hash and how they were made."""
    uses = {MARK: mark_uses(frozenset({Use.SPEAKER}))}
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, write_options(model.options) | uses)
    digest = hash_file(path)
    sidecar = uses | {
        "sha256": digest,
        "speakers": sorted({name for clip in clips if clip.row.speaker for name in clip.people}),
        "recipe": f"dynamics-{digest[:12]}",
        "options": asdict(options),
        "trained_on": {
            "clips": len(clips),
            "seconds": round(sum(clip.seconds for clip in clips)),
            "sources": sorted({clip.row.source for clip in clips}),
        },
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n")


def _read_rows(manifest: Path, forged: Sequence[Path]) -> list[Row]:
    """Real rows of a manifest, and of others those where one person moves another's face."""
    rows = [row for row in read_manifest(manifest, required=("path", "label", "speaker", "session")) if row.is_real]
    for path in forged:
        made = read_manifest(path, required=("path", "label", "face_owner", "motion_owner"))
        rows += [row for row in made if not row.is_real and row.motion_owner and row.face_owner != row.motion_owner]
    return rows


def _gather(rows: Sequence[Row], cache: Path | None, workers: int, bar: Progress) -> list[SpokenClip]:
    """Build a clip of every row; what cannot be read or shows no face for a second is named and left out."""
    settings = Settings.from_env()
    observer = Observer.load(settings, cut_faces=True)
    kept = ObservationCache(cache or settings.data_dir / "cache", observer.recipe, with_faces=True)
    task = bar.add_task("observe", total=None)
    decode_ahead(
        [row.path for row in rows],
        settings,
        observer.face_options,
        kept,
        workers,
        lambda step, done, total: bar.update(task, completed=done, total=total),
    )
    clips = []
    for row in bar.track(rows, description="clips"):
        found = _build(row, observer, kept)
        if isinstance(found, str):
            bar.console.print(f"{row.written} is left out: {found}", markup=False)
        else:
            clips.append(found)
    return clips


def _build(row: Row, observer: Observer, cache: ObservationCache) -> SpokenClip | str:
    try:
        return build_spoken_clip(observe_cached(row.path, observer, cache), row) or "no face is seen for a second"
    except EngineError as error:
        return error.message


def _train_final(
    clips: Sequence[SpokenClip], folds: Sequence[frozenset[str]], options: DynamicsOptions, out: Path, bar: Progress
) -> None:
    """Train on everybody; how natural untouched motion looks is told by a training that left one fold out."""
    held_out = [clip for clip in clips if clip.is_own_face and clip.speaker in folds[0]]
    scout = train_dvp([clip for clip in clips if not clip.people & folds[0]], options, on_step=_reporter("scout", bar))
    model = train_dvp(clips, options, on_step=_reporter("final", bar))
    model.natural = measure_natural(group_evidence(look_at(scout, held_out)))
    save_dvp(model, out / "dynamics.safetensors", options, clips)


def _look_in_turn(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    measured: int,
    variants: dict[str, DynamicsOptions],
    workers: int,
    curve: bool,
    bar: Progress,
) -> tuple[dict[str, list[Looks]], list[DVP]]:
    """Train each variant without each fold; give what all make of theirs, and the networks of `model`."""
    jobs = [
        (name, partial(_look, clips, folds, own, fold)) for name, own in variants.items() for fold in range(measured)
    ]
    if curve:
        jobs += [
            (f"{n} speakers", partial(_look, clips, folds, variants["model"], fold, n))
            for n in FEWER
            for fold in range(measured)
        ]
    task = bar.add_task("trainings", total=len(jobs))
    parts: dict[str, list[Looks]] = {}
    models: list[DVP] = []
    for (name, _), (model, looks) in zip(jobs, _call_all([call for _, call in jobs], workers), strict=True):
        parts.setdefault(name, []).append(looks)
        models += [model] if name == "model" else []
        bar.advance(task)
    return parts, models


def _keep_folds(
    models: Sequence[DVP],
    looks: Sequence[Looks],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    out: Path,
) -> None:
    for fold, (model, natural) in enumerate(zip(models, tell_natures(looks), strict=True)):
        model.natural = natural
        path = out / f"fold-{fold}" / "weights" / "dynamics.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_dvp(model, path, options, [clip for clip in clips if not clip.people & folds[fold]])


def _write_scores(
    models: Sequence[DVP],
    looks: Sequence[Looks],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    manifest_sha256: str,
    folder: Path,
) -> None:
    """Hold the people of each fold against each other, by the network that never saw them."""
    rows = [
        embed_left_out(model, Nature(*natural.tolist()), [clip for clip in clips if clip.people <= own])
        for model, natural, own in zip(
            models, tell_natures(looks), folds, strict=False
        )  # not every fold may be measured
    ]
    for task in (Task.VERIFICATION, Task.IDENTIFICATION):
        write_trials(score_left_out(rows, task, manifest_sha256), folder / f"{task}.json")


def _call_all(calls: Sequence[Callable[[], Held]], workers: int) -> Iterator[Held]:
    """Give what each call does in turn, side by side where there are workers for it."""
    if workers == 1:
        for call in calls:
            yield call()
        return
    # spawned, since a fork would take over the locks of the observer's threads as they happen to be
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _look(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    fold: int,
    n: int | None = None,
) -> Held:
    """Train without a fold, or on `n` of the measured speakers alone where that is given; look at the fold."""
    torch.set_num_threads(1)
    others = sorted(name for number, own in enumerate(folds) if number != fold for name in own)
    chosen = {clip.speaker for clip in clips} - folds[fold] if n is None else set(others[:n])
    model = train_dvp([clip for clip in clips if clip.people <= chosen], options)
    return model, look_at_all(model, [clip for clip in clips if clip.people <= folds[fold]], options.seed)


def _reporter(name: str, bar: Progress) -> OnStep:
    tasks: dict[int, object] = {}

    def report(member: int, step: int) -> None:
        if member not in tasks:
            tasks[member] = bar.add_task(f"{name} {member + 1}", total=None)
        bar.update(tasks[member], completed=step)  # type: ignore[arg-type]

    return report
