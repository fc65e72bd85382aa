"""Evaluate the compact model on held-out clips: tables and plots of docs/results.md.

`python -m benchmarks.results MANIFEST RUN [--cache DIR] [--what dubbed,genuine,forged,picture,sound,longer]`. RUN is
the output of `wayspeak train consistency MANIFEST --validate --out RUN`: networks for each held-out fold of corpora.
Writes results.json, and from it results.md and figures/*.png; `--what ''` only rewrites the page. Features are cached
as by `wayspeak evaluate` and `wayspeak robustness`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import TypeAdapter

from benchmarks.results_page import Measured, Subset, draw_results, write_page
from benchmarks.standins import StandIns, choose_one_each, load_stand_ins
from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError
from engine.evaluation.bench import ConsistencyBenchmark, EvaluationOptions
from engine.evaluation.consistency import ScoredRows, evaluate_planted, evaluate_scored_rows
from engine.evaluation.groups import JudgedRow, measure_verdicts
from engine.evaluation.measurements import MeasuredRow, choose_rows, measure_features
from engine.evaluation.robustness import (
    PerturbedExtractor,
    RobustnessOptions,
    RobustnessReport,
    Step,
    measure_robustness,
)
from engine.features.cache import FeatureCache, extract_cached
from engine.features.extractor import FeatureExtractor
from engine.settings import Settings
from engine.weights.registry import hash_file
from webapp.cli.robustness import read_steps
from webapp.progress import show_counts

PARTS = ("dubbed", "genuine", "forged", "picture", "sound", "longer")
LONG_S, FORGED_S, SHORT_S = 4.0, 3.0, 2.0  # least seconds of clips: swapped voices, forged clips, first seconds
PERTURBED_S, LONGER_S = 4.0, 8.0  # of perturbed clips


Adapter = TypeAdapter(Measured)


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Inputs of all evaluations."""

    rows: Sequence[Row]
    stand_ins: StandIns
    extractor: FeatureExtractor
    cache: Path

    def keep(self, recipe: str) -> FeatureCache:
        return FeatureCache(self.cache, recipe)

    def measure(self, rows: Sequence[Row], min_seconds: float) -> list[MeasuredRow]:
        """Score each row with the network of its held-out fold; rows that cannot be scored are skipped."""
        store, found = self.keep(self.extractor.recipe), []
        with show_counts() as on_row:
            for done, row in enumerate(rows, start=1):
                measured = self._measure(row, store, min_seconds)
                found += [measured] if measured else []
                on_row("measure", done, len(rows))
        return found

    def _measure(self, row: Row, store: FeatureCache, min_seconds: float) -> MeasuredRow | None:
        try:
            seen = extract_cached(row.path, self.extractor, store)
        except EngineError as error:
            sys.stderr.write(f"{row.written}: {error.message}\n")
            return None
        measured = measure_features(row, seen, self.stand_ins.choose(row), min_seconds)
        return None if isinstance(measured, str) else measured


def main(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips, real and forged.")],
    run: Annotated[Path, typer.Argument(help="The folder that `wayspeak train consistency --validate` wrote.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache.  [default: in the data folder]")
    ] = None,
    what: Annotated[str, typer.Option(help="Evaluations to run.")] = ",".join(PARTS),
    people: Annotated[int, typer.Option(help="Number of people; one clip of each is perturbed.")] = 16,
    picture: Annotated[str, typer.Option(help="Levels of picture perturbations.")] = "1,2,3,4,5",
    sound: Annotated[str, typer.Option(help="Levels of sound perturbations.")] = "1,2,3,4,5",
    docs: Annotated[Path, typer.Option(help="Folder for results.json, results.md and figures/.")] = Path("docs"),
) -> None:
    chosen = [part.strip() for part in what.split(",") if part.strip()]
    if not set(chosen) <= set(PARTS):
        raise typer.BadParameter(f"--what takes some of {', '.join(PARTS)}, found {what!r}")
    torch.set_num_threads(1)
    kept = docs / "results.json"
    measured = Adapter.validate_json(kept.read_text("utf-8")) if kept.is_file() else Measured()
    if chosen:
        context = open_context(manifest, run, cache)
        measured = replace(measured, manifest_sha256=hash_file(manifest), recipe=context.stand_ins.shipped.recipe)
        for part in chosen:
            if part in ("picture", "sound"):
                steps = read_steps(part, picture if part == "picture" else sound)
                perturbed: dict[str, Any] = {part: measure_perturbed(context, PERTURBED_S, people, steps)}
                measured = replace(measured, **perturbed)
            elif part == "longer":
                measured = replace(
                    measured, longer=measure_perturbed(context, LONGER_S, people, read_steps("sound", sound))
                )
            else:
                measured = MEASURES[part](context, measured)
            kept.write_bytes(Adapter.dump_json(measured, indent=1) + b"\n")
    write_page(measured, docs / "results.md")
    draw_results(measured, docs / "figures")


