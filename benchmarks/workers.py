"""Cost of an analysis against the number of workers, each on as many cores (`python -m benchmarks.speed workers`)."""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Spent, describe_machine, loop_file, measure, read_peak_gb, run_child, write_portrait
from engine.features.cache import TRACK_ARRAYS
from engine.features.records import ClipFeatures
from engine.pipeline import Engine
from engine.settings import Settings, count_cores
from engine.types import FPS, Analysis

NUMBERS = (1, 2, 4, 8, 16, 32)
SHORT_S, LONG_S = 60.0, 600.0
DRAWN_S = 10.0  # of video, repeated

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Run:
    """Cost of one analysis."""

    duration_s: float
    spent: Spent  # per second of video
    peak_gb: float  # of the analysing process
    digest: str  # of the features and scores


def workers(
    file: Annotated[Path | None, typer.Argument(help="Video; by default a synthetic one, 720p with one face.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of the synthetic video.")] = SHORT_S,
    long: Annotated[bool, typer.Option("--long", help="Also measure ten minutes.")] = False,
    most: Annotated[int, typer.Option(min=1, help="Highest number of workers.")] = NUMBERS[-1],
) -> None:
    """Measure 1, 2, 4 ... workers on as many cores, and compare their results byte for byte."""
    numbers = [number for number in NUMBERS if number <= min(count_cores(), most)]
    with tempfile.TemporaryDirectory() as folder:
        for path in [file] if file else draw_files(Path(folder), [seconds, *([LONG_S] if long else [])]):
            print_runs(path.name, {number: run_in_process(path, number) for number in numbers})


def draw_files(folder: Path, lengths_s: list[float]) -> list[Path]:
    """Write talking heads of these lengths."""
    drawn = folder / "drawn.mp4"
    write_portrait(drawn, DRAWN_S)
    files = [folder / f"{seconds:.0f} s.mp4" for seconds in lengths_s]
    for path, seconds in zip(files, lengths_s, strict=True):
        loop_file(drawn, path, seconds)
    return files


def run_in_process(path: Path, number: int) -> Run:
    """Analyse a file with so many workers in a new process on as many cores."""
    run = run_child("benchmarks.workers", path, number, n_cores=number)
    return Run(run["duration_s"], Spent(**run["spent"]), run["peak_gb"], run["digest"])


def print_runs(name: str, runs: dict[int, Run]) -> None:
    """Print a table of the runs of one file, by number of workers."""
    print(f"{name}: {runs[1].duration_s:.0f} s of video; {describe_machine()}")
    print("| workers and cores | wall s per s | processor s per s | efficiency | peak GB |")
    print("| --- | --- | --- | --- | --- |")
    for number, run in runs.items():
        efficiency = runs[1].spent.wall_s / (number * run.spent.wall_s)
        print(f"| {number} | {run.spent.wall_s:.3f} | {run.spent.cpu_s:.3f} | {efficiency:.2f} | {run.peak_gb:.2f} |")
    is_same = len({run.digest for run in runs.values()}) == 1
    print(f"results: {'byte-identical' if is_same else 'DIFFERENT'}\n", flush=True)


def make_digest(features: ClipFeatures, analysis: Analysis) -> str:
    """Hash the rows of every face, the cuts and the scores."""
    hashed = hashlib.sha256(repr((features.cuts, features.reasons)).encode())
    for track in features.tracks:
        for name in TRACK_ARRAYS:
            hashed.update(getattr(track, name).tobytes())
    scores = [(one.start_s, one.consistency.score, one.consistency.offset_s) for one in analysis.tracks]
    hashed.update(repr(scores).encode())
    return hashed.hexdigest()


@app.command()
def child(path: Path, number: int) -> None:
    """Measure one analysis in this process; print JSON."""
    engine = Engine.load(replace(Settings.from_env(), workers=number))
    found: list[tuple[ClipFeatures, Analysis]] = []

    def analyse() -> None:
        features = engine.extract(path)
        found.append((features, engine.judge(features)))

    spent = measure(analyse)
    features, analysis = found[0]
    duration_s = features.n_frames / FPS
    print(json.dumps(asdict(Run(duration_s, spent / duration_s, read_peak_gb(), make_digest(features, analysis)))))


if __name__ == "__main__":
    app()
