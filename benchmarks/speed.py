"""How long a second of video takes, step by step, and how much memory ten minutes need.

`python -m benchmarks.speed [FILE]`; without a file it draws its own 720p talking head. The aim is at most 0.25 s a
second on two cores and 1 GB for ten minutes. Looks for new faces and blendshapes are done by other threads while a face
is followed, so the steps add up to more than the whole.

What an analysis costs against the length, the size and the number of faces; decoding alone beside it.

`python -m benchmarks.speed`; it draws its own talking heads. `--only length`, `size` or `faces` does a part of it.
Each row is a process of its own, so that the memory is its own too. On a machine with a GPU the same command gives that
machine's rows; the networks for faces and voice run on its processor.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import Spent, describe_machine, find_middle, loop_file, measure, write_portrait
from engine.consistency.offsets import measure_consistency
from engine.features.extractor import FeatureExtractor
from engine.features.records import listen
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.settings import Settings

TARGET_S, TARGET_GB = 0.25, 1.0


class TimedNets:
    """The face nets with a stopwatch at each call."""

    def __init__(self, nets: Any, spent_s: Counter[str], calls: Counter[str]):
        self._nets, self._spent_s, self._calls = nets, spent_s, calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._nets, name)

        def timed(*arguments: Any) -> Any:
            began, began_cpu = time.perf_counter(), time.thread_time()  # each net runs in the thread that asks
            result = method(*arguments)
            self._spent_s[name] += time.perf_counter() - began  # type: ignore[assignment]
            self._spent_s[f"cpu {name}"] += time.thread_time() - began_cpu  # type: ignore[assignment]
            self._calls[name] += 1
            return result

        return timed


@contextmanager
def stopwatch(spent_s: Counter[str], name: str) -> Iterator[None]:
    """Add wall-clock seconds under the name, and under `cpu NAME` the processor's, which a busy machine changes little.

    The processor's are those of all threads of this process, so without the decoders.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    yield
    spent_s[name] += time.perf_counter() - began  # type: ignore[assignment]
    spent_s[f"cpu {name}"] += time.process_time() - began_cpu  # type: ignore[assignment]


def measure_steps(engine: Engine, path: Path) -> tuple[float, Counter[str], Counter[str]]:
    """Seconds of video, seconds spent on each step, calls of each net."""
    spent_s: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    known = engine.observer
    with stopwatch(spent_s, "read (hash, packets, sound)"):
        clip = open_clip(path, known.limits)
    with stopwatch(spent_s, "decode alone"):
        for _ in clip.read_frames():
            pass
    with stopwatch(spent_s, "speech (log-mel, voice detection)"):
        listen(clip, known.voice)
    timed = FeatureExtractor(TimedNets(known.faces, spent_s, calls), known.voice, "timed", limits=known.limits)  # type: ignore[arg-type]
    seen = timed.observe(path)
    spent_s["faces, decoding beside"] = seen.timings_s["faces"]  # type: ignore[assignment]
    spent_s["lips"] = seen.timings_s["lips"]  # type: ignore[assignment]
    for track in seen.tracks:
        with stopwatch(spent_s, "encode"):
            encoded = engine.expert.encode(*engine.expert.encoder.read(track, seen.heard))
        with stopwatch(spent_s, "score"):
            measure_consistency(encoded, track.seen, engine.options.consistency)
    with stopwatch(spent_s, "total, end to end"):
        engine.judge(engine.observe(path))
    return clip.duration_s, spent_s, calls


def print_steps(duration_s: float, spent_s: Counter[str], calls: Counter[str]) -> None:
    names = {"find_faces": "detect", "place_landmarks": "landmarks", "read_blendshapes": "blendshapes"}
    print(f"{'step':36}{'s per s of video':>17}{'cpu s per s':>13}{'ms a call':>11}{'calls':>8}")
    for name in [name for name in spent_s if not name.startswith("cpu ")]:
        cpu = f"{spent_s[f'cpu {name}'] / duration_s:13.4f}" if f"cpu {name}" in spent_s else " " * 13
        each = f"{1000 * spent_s[name] / calls[name]:11.1f}{calls[name]:8d}" if calls[name] else ""
        print(f"{names.get(name, name):36}{spent_s[name] / duration_s:17.4f}{cpu}{each}".rstrip())


