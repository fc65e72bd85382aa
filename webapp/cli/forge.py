"""`wayspeak forge`: make marked clips with known truth."""

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
from webapp.cli.output import show_counts

GROUPS = {"forgeries": FORGERIES, "controls": CONTROLS, "all": tuple(Kind)}


def forge(
    manifest: Annotated[
        Path, typer.Argument(help="CSV with path, label, speaker, session, ...; rows labelled real are forged.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the clips, forged.csv and manifest.csv.")],
    kinds: Annotated[str, typer.Option(help=f"Some of {', '.join(Kind)}; or forgeries, controls, all.")] = "forgeries",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same clips: same forgeries.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Forge so many clips, spread evenly; 0 forges all.")] = 0,
    donors: Annotated[int, typer.Option(min=1, help="Other people that each speaker meets.")] = 2,
    offset: Annotated[
        str, typer.Option(help="Time shifts in seconds, one by chance; positive: the sound comes late.")
    ] = "-0.48,-0.32,-0.2,0.2,0.32,0.48",
) -> None:
    """Forge clips whose truth is known: whose face, whose motion, whose voice; and controls of their time.

    Every picture is marked, in words and invisibly, and nothing is written without the mark.
    """
    options = BenchOptions(read_kinds(kinds), seed, donors, read_offsets(offset))
    settings = Settings.from_env()
    rows = read_manifest(manifest)
    chosen = spread_rows(rows, limit)
    studio = ForgingTools(FaceNets.load(registry.face_landmarker(settings.data_dir)), settings.limits)
    with show_counts(TimeElapsedColumn()) as report:
        skipped = forge_clips(chosen, rows, out, studio, options, lambda done, total: report("clips", done, total))
    _tell(out, skipped)


def spread_rows(rows: Sequence[Row], limit: int) -> list[Row]:
    """Take so many of the rows labelled real, spread evenly; all rows where the limit is 0."""
    real = [row for row in rows if row.is_real]
    if limit == 0 or len(real) <= limit:
        return list(rows)
    return [real[int(i)] for i in np.linspace(0, len(real) - 1, limit).round()]


def read_kinds(text: str) -> tuple[Kind, ...]:
    """Read `face-swap,frozen` or the name of a group; typer.BadParameter where a kind is not known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    found: dict[Kind, None] = {}
    for name in names:
        if name not in GROUPS and name not in tuple(Kind):
            raise typer.BadParameter(f"{name!r} is no kind; there are {', '.join((*GROUPS, *Kind))}")
        found |= dict.fromkeys(GROUPS[name] if name in GROUPS else (Kind(name),))
    if not found:
        raise typer.BadParameter("no kind is named")
    return tuple(found)


def read_offsets(text: str) -> tuple[float, ...]:
    """Read `-0.2,0.2`; typer.BadParameter where that is no list of shifts within 2 s."""
    try:
        offsets = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as cause:
        raise typer.BadParameter(f"{text!r} is not a list such as -0.2,0.2") from cause
    if not offsets or not all(0 < abs(offset) <= 2 for offset in offsets):
        raise typer.BadParameter(f"shifts are other than 0 and at most 2 s, found {text!r}")
    return offsets


def _tell(out: Path, skipped: list[Skipped]) -> None:
    """Say what was made and name all that was not."""
    made = sum(1 for _ in (out / "forged.csv").open(encoding="utf-8")) - 1
    for one in skipped:
        typer.echo(f"left out: {one.path}: {one.reason}", err=True)
    typer.echo(
        f"{made} clips in {out}, {len(skipped)} left out. forged.csv lists them, manifest.csv the originals too."
    )
    if not made:
        raise typer.Exit(1)
