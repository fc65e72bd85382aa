"""`wayspeak robustness`: evaluate on clips with degraded picture or sound."""

import json as jsonlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from engine.consistency.methods import choose_method
from engine.consistency.model_specs import SPECS
from engine.datasets.manifest import Row
from engine.datasets.public import Choice, Layout
from engine.errors import Code
from engine.evaluation.measurements import choose_rows, name_disk_errors
from engine.evaluation.perturbations import LEVELS, OF_PICTURE, OF_SOUND, UNITS, Perturbation
from engine.evaluation.results import Share
from engine.evaluation.robustness import (
    PerturbationResult,
    PerturbedExtractor,
    RobustnessOptions,
    RobustnessReport,
    Step,
    measure_robustness,
)
from engine.features.cache import FeatureCache
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import Mode, Model
from webapp.cli.evaluate import load_drawings, read_clips
from webapp.cli.output import STDOUT, write_output
from webapp.progress import show_counts

GROUPS = {"picture": OF_PICTURE, "sound": OF_SOUND, "all": tuple(Perturbation)}


def robustness(
    manifest: Annotated[Path, typer.Argument(help="CSV as for `wayspeak evaluate`, or folder of a public collection.")],
    what: Annotated[
        str, typer.Option(help=f"picture, sound, all, or comma-separated: {', '.join(Perturbation)}.")
    ] = "all",
    levels: Annotated[str, typer.Option(help="Levels, 1 to 5.")] = "1,2,3,4,5",
    limit: Annotated[int, typer.Option(min=0, help="Number of clips to use, spread evenly; 0: all.")] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to use from the start of each clip.")] = 4.0,
    json: Annotated[
        Path | None, typer.Option(help="Write the results as JSON to this file; '-': standard output.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Write plots as HTML and PNG to this folder.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache.  [default: in the data folder]")
    ] = None,
    model: Annotated[Model | None, typer.Option(help="Model.  [default: compact]")] = None,
    layout: Annotated[Layout | None, typer.Option(help="Layout of the folder.")] = None,
    split: Annotated[str, typer.Option(help="Only this split of the folder.")] = "",
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Evaluate under seven perturbations of the picture and seven of the sound, at five levels.

    Reports for each: the AUC of real clips against all others of the manifest (or against real faces with swapped
    voices, if there are no others), and the false alarm rate on real clips under the current calibration. A
    perturbation of the picture takes as long as the clip, one of the sound is fast. An interrupted run is resumed.
    """
    steps, settings = read_steps(what, levels), Settings.from_env()
    drawings = load_drawings() if figures else None
    engine = Engine.load(settings, choose_method(model, Mode.STRICT, None, settings.data_dir))
    rows, absent = read_clips([manifest], layout, Choice(split=split))
    usable, useless = choose_rows(rows, limit)
    check_rows(usable)
    folder, with_mouths = cache or settings.data_dir / "cache", SPECS[engine.scorer.model].needs_mouths
    watch = PerturbedExtractor(engine.extractor, lambda recipe: FeatureCache(folder, recipe, with_mouths), seconds)
    options = RobustnessOptions(steps, seconds, seed=seed)
    with name_disk_errors(), show_counts() as on_row:
        report = measure_robustness(usable, lambda row: engine, watch, options, on_row)
    print_robustness(report, Console(stderr=json == STDOUT))
    for one in (*absent, *useless):
        typer.echo(f"left out: {one.path}: {one.reason}", err=True)
    if json is not None:
        write_output(jsonlib.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n", json)
    if figures and drawings:
        drawings.write_plots({"robustness": drawings.plot_robustness(report)}, figures)


def read_steps(what: str, levels: str) -> tuple[Step, ...]:
    """Parse perturbations such as `blur,MP3` or a group, and levels such as `1,3,5`; raises typer.BadParameter."""
    by_name = {kind.lower(): (kind,) for kind in Perturbation} | GROUPS
    kinds: dict[Perturbation, None] = {}
    for name in filter(None, (part.strip().lower() for part in what.split(","))):
        if name not in by_name:
            raise typer.BadParameter(f"{name!r} is none of {', '.join((*GROUPS, *Perturbation))}")
        kinds |= dict.fromkeys(by_name[name])
    chosen = [part.strip() for part in levels.split(",") if part.strip()]
    if not kinds or not chosen or not set(chosen) <= set("12345"):
        raise typer.BadParameter(f"levels are some of 1,2,3,4,5, found {levels!r}")
    return tuple(Step(kind, int(level)) for kind in kinds for level in dict.fromkeys(chosen))


def check_rows(rows: Sequence[Row]) -> None:
    """Raise BAD_MANIFEST without real clips, or without clips to compare them with."""
    real = [row for row in rows if row.is_real]
    if not real or (len(real) == len(rows) and len({row.person for row in real}) < 2):
        raise Code.BAD_MANIFEST(
            f"Of the {len(rows)} selected clips, {len(real)} are real, of too few speakers.",
            "Real clips and other clips or a second speaker are needed; raise --limit.",
        )


def to_json(report: RobustnessReport) -> dict[str, Any]:
    """Convert the report to JSON; null for a missing figure."""
    plain = asdict(report) | {"outcomes": []}
    for one in report.outcomes:
        laid = asdict(one)
        del laid["step"]
        plain["outcomes"].append(name_step(one.step) | laid)
    return plain


def name_step(step: Step) -> dict[str, Any]:
    """Return the perturbation with level, strength and unit."""
    if step.kind is None:
        return {"perturbation": None, "level": 0, "strength": None, "unit": ""}
    strength = LEVELS[step.kind][step.level - 1]
    return {
        "perturbation": str(step.kind),
        "level": step.level,
        "strength": strength,
        "unit": UNITS.get(step.kind, ""),
    }


def print_robustness(report: RobustnessReport, console: Console) -> None:
    """Print one row per perturbation and level."""
    title = f"{report.n_clips} clips of at most {report.seconds:g} s against {report.others} clips"
    table = Table(
        Column("done", no_wrap=True), "level", "AUC", "95 %", "false alarms", "without gates", "unscored", title=title
    )
    for one in report.outcomes:
        table.add_row(*_lay_line(one))
    console.print(table)
    if report.calibration is None:
        console.print("There is no calibration for this recipe, so no false alarms are counted.")
    else:
        console.print("Without gates: false alarms if the gates refused no clip.")


def _lay_line(one: PerturbationResult) -> tuple[str, ...]:
    step = name_step(one.step)
    ci = "-" if one.parting.ci is None else f"{one.parting.ci[0]:.3f} to {one.parting.ci[1]:.3f}"
    auc = "-" if one.parting.auc is None else f"{one.parting.auc:.3f}"
    done = (
        "nothing" if one.step.kind is None else f"{step['perturbation']}, {step['strength']:g} {step['unit']}".strip()
    )
    alarms, doubted = _name_share(one.false_alarms), _name_share(one.doubted)
    return done, str(step["level"]), auc, ci, alarms, doubted, str(len(one.skipped))


def _name_share(share: Share | None) -> str:
    return "-" if share is None else f"{share.share:.1%} of {share.n}"