def open_context(manifest: Path, run: Path, cache: Path | None) -> Context:
    """Load the networks and the clips that one of them has not been trained on."""
    settings = Settings.from_env()
    extractor, rows = FeatureExtractor.load(settings), read_manifest(manifest)
    stand_ins = load_stand_ins(rows, run, extractor)
    usable = [row for row in choose_rows(rows)[0] if stand_ins.covers(row)]
    return Context(usable, stand_ins, extractor, cache or settings.data_dir / "cache")


def measure_dubbed(context: Context, measured: Measured) -> Measured:
    """Evaluate real clips against swapped voices, in depth, and the detection of planted offsets."""
    found = context.measure(in_sync(context.rows), LONG_S)
    judged = context.stand_ins.group(found)
    return replace(
        measured,
        dubbed=evaluate_scored_rows(judged, False, EvaluationOptions(in_depth=True)),
        offsets=evaluate_planted(judged),
        dubbed_of=count(found),
    )


def measure_genuine(context: Context, measured: Measured) -> Measured:
    """Count the zones of real clips of two seconds and more."""
    found = context.measure(in_sync(context.rows), SHORT_S)
    judged = [JudgedRow(one, context.stand_ins.choose(one.row).calibration) for one in found]
    return replace(measured, genuine=measure_verdicts(judged), genuine_of=count(found))


def measure_forged(context: Context, measured: Measured) -> Measured:
    """Evaluate real clips against forged ones: whole clips, and the first two seconds."""
    rows = [row for row in context.rows if not row.is_real] + in_sync(context.rows)
    found = context.measure(rows, SHORT_S)
    options = EvaluationOptions(seconds=(), trim_silence=True, in_depth=True, first_s=())
    long = [one for one in found if len(one.clip) >= FORGED_S * 25]
    begun = [
        ScoredRows(one.engine, ConsistencyBenchmark(one.engine, one.rows, True, options).measure_prefixes(SHORT_S))
        for one in context.stand_ins.group(found)
    ]
    return replace(
        measured,
        forged=evaluate_scored_rows(context.stand_ins.group(long), True, options),
        forged_short=evaluate_scored_rows(begun, True, replace(options, trim_silence=False, in_depth=False)),
        forged_of=count(long),
        forged_short_of=count(found),
    )


MEASURES = {"dubbed": measure_dubbed, "genuine": measure_genuine, "forged": measure_forged}


def measure_perturbed(context: Context, seconds: float, people: int, steps: Sequence[Step]) -> RobustnessReport:
    """Evaluate perturbations of the first seconds of one clip per person."""
    rows = choose_one_each([one.row for one in context.measure(in_sync(context.rows), seconds)], people)
    perturbed = PerturbedExtractor(context.extractor, context.keep, seconds)
    options = RobustnessOptions(tuple(steps), seconds)
    with show_counts() as on_step:
        return measure_robustness(rows, context.stand_ins.choose, perturbed, options, on_step)


def in_sync(rows: Sequence[Row]) -> list[Row]:
    """Select real clips that the manifest labels as synchronised."""
    return [row for row in rows if row.is_synchronised]


def count(found: Sequence[MeasuredRow]) -> Subset:
    """Count real clips and people, and list their sources."""
    rows = [one.row for one in found]
    real = [row for row in rows if row.is_real]
    return Subset(len(real), len({row.person for row in real}), tuple(sorted({row.source for row in real})))


if __name__ == "__main__":
    try:
        typer.run(main)
    except EngineError as error:
        sys.exit(f"{error.message} {error.hint}")
