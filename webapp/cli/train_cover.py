"""`wayspeak train cover`: train the network for covered mouths on drawn covers."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TimeElapsedColumn

from engine.datasets.manifest import read_manifest
from engine.settings import Settings
from engine.training.cover.patches import choose_rows, collect_patches
from engine.training.cover.train import CoverOptions, measure_cover, measure_kinds, save_cover, train_cover
from engine.weights import registry
from webapp.progress import show_counts


def train_mouth_cover(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips; real ones are used, also without sound.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/cover"),
    seed: Annotated[int, typer.Option(help="Random seed; reproducible on the same machine.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the patches.")] = CoverOptions().epochs,
    per_source: Annotated[int, typer.Option(min=1, help="Clips of each source.")] = 150,
    per_clip: Annotated[int, typer.Option(min=1, help="Pictures of each clip.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = os.cpu_count() or 1,
    validate: Annotated[bool, typer.Option("--validate", help="Also measure kinds of cover never seen.")] = False,
) -> None:
    """Train the network that finds covered mouths; every fifth person is held out and measured."""
    settings, options = Settings.from_env(), CoverOptions(seed=seed, epochs=epochs)
    rows = choose_rows(read_manifest(manifest, ("path", "label", "source", "speaker")), per_source, seed)
    landmarker = registry.face_landmarker(settings.data_dir)
    with show_counts(TimeElapsedColumn()) as report:
        patches = collect_patches(rows, landmarker, per_clip, workers, lambda done, total: report("clips", done, total))
        model = train_cover(patches, options, on_epoch=lambda done, total: report("epochs", done, total))
        figures = measure_cover(model, patches)
        if validate:
            unseen = measure_kinds(patches, options, lambda done, total: report("unseen kinds", done, total))
            figures["missed_unseen"] = unseen
    save_cover(model, out / registry.MOUTH_COVER.file, options, patches, figures)
    typer.echo(json.dumps(figures, indent=2))
