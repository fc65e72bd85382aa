"""Many processes that enrol into one gallery at once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPACING = 10_000  # seeds of one process

MEMBER = """
import sys, time
from pathlib import Path
from gallery_db.gallery import Gallery
from tests.gallery_db.planted import make_consent, make_samples

path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Gallery.open(path) as gallery:
    for seed in range(first, first + count):
        samples = make_samples(seed, 1)
        begun = time.perf_counter()
        gallery.enrol(f"Person {seed}", samples, make_consent(), allow_duplicate=True)
        print(time.perf_counter() - begun)
"""


def run_script(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on a script with our packages in reach."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def list_seeds(processes: int, enrolments: int) -> list[int]:
    """Who is enrolled in the end: `Person SEED`."""
    return [1 + number * SPACING + own for number in range(processes) for own in range(enrolments)]


def enrol_crowd(path: Path, processes: int, enrolments: int, timeout_s: float = 280) -> list[float]:
    """Let each process enrol so many people; gives the seconds that each enrolment took."""
    crowd = [run_script(MEMBER, path, 1 + number * SPACING, enrolments) for number in range(processes)]
    took = [float(one) for process in crowd for one in process.communicate(timeout=timeout_s)[0].split()]
    assert [process.returncode for process in crowd] == [0] * processes
    return took
