"""Many processes that enrol into one gallery at once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPACING = 10_000  # seeds of one process

CROWD = """
import os, sys, time
from pathlib import Path
from gallery_db.gallery import Gallery
from tests.gallery_db.planted import make_consent, make_samples

def enrol(path: Path, first: int, count: int) -> None:
    took = []
    with Gallery.open(path) as gallery:
        for seed in range(first, first + count):
            samples = make_samples(seed, 1)
            begun = time.perf_counter()
            gallery.enrol(f"Person {seed}", samples, make_consent(), allow_duplicate=True)
            took.append(time.perf_counter() - begun)
    for start in range(0, count, 100):  # short writes to a pipe are atomic
        os.write(1, (" ".join(f"{one:.6f}" for one in took[start : start + 100]) + chr(10)).encode())

path, processes, count, spacing = Path(sys.argv[1]), *map(int, sys.argv[2:])
children = []
for number in range(processes):  # forked before anything is opened: packages are loaded once
    child = os.fork()
    if not child:
        try:
            enrol(path, 1 + number * spacing, count)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def run_script(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on a script with our packages in reach."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def list_seeds(processes: int, enrolments: int) -> list[int]:
    """Who is enrolled in the end: `Person SEED`."""
    return [1 + number * SPACING + own for number in range(processes) for own in range(enrolments)]


def enrol_crowd(path: Path, processes: int, enrolments: int, timeout_s: float = 280) -> list[float]:
    """Enrol speakers in several processes; return the seconds of each enrolment."""
    crowd = run_script(CROWD, path, processes, enrolments, SPACING)
    result, _ = crowd.communicate(timeout=timeout_s)
    assert crowd.returncode == 0
    return [float(one) for one in result.split()]