def measure_memory(path: Path) -> float:
    """Peak gigabytes of a fresh process that analyses the file."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", str(path), "--child"], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the child process failed: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout.split()[-1])


def run_as_child(path: Path) -> None:
    """Analyse the file, print the peak of this process."""
    Engine.load(Settings.from_env()).analyse(path)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(kilobytes / 2**20 if sys.platform != "darwin" else kilobytes / 2**30)


def main(
    file: Annotated[Path | None, typer.Argument(help="A video; by default one is drawn.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of the drawn video.")] = 20.0,
    minutes: Annotated[float, typer.Option(help="Length of the video whose memory is measured; 0: none.")] = 10.0,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    if child and file is not None:
        return run_as_child(file)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = Path(folder) / "portrait.mp4"
            write_portrait(file, seconds)
        engine = Engine.load(Settings.from_env())
        duration_s, spent_s, calls = measure_steps(engine, file)
        print_steps(duration_s, spent_s, calls)
        compare("end to end, s a second", spent_s["total, end to end"] / duration_s, TARGET_S)
        if minutes:
            long = Path(folder) / "long.mp4"
            loop_file(file, long, 60 * minutes)
            compare(f"peak memory of {minutes:g} minutes, GB", measure_memory(long), TARGET_GB)


def compare(what: str, value: float, target: float) -> None:
    print(f"{what}: {value:.3f}, target {target}: {'met' if value <= target else 'MISSED'}")


if __name__ == "__main__":
    typer.run(main)


AIM_S = 0.25  # of two cores, per second of 720p with one face
LENGTHS_S = (10.0, 60.0, 300.0)
HEIGHTS_PX = (360, 480, 720, 1080)
FACES = (1, 2, 3, 4)
SHORT_S = 10.0  # of what does not vary in length


@dataclass(frozen=True, slots=True)
class Case:
    """A video to draw."""

    what: str
    seconds: float = SHORT_S
    height_px: int = 720
    n_faces: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """What it cost, per second of video."""

    analysis: Spent
    decoding: Spent
    peak_gb: float
    n_tracks: int


def list_cases(only: str) -> Iterator[Case]:
    """In the order of the tables."""
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
    """The video of a case; a long one repeats ten seconds."""
    short = folder / f"{case.height_px}-{case.n_faces}.mp4"
    if not short.exists():
        write_portrait(short, SHORT_S, case.height_px, case.n_faces)
    if case.seconds == SHORT_S:
        return short
    long = folder / f"{case.seconds:.0f}.mp4"
    loop_file(short, long, case.seconds)
    return long


def measure_file(path: Path) -> Row:
    """Analyse it once in this process, after decoding it alone."""
    engine = Engine.load(Settings.from_env())
    clip = open_clip(path)
    decoding = measure(lambda: sum(1 for _ in clip.read_frames())) / clip.duration_s
    found = []
    analysis = measure(lambda: found.append(engine.analyse(path))) / clip.duration_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Row(analysis, decoding, peak / (2**20 if sys.platform != "darwin" else 2**30), len(found[0].tracks))


def measure_apart(path: Path) -> Row:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.speed", "--child", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the child process failed: {done.stderr.strip().splitlines()[-1:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Row(Spent(**told["analysis"]), Spent(**told["decoding"]), told["peak_gb"], told["n_tracks"])


def print_case(case: Case, rows: list[Row]) -> None:
    """Medians over the rounds, least and most of the first."""
    wall, low, high = find_middle([row.analysis.wall_s for row in rows])
    cpu = find_middle([row.analysis.cpu_s for row in rows])[0]
    decoding, decoding_cpu = (find_middle([getattr(row.decoding, name) for row in rows])[0] for name in Spent.__slots__)
    peak = max(row.peak_gb for row in rows)
    print(
        f"| {case.what} | {wall:.3f} ({low:.3f} to {high:.3f}) | {cpu:.3f} | {decoding:.3f} | {decoding_cpu:.3f} "
        f"| {peak:.2f} | {rows[0].n_tracks} |",
        flush=True,
    )


def main(
    only: Annotated[str, typer.Option(help="length, size or faces; by default all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 1,
    child: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Draw, measure, print."""
    if child is not None:
        print(json.dumps(asdict(measure_file(child))))
        return
    print(f"{describe_machine()}; aim for 720p with one face: {AIM_S} s a second")
    print("| video | wall s per s (least to most) | processor s per s | decoding | its processor | peak GB | faces |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for case in list_cases(only):
            path = draw(case, Path(folder))
            print_case(case, [measure_apart(path) for _ in range(rounds)])
    print(describe_machine())


if __name__ == "__main__":
    typer.run(main)
