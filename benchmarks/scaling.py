"""What an analysis costs against the length, the size and the number of faces; decoding alone beside it.

`python -m benchmarks.scaling`; it draws its own talking heads. `--only length`, `size` or `faces` does a part of it.
Each row is a process of its own, so that the memory is its own too. On a machine with a GPU the same command gives that
machine's rows; the networks for faces and voice run on its processor.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Spent, describe_machine, find_middle, loop_file, measure, write_portrait
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.settings import Settings

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
    command = [sys.executable, "-m", "benchmarks.scaling", "--child", str(path)]
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
