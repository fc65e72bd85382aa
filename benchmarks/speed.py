"""How long a second of video takes, step by step, and how much memory ten minutes need.

`python -m benchmarks.speed [FILE]`; without a file it draws its own 720p talking head. The aim is at most 0.25 s a
second on two cores and 1 GB for ten minutes. Looks for new faces and blendshapes are done by other threads while a face
is followed, so the steps add up to more than the whole.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import describe_machine, loop_file, write_portrait
from engine.consistency.offsets import measure_consistency
from engine.features.extractor import FeatureExtractor
from engine.features.records import extract_audio
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
    spent_s["faces, decoding beside"] = seen.timings_s["faces"]  # type: ignore[assignment]
    spent_s["lips"] = seen.timings_s["lips"]  # type: ignore[assignment]
    for track in seen.tracks:
        with stopwatch(spent_s, "encode"):
            encoded = engine.expert.encode(*engine.expert.select_inputs(track, seen.audio))
        with stopwatch(spent_s, "score"):
            measure_consistency(encoded, track.seen, engine.options.consistency)
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
