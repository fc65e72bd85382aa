"""What is kept for the eye: sound and mouths on one clock, read back as written, damage steps."""

from pathlib import Path

import numpy as np
import pytest

from tests.raising import raises
from tests.webapp.jobs.samples import make_traces
from webapp.analysis.signals import FaceTrace, Gate, Traces
from webapp.errors import WebCode


def test_traces_are_read_back_as_written(tmp_path: Path) -> None:
    traces = make_traces()
    traces.write(tmp_path / "t.safetensors")
    again = Traces.read(tmp_path / "t.safetensors")
    assert np.array_equal(again.bands, traces.bands) and again.bands.dtype == np.float16
    assert np.array_equal(again.voiced, traces.voiced) and len(again.faces) == 2
    assert np.array_equal(again.faces[1].opening, traces.faces[1].opening) and again.faces[1].start == 0


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damage_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with raises(WebCode.TRACES_UNREADABLE) as caught:
        Traces.read(path)
    assert "again" in caught.value.hint
    with raises(WebCode.TRACES_UNREADABLE):
        Traces.read(tmp_path / "nowhere")


def test_the_gate_covers_the_clip_without_gaps() -> None:
    voiced, present = np.ones(100, bool), np.ones(100, bool)
    voiced[40:50], present[90:] = False, False
    face = FaceTrace(25, np.zeros(50, np.float32), np.arange(50) >= 5)
    traces = Traces(np.zeros((400, 40), np.float16), voiced, present, (face,))
    assert traces.gate(0) == [
        (0.0, 1.2, Gate.NO_FACE),
        (1.2, 1.6, Gate.COMPARED),
        (1.6, 2.0, Gate.NO_SPEECH),
        (2.0, 3.0, Gate.COMPARED),
        (3.0, 3.6, Gate.NO_FACE),
        (3.6, 4.0, Gate.NO_SOUND),
    ]
