"""Results of commands to a file or to standard output."""

import sys
from pathlib import Path

from engine.errors import EngineError

STDOUT = Path("-")


def write_output(text: str, target: Path) -> None:
    """Write text as UTF-8 to a file, or to standard output for `-`; raises EngineError."""
    if target == STDOUT:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise EngineError(f"{target} cannot be written: {cause.strerror}.", "Choose another place.") from cause
