"""Tables of edits found, and synthetic speech as a clip."""

import numpy as np

from benchmarks.edits import Synthesiser, describe, tabulate
from engine.evaluation.edits import EditKind, EditResult, GenuineResult, Ratios
from tests.engine.test_span_reports import OF_SPANS, OF_TRACKS


def test_tables_have_a_row_for_each_kind_and_each_range_of_the_rest() -> None:
    edits = [EditResult(f"p{n}", EditKind.SAME, 2.0, 3.0, n < 5, ()) for n in range(10)]
    by_kind, by_rest = tabulate(edits)
    (row,) = [line for line in by_kind.splitlines() if line.startswith("| another part of the recording")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "none" and cells[2].startswith("0.50 (") and cells[2].endswith("of 10")
    assert [line.split("|")[1].strip() for line in by_rest.splitlines()[3:]] == [
        "2 to 5 s",
        "5 to 10 s",
        "10 s and more",
    ]
    assert by_rest.splitlines()[3].count("0.50") == 1


def test_false_spans_are_counted_in_ten_minutes() -> None:
    genuine = [GenuineResult("a", "a.mp4", 300.0, ((1.0, 3.0),)), GenuineResult("b", "b.mp4", 300.0, ())]
    edits = [EditResult("a", EditKind.OTHER, 2.0, 5.0, True, (True, False))]
    text = describe(genuine, edits, [Ratios(OF_TRACKS, OF_SPANS)])
    assert "2 genuine clips of 2 people, 10.0 minutes: 1 false spans, 1.00 (0.00 to 2.00) in 10 minutes." in text
    assert "0.50 of 2" in text and "-0.50" in text and "- a.mp4: 1.0 to 3.0 s of 300.0 s" in text


def test_synthetic_speech_has_the_length_and_speech_of_its_audio() -> None:
    clip = Synthesiser(0).make(75)
    assert len(clip) == 75 and clip.speech.shape == (75, 160) and np.isfinite(clip.speech).all()
    assert clip.voiced is not None and clip.voiced.mean() > 0.5
