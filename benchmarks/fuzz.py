"""Fuzz the media reader with damaged files: each must be read or refused within a minute, without a crash.

`python -m benchmarks.fuzz [--minutes 10] [--seed 0]`. The files are small clips of each container from `tests.hostile`
with seeded random damage; a failure is reported with its seed for reproduction. FFmpeg is not instrumented, so a
coverage-guided fuzzer would not help here.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common import read_peak_gb
from engine.errors import EngineError
from engine.media.clip import open_clip
from tests import hostile

MAX_S = 60.0


def try_file(path: Path) -> str:
    """Read a file; return the error code or the found problems. Errors other than EngineError are raised."""
    try:
        clip = open_clip(path)
        for _ in clip.read_frames():
            pass
    except EngineError as error:
        return error.code
    return "read, " + (", ".join(clip.reasons) or "no problem")


def main(
    minutes: Annotated[float, typer.Option(help="Duration.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the first file; incremented per file.")] = 0,
) -> None:
    outcomes: Counter[str] = Counter()
    slowest_s, failed, began = 0.0, [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [path.read_bytes() for path in hostile.write_seeds(Path(folder) / "seeds")]
        path = Path(folder) / "damaged"
        while time.monotonic() - began < 60 * minutes:
            path.write_bytes(hostile.mutate(seeds[seed % len(seeds)], np.random.default_rng(seed)))
            opened = time.monotonic()
            outcome = try_file(path)
            took_s = time.monotonic() - opened
            if outcome == "DECODER_FAILED" or took_s > MAX_S:
                failed.append(f"seed {seed}: {outcome} after {took_s:.1f} s")
            slowest_s, seed = max(slowest_s, took_s), seed + 1
            outcomes[outcome] += 1
    print(f"{sum(outcomes.values())} files; slowest {slowest_s:.1f} s; peak of the engine {read_peak_gb():.2f} GB")
    for outcome, count in outcomes.most_common():
        print(f"{count:7d}  {outcome}")
    print(*(failed or ["no decoder crashed, none hung"]), sep="\n")


if __name__ == "__main__":
    typer.run(main)
