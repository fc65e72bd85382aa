"""The drawn examples, equal in every test run."""

import subprocess
import sys
from pathlib import Path

from webapp.analysis.examples import make_examples

DRAW = """
import sys
from pathlib import Path
from webapp.analysis.examples import make_examples
make_examples(Path(sys.argv[1]))
"""


def draw_examples(data_dir: Path) -> tuple[Path, ...]:
    """Draw the examples in a new process: the synthesiser speaks slightly otherwise after it has been used."""
    subprocess.run([sys.executable, "-c", DRAW, str(data_dir)], check=True, cwd=Path(__file__).parents[1])
    return make_examples(data_dir)  # all there
