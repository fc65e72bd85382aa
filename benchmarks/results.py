"""What the compact model is worth, measured on clips that the judging network never saw: tables and figures.

`python -m benchmarks.results MANIFEST RUN [--cache DIR] [--what dubbed,forged,picture,sound,longer]`. RUN is what
`wayspeak train consistency MANIFEST --validate --out RUN` left: for each fold of the corpora, networks that never saw
it. Writes results.json, and from it results.md and figures/*.png; `--what ''` writes anew what is measured already.
What was seen of the clips is kept in the cache, as by `wayspeak evaluate` and `wayspeak robustness`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import TypeAdapter

from benchmarks.results_page import draw_results, write_page
from benchmarks.results_records import Measured, Subset
from benchmarks.standins import StandIns, choose_one_each, load_stand_ins
from engine.datasets.manifest import Row, read_manifest
from engine.errors import EngineError
from engine.evaluation.bench import ConsistencyBenchmark, EvaluationOptions
from engine.evaluation.consistency import ScoredRows, evaluate_planted, evaluate_scored_rows
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

PARTS = ("dubbed", "forged", "picture", "sound", "longer")
LONG_S, FORGED_S, SHORT_S = 4.0, 3.0, 2.0  # clips held against swapped voices; against forged ones; beginnings of all
WORSE_S, LONGER_S = 4.0, 8.0  # of clips that are made worse; the product says nothing of less than 4 s of speech

Adapter = TypeAdapter(Measured)


@dataclass(frozen=True, slots=True, eq=False)
class Hall:
    """All that the parts need."""

    rows: Sequence[Row]
    stand_ins: StandIns
    extractor: FeatureExtractor
    cache: Path

    def keep(self, recipe: str) -> FeatureCache:
        return FeatureCache(self.cache, recipe)

    def measure(self, rows: Sequence[Row], min_seconds: float) -> list[MeasuredRow]:
        """Score each row by the network that never saw its source; what cannot be scored is left out."""
        store, found = self.keep(self.extractor.recipe), []
        with show_counts() as on_row:
            for done, row in enumerate(rows, start=1):
                told = self._measure(row, store, min_seconds)
                found += [told] if told else []
                on_row("measure", done, len(rows))
        return found

    def _measure(self, row: Row, store: FeatureCache, min_seconds: float) -> MeasuredRow | None:
        try:
            seen = extract_cached(row.path, self.extractor, store)
        except EngineError as error:
            sys.stderr.write(f"{row.written}: {error.message}\n")
            return None
        told = measure_features(row, seen, self.stand_ins.choose(row), min_seconds)
        return None if isinstance(told, str) else told


def main(
    manifest: Annotated[Path, typer.Argument(help="CSV of clips, real and forged.")],
    run: Annotated[Path, typer.Argument(help="The folder that `wayspeak train consistency --validate` wrote.")],
    cache: Annotated[
        Path | None, typer.Option(help="What was seen is kept here.  [default: the data folder's]")
    ] = None,
    what: Annotated[str, typer.Option(help="What to measure anew.")] = ",".join(PARTS),
    people: Annotated[int, typer.Option(help="Of so many, a clip each is made worse.")] = 16,
    picture: Annotated[str, typer.Option(help="Levels at which the picture is made worse.")] = "1,2,3,4,5",
    sound: Annotated[str, typer.Option(help="Levels at which the sound is made worse.")] = "1,2,3,4,5",
    docs: Annotated[Path, typer.Option(help="Where results.json, results.md and figures/ go.")] = Path("docs"),
) -> None:
    chosen = [part.strip() for part in what.split(",") if part.strip()]
    if not set(chosen) <= set(PARTS):
        raise typer.BadParameter(f"--what takes some of {', '.join(PARTS)}, found {what!r}")
    torch.set_num_threads(1)
    kept = docs / "results.json"
    measured = Adapter.validate_json(kept.read_text("utf-8")) if kept.is_file() else Measured()
    if chosen:
        hall = open_hall(manifest, run, cache)
        measured = replace(measured, manifest_sha256=hash_file(manifest), recipe=hall.stand_ins.shipped.recipe)
        for part in chosen:
            if part in ("picture", "sound"):
                steps = read_steps(part, picture if part == "picture" else sound)
                told: dict[str, Any] = {part: measure_worse(hall, WORSE_S, people, steps)}
                measured = replace(measured, **told)
            elif part == "longer":
                measured = replace(measured, longer=measure_worse(hall, LONGER_S, people, read_steps("sound", sound)))
            else:
                measured = measure_dubbed(hall, measured) if part == "dubbed" else measure_forged(hall, measured)
            kept.write_bytes(Adapter.dump_json(measured, indent=1) + b"\n")
    write_page(measured, docs / "results.md")
    draw_results(measured, docs / "figures")


def open_hall(manifest: Path, run: Path, cache: Path | None) -> Hall:
    """Load everything, and leave out the clips that every network may have seen."""
    settings = Settings.from_env()
    extractor, rows = FeatureExtractor.load(settings), read_manifest(manifest)
    stand_ins = load_stand_ins(rows, run, extractor)
    usable = [row for row in choose_rows(rows)[0] if stand_ins.judges(row)]
    return Hall(usable, stand_ins, extractor, cache or settings.data_dir / "cache")


def measure_dubbed(hall: Hall, measured: Measured) -> Measured:
    """Hold real clips against themselves with swapped voices, in depth; find offsets that are planted into them."""
    found = hall.measure(in_sync(hall.rows), LONG_S)
    judged = hall.stand_ins.deal(found)
    return replace(
        measured,
        dubbed=evaluate_scored_rows(judged, False, EvaluationOptions(in_depth=True)),
        offsets=evaluate_planted(judged),
        dubbed_of=count(found),
    )


def measure_forged(hall: Hall, measured: Measured) -> Measured:
    """Hold real clips against forged ones: whole clips, and the first two seconds of all."""
    rows = [row for row in hall.rows if not row.is_real] + in_sync(hall.rows)
    found = hall.measure(rows, SHORT_S)
    options = EvaluationOptions(seconds=(), trim_silence=True, in_depth=True, first_s=())
    long = [one for one in found if len(one.clip.mask) >= FORGED_S * 25]
    begun = [
        ScoredRows(one.engine, ConsistencyBenchmark(one.engine, one.rows, True, options).measure_prefixes(SHORT_S))
        for one in hall.stand_ins.deal(found)
    ]
    return replace(
        measured,
        forged=evaluate_scored_rows(hall.stand_ins.deal(long), True, options),
        forged_short=evaluate_scored_rows(begun, True, replace(options, trim_silence=False, in_depth=False)),
        forged_of=count(long),
        forged_short_of=count(found),
    )


def measure_worse(hall: Hall, seconds: float, people: int, steps: Sequence[Step]) -> RobustnessReport:
    """Make the first seconds of one clip of each of so many people worse."""
    rows = choose_one_each([one.row for one in hall.measure(in_sync(hall.rows), seconds)], people)
    watch, options = PerturbedExtractor(hall.extractor, hall.keep, seconds), RobustnessOptions(tuple(steps), seconds)
    with show_counts() as on_step:
        return measure_robustness(rows, hall.stand_ins.choose, watch, options, on_step)


def in_sync(rows: Sequence[Row]) -> list[Row]:
    """Keep real clips whose sound the manifest calls in sync."""
    return [row for row in rows if row.is_real and row.audio_in_sync == "yes"]


def count(found: Sequence[MeasuredRow]) -> Subset:
    """Count clips and people, and name the real clips' sources."""
    rows = [one.row for one in found]
    real = [row for row in rows if row.is_real]
    return Subset(len(real), len({row.person for row in real}), name_sources(real))


def name_sources(rows: Sequence[Row]) -> tuple[str, ...]:
    """Give the sources of rows, each once."""
    return tuple(sorted({row.source for row in rows}))


if __name__ == "__main__":
    try:
        typer.run(main)
    except EngineError as error:
        sys.exit(f"{error.message} {error.hint}")
