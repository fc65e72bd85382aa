"""Ranges of seconds of speech: the LR bounds that trials of about that length support."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

EDGES_S = (1.5, 2.5, 4.0, 6.0, 10.0)  # seconds of speech: starts of the ranges, the last open-ended
SPAN_EDGES_S = (1.0, 1.5, 2.5, 4.0)  # the same of spans of a track: another trial, which an offset is known for
DIGITS = 6  # of seconds of speech: exponents of logarithms of whole frames are not exact


class LengthRange(Protocol):
    """A range of seconds of speech, [from_s, to_s)."""

    @property
    def from_s(self) -> float:
        """Start, included."""
        ...

    @property
    def to_s(self) -> float | None:
        """End, excluded; None: no end."""
        ...


R = TypeVar("R", bound=LengthRange)


@dataclass(frozen=True, slots=True)
class LengthBounds:
    """LR bounds within a range of seconds of speech."""

    from_s: float
    to_s: float | None  # None: no end
    lower_llr: float
    upper_llr: float

    def __post_init__(self) -> None:
        if not self.lower_llr <= 0 <= self.upper_llr:
            raise ValueError(f"bounds from {self.lower_llr} to {self.upper_llr} do not include 0")
        if self.from_s < 0 or (self.to_s is not None and self.to_s <= self.from_s):
            raise ValueError(f"a range from {self.from_s} to {self.to_s} s")


def find_range(ranges: Sequence[R], seconds: float) -> R | None:
    """Return the range of a length; None outside all."""
    for one in ranges:
        if seconds >= one.from_s and (one.to_s is None or seconds < one.to_s):
            return one
    return None


def list_ranges(edges_s: Sequence[float] = EDGES_S) -> list[tuple[float, float | None]]:
    """Return (start, end) of each range, the last without an end; ValueError unless the starts rise."""
    if not edges_s or any(later <= earlier for earlier, later in pairwise(edges_s)):
        raise ValueError(f"ranges from {edges_s} seconds; rising numbers are required")
    return list(zip(edges_s, [*edges_s[1:], None], strict=True))


def select(seconds: np.ndarray, start: float, end: float | None) -> np.ndarray:
    """(N,) bool: lengths (N,) within [start, end)."""
    return (seconds >= start) & (seconds < (np.inf if end is None else end))


def clip_by_length(llrs: np.ndarray, seconds: np.ndarray, ranges: Sequence[LengthBounds]) -> np.ndarray:
    """Clip log10 LRs (N,) to the bounds of their seconds (N,) of speech; to 0 where no range supports any."""
    lower, upper = np.zeros(len(llrs)), np.zeros(len(llrs))
    for one in ranges:
        inside = select(seconds, one.from_s, one.to_s)
        lower[inside], upper[inside] = one.lower_llr, one.upper_llr
    clipped: np.ndarray = np.clip(llrs, lower, upper)
    return clipped
