"""Cost of decoding in a sandboxed process, compared with decoding in this process.

`python -m benchmarks.decoding [FILE]`; by default with a synthetic 720p talking head. Reports the CPU time of all
processes, the minimum of several runs because of other load. The target is less than 5 % of an analysis, which takes
about 0.41 s of CPU time per second of 720p (`benchmarks.speed steps`).
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Spent, describe_machine, measure, write_portrait
from engine.media.audio import SegmentBuilder
from engine.media.clip import _plan_frames, open_clip
from engine.media.containers import identify_container
from engine.media.demux import scan_file
from engine.media.sandbox.process import WorkerProcess
from engine.media.scan import WORKER_MODULE
from engine.media.video import stream_frames
from engine.settings import MediaLimits

TARGET_SHARE, ANALYSIS_S = 0.05, 0.41
LIMITS = MediaLimits()


def read_here(path: Path) -> int:
    """Decode in this process, without a sandbox."""
    demuxer, sound = identify_container(path), SegmentBuilder(LIMITS.max_duration_s)
    with io.FileIO(path) as file:
        scan = scan_file(file, demuxer, LIMITS, sound.add, lambda: None)
    sound.finish()
    with io.FileIO(path) as file:
        return sum(1 for _ in stream_frames(file, _plan_frames(scan, demuxer, LIMITS), LIMITS, lambda: None))


def read_there(path: Path) -> int:
    """Decode in sandboxed processes."""
    return sum(1 for _ in open_clip(path).read_frames())


def start_and_end(path: Path) -> int:
    """Start a sandboxed process that does nothing."""
    with WorkerProcess(WORKER_MODULE, path, "probe", {}, b"", LIMITS) as decoder:
        decoder.receive()
    return 0


def measure_least(work: Callable[[Path], int], path: Path, turns: int) -> Spent:
    """Return the minimum of wall-clock and CPU seconds."""
    took = [measure(lambda: work(path)) for _ in range(turns)]
    return Spent(min(one.wall_s for one in took), min(one.cpu_s for one in took))


def main(
    file: Annotated[Path | None, typer.Argument(help="Video; by default a synthetic one.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of the synthetic video.")] = 20.0,
    turns: Annotated[int, typer.Option(help="Repetitions.")] = 5,
) -> None:
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = Path(folder) / "portrait.mp4"
            write_portrait(file, seconds)
        clip = open_clip(file)
        found = {work.__name__: measure_least(work, file, turns) for work in (read_here, read_there, start_and_end)}
        print(f"{clip.size_px[0]} x {clip.size_px[1]}, {clip.duration_s:.1f} s")
        for name, spent in found.items():
            print(f"{name.replace('_', ' '):16} wall {spent.wall_s:7.3f} s   processor {spent.cpu_s:7.3f} s")
        more_s = (found["read_there"].cpu_s - found["read_here"].cpu_s) / clip.duration_s
        share = more_s / ANALYSIS_S
        print(f"more processor time, s a second: {more_s:.4f}, {100 * share:.1f} % of an analysis, ", end="")
        print(f"target {100 * TARGET_SHARE:.0f} %: {'met' if share <= TARGET_SHARE else 'MISSED'}")


if __name__ == "__main__":
    typer.run(main)
