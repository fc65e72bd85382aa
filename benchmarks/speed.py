"""Cost of an analysis by step (`steps`), against length, size and faces (`scaling`), and of the networks (`nets`).

`python -m benchmarks.speed steps [FILE]`, `speed scaling [--only length|size|faces]`, `speed nets`, and `speed workers
[FILE] [--long]` (`benchmarks/workers.py`); synthetic talking heads by default. Targets on two cores: at most 0.25 s per
second of 720p video with one face, and 1 GB for ten minutes. Other threads detect new faces and compute blendshapes
while a face is tracked, so the steps add up to more than the total. Each row of `scaling` runs in a separate process,
so that its peak memory is its own.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common import (
    Spent,
    compare,
    describe_machine,
    loop_file,
    measure,
    median_range,
    read_peak_gb,
    run_child,
    stopwatch,
    write_portrait,
)
from benchmarks.face_nets import print_networks
from benchmarks.workers import workers
from engine.consistency.offsets import measure_consistency
from engine.features.extractor import FeatureExtractor
from engine.features.records import extract_audio
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.settings import Settings

TARGET_S, TARGET_GB = 0.25, 1.0
LENGTHS_S = (10.0, 60.0, 300.0)
HEIGHTS_PX = (360, 480, 720, 1080)
FACES = (1, 2, 3, 4)
SHORT_S = 10.0  # length of videos of varying size or faces

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.command()(workers)


class TimedNets:
    """Face networks that record the time of each call."""

    def __init__(self, nets: Any, spent_s: Counter[str], calls: Counter[str]):
        self._nets, self._spent_s, self._calls = nets, spent_s, calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._nets, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            began, began_cpu = time.perf_counter(), time.thread_time()  # each network runs in the calling thread
            result = method(*arguments, **named)
            self._spent_s[name] += time.perf_counter() - began  # type: ignore[assignment]
            self._spent_s[f"cpu {name}"] += time.thread_time() - began_cpu  # type: ignore[assignment]
            self._calls[name] += 1
            return result

        return timed


def measure_steps(engine: Engine, path: Path) -> tuple[float, Counter[str], Counter[str]]:
    """Return seconds of video, seconds per step, and calls per network."""
    spent_s: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    known = engine.extractor
    with stopwatch(spent_s, "read (hash, packets, sound)"):
        clip = open_clip(path, known.limits)
    with stopwatch(spent_s, "decode alone"):
        for _ in clip.read_frames():
            pass
    with stopwatch(spent_s, "speech (log-mel, voice detection)"):
        extract_audio(clip, known.voice)
    timed = FeatureExtractor(TimedNets(known.faces, spent_s, calls), known.voice, "timed", limits=known.limits)  # type: ignore[arg-type]
    seen = timed.extract(path)
    spent_s["faces, with parallel decoding"] = seen.timings_s["faces"]  # type: ignore[assignment]
    spent_s["lips"] = seen.timings_s["lips"]  # type: ignore[assignment]
    for track in seen.tracks:
        with stopwatch(spent_s, "encode"):
            evidence = engine.scorer.find_evidence(seen, track)
            encoded = engine.scorer.encode(*engine.scorer.select_inputs(track, seen.audio), evidence)
        with stopwatch(spent_s, "score"):
            measure_consistency(encoded, evidence, engine.options.consistency)
    with stopwatch(spent_s, "total, end to end"):
        engine.judge(engine.extract(path))
    return clip.duration_s, spent_s, calls


def print_steps(duration_s: float, spent_s: Counter[str], calls: Counter[str]) -> None:
    names = {"find_faces": "detect", "place_landmarks": "landmarks", "read_blendshapes": "blendshapes"}
    print(f"{'step':36}{'s per s of video':>17}{'cpu s per s':>13}{'ms a call':>11}{'calls':>8}")
    for name in [name for name in spent_s if not name.startswith("cpu ")]:
        cpu = f"{spent_s[f'cpu {name}'] / duration_s:13.4f}" if f"cpu {name}" in spent_s else " " * 13
        each = f"{1000 * spent_s[name] / calls[name]:11.1f}{calls[name]:8d}" if calls[name] else ""
        print(f"{names.get(name, name):36}{spent_s[name] / duration_s:17.4f}{cpu}{each}".rstrip())


@dataclass(frozen=True, slots=True)
class Case:
    """Synthetic video."""

    name: str
    seconds: float = SHORT_S
    height_px: int = 720
    n_faces: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """Cost per second of video."""

    analysis: Spent
    decoding: Spent
    peak_gb: float
    n_tracks: int


def list_cases(only: str) -> Iterator[Case]:
    """Yield the cases in table order."""
    if only in ("", "length"):
        for seconds in LENGTHS_S:
            yield Case(f"{seconds:.0f} s", seconds=seconds)
    if only in ("", "size"):
        for height in HEIGHTS_PX:
            yield Case(f"{height}p", height_px=height)
    if only in ("", "faces"):
        for count in FACES:
            yield Case(f"{count} face{'s' * (count > 1)}", n_faces=count)


def draw(case: Case, folder: Path) -> Path:
    """Write the video of a case; long ones repeat ten seconds."""
    short = folder / f"{case.height_px}-{case.n_faces}.mp4"
    if not short.exists():
        write_portrait(short, SHORT_S, case.height_px, case.n_faces)
    if case.seconds == SHORT_S:
        return short
    long = folder / f"{case.seconds:.0f}.mp4"
    loop_file(short, long, case.seconds)
    return long


def measure_file(path: Path) -> Row:
    """Measure decoding alone, then one analysis, in this process."""
    engine = Engine.load(Settings.from_env())
    clip = open_clip(path)
    decoding = measure(lambda: sum(1 for _ in clip.read_frames())) / clip.duration_s
    found = []
    analysis = measure(lambda: found.append(engine.analyse(path))) / clip.duration_s
    return Row(analysis, decoding, read_peak_gb(), len(found[0].tracks))


def measure_in_process(path: Path) -> Row:
    """Run `measure_file` in a new process."""
    row = run_child("benchmarks.speed", "child", path)
    return Row(Spent(**row["analysis"]), Spent(**row["decoding"]), row["peak_gb"], row["n_tracks"])


def print_case(case: Case, rows: list[Row]) -> None:
    """Print medians over the rounds, with minimum and maximum of the wall clock."""
    wall, low, high = median_range([row.analysis.wall_s for row in rows])
    cpu = median_range([row.analysis.cpu_s for row in rows])[0]
    decoding, decoding_cpu = (
        median_range([getattr(row.decoding, name) for row in rows])[0] for name in Spent.__slots__
    )
    peak = max(row.peak_gb for row in rows)
    print(
        f"| {case.name} | {wall:.3f} ({low:.3f} to {high:.3f}) | {cpu:.3f} | {decoding:.3f} | {decoding_cpu:.3f} "
        f"| {peak:.2f} | {rows[0].n_tracks} |",
        flush=True,
    )


@app.command()
def steps(
    file: Annotated[Path | None, typer.Argument(help="Video; by default a synthetic one.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of the synthetic video.")] = 20.0,
    minutes: Annotated[float, typer.Option(help="Length of the video for peak memory; 0: skip.")] = 10.0,
) -> None:
    """Measure each step of an analysis, and the peak memory of a long video."""
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = Path(folder) / "portrait.mp4"
            write_portrait(file, seconds)
        duration_s, spent_s, calls = measure_steps(Engine.load(Settings.from_env()), file)
        print_steps(duration_s, spent_s, calls)
        compare("end to end, s a second", spent_s["total, end to end"] / duration_s, TARGET_S)
        if minutes:
            long = Path(folder) / "long.mp4"
            loop_file(file, long, 60 * minutes)
            compare(f"peak memory of {minutes:g} minutes, GB", measure_in_process(long).peak_gb, TARGET_GB)


@app.command()
def scaling(
    only: Annotated[str, typer.Option(help="length, size or faces; default: all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions of each measurement.")] = 1,
) -> None:
    """Measure against length, size and number of faces."""
    print(f"{describe_machine()}; target for 720p with one face: {TARGET_S} s a second")
    print("| video | wall s per s (least to most) | processor s per s | decoding | its processor | peak GB | faces |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for case in list_cases(only):
            path = draw(case, Path(folder))
            print_case(case, [measure_in_process(path) for _ in range(rounds)])
    print(describe_machine())


@app.command()
def nets(
    repeats: Annotated[int, typer.Option(min=1, help="Calls of each measurement.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch on the CPU; LiteRT has one.")] = 1,
) -> None:
    """Measure the face networks on LiteRT and PyTorch, in batches."""
    torch.set_num_threads(threads)
    print(describe_machine())
    print_networks(repeats)
    print(describe_machine())


@app.command(hidden=True)
def child(path: Path) -> None:
    """Measure one file in this process; print JSON."""
    print(json.dumps(asdict(measure_file(path))))


if __name__ == "__main__":
    app()
