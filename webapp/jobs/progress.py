"""How far a job is, by the steps that the engine announces."""

from dataclasses import dataclass

SHARES = {
    "fetch": (0.0, 0.1),
    "read": (0.1, 0.13),
    "speech": (0.13, 0.16),
    "faces": (0.16, 0.72),
    "lips": (0.72, 0.74),
    "mouths": (0.74, 0.9),
    "crops": (0.74, 0.9),
    "score": (0.9, 0.93),
    "sounds": (0.93, 0.95),
    "embed": (0.95, 0.98),
    "search": (0.98, 1.0),
}
"""Where each step begins and ends, of a whole from 0 to 1; a file that need not be fetched begins at its reading."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A step and how far the whole is."""

    step: str = ""
    share: float = 0.0


def measure_progress(name: str, completed: int, total: int) -> Progress:
    """Place a step of the engine in the whole; one that is not known says nothing of the whole."""
    begin, end = SHARES.get(name, (0.0, 0.0))
    done = min(completed / total, 1.0) if total > 0 else 0.0
    return Progress(name, begin + (end - begin) * done)
