"""Many processes that enrol into one gallery at once: how long each waits, and whether anybody is lost.

`python -m benchmarks.gallery_crowd [--processes 8] [--enrolments 1000]`; exits with 1 where somebody is.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from gallery_db.gallery import Gallery
from tests.gallery_db.crowds import enrol_crowd, list_seeds


def main(
    processes: Annotated[int, typer.Option(min=1, max=64)] = 8,
    enrolments: Annotated[int, typer.Option(min=1, max=9999, help="Of each process.")] = 1000,
) -> None:
    """Let them, and count."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery" / "gallery.db"
        Gallery.open(path).close()
        begun = time.perf_counter()
        took = 1000 * np.array(enrol_crowd(path, processes, enrolments, timeout_s=3600))
        elapsed = time.perf_counter() - begun
        with Gallery.open(path) as gallery:
            lost = {f"Person {seed}" for seed in list_seeds(processes, enrolments)} - {
                one.name for one in gallery.speakers()
            }
            is_sound = gallery.check().is_sound and not gallery.check().mended
    p50, p99 = np.quantile(took, [0.5, 0.99])
    print(f"{processes} processes x {enrolments}: {len(took)} enrolled in {elapsed:.1f} s, {len(lost)} lost")
    print(f"one takes {p50:.0f} ms (median), {p99:.0f} ms (99 of 100), {took.max():.0f} ms at most; sound: {is_sound}")
    sys.exit(bool(lost) or not is_sound)


if __name__ == "__main__":
    typer.run(main)
