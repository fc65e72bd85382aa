"""`wayspeak forge`: make watermarked forgeries with known truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import TimeElapsedColumn

from engine.datasets.manifest import Row, Skipped, read_manifest
from engine.faces.landmarker import FaceNets
from engine.forging.bench import BenchOptions, ForgingTools, forge_clips
from engine.forging.kinds import CONTROLS, FORGERIES, Kind
from engine.settings import Settings
from engine.weights import registry
from webapp.progress import show_counts

GROUPS = {"forgeries": FORGERIES, "controls": CONTROLS, "all": tuple(Kind)}


def forge(
    manifest: Annotated[
        Path, typer.Argument(help="CSV with path, label, speaker, session, ...; rows labelled real are manipulated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the clips, forged.csv and manifest.csv.")],
    kinds: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(Kind)}; or forgeries, controls, all.")
    ] = "forgeries",
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed and clips make the same forgeries.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Number of clips to use, spread evenly; 0: all.")] = 0,
    donors: Annotated[int, typer.Option(min=1, help="Source faces and voices per speaker.")] = 2,
    offset: Annotated[
        str, typer.Option(help="Audio offsets in seconds, drawn at random; positive: the sound is late.")
    ] = "-0.48,-0.32,-0.2,0.2,0.32,0.48",
) -> None:
    """Make forgeries with known face, motion and voice, and controls.

    Every frame has a visible and an invisible watermark; nothing is written without it.
    """
    options = BenchOptions(read_kinds(kinds), seed, donors, read_offsets(offset))
    settings = Settings.from_env()
    rows = read_manifest(manifest)
    chosen = spread_rows(rows, limit)
    tools = ForgingTools(FaceNets.load(registry.face_landmarker(settings.data_dir)), settings.limits)
    with show_counts(TimeElapsedColumn()) as report:
        skipped = forge_clips(chosen, rows, out, tools, options, lambda done, total: report("clips", done, total))
    _report(out, skipped)


def spread_rows(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return `limit` rows labelled real, spread evenly; all rows for 0."""
    real = [row for row in rows if row.is_real]
    if limit == 0 or len(real) <= limit:
        return list(rows)
    return [real[int(i)] for i in np.linspace(0, len(real) - 1, limit).round()]


def read_kinds(text: str) -> tuple[Kind, ...]:
    """Parse `face-swap,frozen` or the name of a group; raises typer.BadParameter."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    found: dict[Kind, None] = {}
    for name in names:
        if name not in GROUPS and name not in tuple(Kind):
            raise typer.BadParameter(f"{name!r} is not a kind; choose from {', '.join((*GROUPS, *Kind))}")
        found |= dict.fromkeys(GROUPS[name] if name in GROUPS else (Kind(name),))
    if not found:
        raise typer.BadParameter("no kind is given")
    return tuple(found)


def read_offsets(text: str) -> tuple[float, ...]:
    """Parse offsets in seconds such as `-0.2,0.2`, at most 2 s; raises typer.BadParameter."""
    try:
        offsets = tuple(float(one) for one in text.split(",") if one.strip())
    except ValueError as cause:
        raise typer.BadParameter(f"{text!r} is not a list such as -0.2,0.2") from cause
    if not offsets or not all(0 < abs(offset) <= 2 for offset in offsets):
        raise typer.BadParameter(f"offsets must not be 0 and at most 2 s, found {text!r}")
    return offsets


def _report(out: Path, skipped: list[Skipped]) -> None:
    """Print the number of forgeries and the skipped clips; exit with 1 without any forgery."""
    made = sum(1 for _ in (out / "forged.csv").open(encoding="utf-8")) - 1
    for one in skipped:
        typer.echo(f"left out: {one.path}: {one.reason}", err=True)
    typer.echo(
        f"{made} clips in {out}, {len(skipped)} left out. forged.csv lists them, manifest.csv the originals too."
    )
    if not made:
        raise typer.Exit(1)
