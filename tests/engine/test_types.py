"""Records reject invalid values; importing them is cheap."""

import subprocess
import sys

import numpy as np
import pytest

from engine.types import ClockSeam, DynamicEmbedding, MediaReport

UNIT = np.array([0.6, 0.8, 0.0], np.float32)


def test_an_embedding_keeps_an_immutable_unit_vector() -> None:
    made = DynamicEmbedding(UNIT.copy(), 2.0, 0.0, "recipe", 2, 1.5, True)
    assert np.array_equal(made.vector, UNIT)
    with pytest.raises(ValueError, match="read-only"):
        made.vector[0] = 1


@pytest.mark.parametrize(
    ("vector", "seconds", "spread", "says"),
    [
        (UNIT * 1.0001, 2.0, 0.0, "length 1.0001"),
        (np.zeros(3, np.float32), 2.0, 0.0, "length 0"),
        (np.array([np.nan, 1], np.float32), 2.0, 0.0, "length nan"),
        (np.array([np.inf, 1], np.float32), 2.0, 0.0, "length inf"),
        (UNIT[None], 2.0, 0.0, r"shape \(1, 3\)"),
        (UNIT.astype(np.float64), 2.0, 0.0, "float64"),
        (UNIT, 0.0, 0.0, "0.0 s"),
        (UNIT, np.inf, 0.0, "inf s"),
        (UNIT, 2.0, -0.1, "spread -0.1"),
        (UNIT, 2.0, np.nan, "spread nan"),
    ],
)
def test_an_embedding_of_anything_else_is_refused(vector: np.ndarray, seconds: float, spread: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DynamicEmbedding(vector.copy(), seconds, spread, "recipe", 2, 1.5, True)


def test_rounding_in_float32_is_no_error() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 96, 1024):
        vector = rng.normal(size=size).astype(np.float32)
        DynamicEmbedding(vector / np.linalg.norm(vector), 1.0, 0.1, "recipe", 2, 1.5, True)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("engine.types", "torch pydantic"),
        ("engine.consistency.gates", "torch"),
        ("engine.consistency.methods", "torch"),
    ],
)
def test_what_the_page_imports_imports_no_torch(module: str, absent: str) -> None:
    code = f"import sys, {module}; print(sorted(set({absent.split()}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_player_keeps_the_gaps_that_the_media_clock_leaves_out() -> None:
    seams = (ClockSeam(6.0, 6.0, 57.0), ClockSeam(9.0, 60.0, 1.0))
    assert MediaReport(seams=seams).jumps == ((6.0, 51.0),)
    assert MediaReport().jumps == ()
