"""Damaged files for as long as wanted: every one must get an answer, none may end the engine or keep it for a minute.

`python -m benchmarks.fuzz [--minutes 10] [--seed 0]`. The files are those of `tests.hostile`, one small whole film of
each container, damaged anew each time by a seeded choice; a file that fails is named by its seed, to be made again.
FFmpeg comes without instrumentation, so a fuzzer led by coverage would see nothing of it.
"""

import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from engine.errors import EngineError
from engine.media.clip import open_clip
from tests import hostile

MAX_S = 60.0


def try_file(path: Path) -> str:
    """The code of the refusal, or what the reading found; anything but an EngineError comes through."""
    try:
        clip = open_clip(path)
        for _ in clip.read_frames():
            pass
    except EngineError as error:
        return error.code
    return "read, " + (", ".join(clip.reasons) or "nothing amiss")


def main(
    minutes: Annotated[float, typer.Option(help="For how long.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the first file; each next one has the next.")] = 0,
) -> None:
    answers: Counter[str] = Counter()
    slowest_s, failed, began = 0.0, [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [path.read_bytes() for path in hostile.write_seeds(Path(folder) / "seeds")]
        path = Path(folder) / "damaged"
        while time.monotonic() - began < 60 * minutes:
            path.write_bytes(hostile.mutate(seeds[seed % len(seeds)], np.random.default_rng(seed)))
            opened = time.monotonic()
            answer = try_file(path)
            took_s = time.monotonic() - opened
            if answer == "DECODER_FAILED" or took_s > MAX_S:
                failed.append(f"seed {seed}: {answer} after {took_s:.1f} s")
            slowest_s, seed = max(slowest_s, took_s), seed + 1
            answers[answer] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"{sum(answers.values())} files; slowest {slowest_s:.1f} s; peak of the engine {peak:.2f} GB")
    for answer, count in answers.most_common():
        print(f"{count:7d}  {answer}")
    print(*(failed or ["no decoder crashed, none hung"]), sep="\n")


if __name__ == "__main__":
    typer.run(main)
