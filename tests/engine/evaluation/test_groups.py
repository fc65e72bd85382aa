"""Groups of clips: which one a clip is in, what is measured of it, and their order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from engine.calibration.records import Calibration
from engine.evaluation.consistency import pool_samples
from engine.evaluation.groups import (
    CONTRASTS,
    FEW,
    WIDTHS,
    Grouping,
    JudgedRow,
    count_false_alarms,
    measure_contrast_db,
    measure_groups,
    measure_verdicts,
    name_groups,
    order_groups,
    order_verdicts,
)
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.results import ConsistencyResults, Discrimination, GroupResult, Report, Share, Verdicts
from engine.evaluation.tables import print_report, to_json
from engine.evaluation.trials import Trial
from tests.engine.evaluation.test_bench import make_row
from tests.engine.evaluation.test_robustness import draw_calibration


def measured(number: int, score: float, label: str = "real", language: str | None = "en") -> MeasuredRow:
    one = make_row(number, label=label)
    return replace(one, row=replace(one.row, language=language), score=score)


def group(
    rows: Sequence[MeasuredRow], swapped: Sequence[Trial] = (), calibration: Calibration | None = None
) -> dict[str, dict[str, GroupResult]]:
    return measure_groups(pool_samples(rows), swapped, [JudgedRow(one, calibration) for one in rows])


def swap(face: int, score: float) -> Trial:
    return Trial(f"{face}.mp4", "other.mp4", f"person {face}", score, 0)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.0, "below 64 px"),
        (63.9, "below 64 px"),
        (64.0, "64 to 96 px"),
        (127.9, "96 to 128 px"),
        (128.0, "from 128 px"),
    ],
)
def test_a_band_begins_at_its_lower_edge(value: float, name: str) -> None:
    assert WIDTHS.name(value) == name


def test_a_clip_is_in_one_group_of_each_grouping() -> None:
    one = make_row(1)
    row = replace(one.row, language="jv", sex="f")
    clip = replace(one.clip, face_px=100.0)
    groups = name_groups([replace(one, row=row, clip=clip, source_fps=29.97), make_row(2)])
    of_first, of_second = ({kind: own[name] for kind, own in groups.items()} for name in ("1.mp4", "2.mp4"))
    assert of_first.pop(Grouping.NOISE).endswith("dB")
    assert of_first == {
        Grouping.LANGUAGE: "jv",
        Grouping.CORPUS: "lab",
        Grouping.SEX: "f",
        Grouping.FACE: "96 to 128 px",
        Grouping.RATE: "from 26 fps",
    }
    assert (of_second[Grouping.LANGUAGE], of_second[Grouping.SEX]) == ("", "")


@pytest.mark.parametrize("contrast_db", [4.0, 27.0])
def test_the_noise_is_the_quietest_tenth(contrast_db: float) -> None:
    """The quietest tenth of 100 frames of level 0 in natural logarithms, speech `contrast_db` above it."""
    one = make_row(1)
    voiced = np.arange(100) >= 20
    speech = np.where(voiced, contrast_db * np.log(10) / 10, 0.0)[:, None].repeat(one.clip.speech.shape[1], axis=1)
    clip = replace(one.clip, speech=speech.astype(np.float32), voiced=voiced)
    assert measure_contrast_db(replace(one, clip=clip)) == pytest.approx(contrast_db, abs=1e-4)
    assert name_groups([replace(one, clip=clip)])[Grouping.NOISE] == {"1.mp4": CONTRASTS.name(contrast_db)}
    mute = replace(clip, voiced=np.zeros(100, bool))
    assert measure_contrast_db(replace(one, clip=mute)) is None
    assert name_groups([replace(one, clip=mute)])[Grouping.NOISE] == {"1.mp4": ""}


def test_faces_of_a_group_are_compared_with_their_swapped_voices() -> None:
    rows = [measured(i, 0.9, language="en" if i < 4 else "jv") for i in range(6)]
    found = group(rows, [swap(i, 0.1 if i < 4 else 0.95) for i in range(6)])
    languages = {
        name: (one.parting.auc, one.parting.n_real, one.parting.n_other) for name, one in found["language"].items()
    }
    assert languages == {"en": (1.0, 4, 4), "jv": (0.0, 2, 2)}
    assert found["corpus"]["lab"].parting.auc == pytest.approx(8 * 3 / 36)
    assert "sex" not in found and found["language"]["en"].false_alarms is None


def test_labelled_clips_of_a_group_precede_swapped_voices() -> None:
    rows = [measured(0, 0.9), measured(1, 0.2, label="fake"), measured(2, 0.5, language=None)]
    found = group(rows, [swap(0, 0.95)])
    assert (found["language"]["en"].parting.auc, found["language"]["en"].parting.n_other) == (1.0, 1)
    assert set(found["language"]) == {"en"}


def test_false_alarms_are_of_genuine_clips_that_the_gates_accept() -> None:
    """A log10 LR of 0 at the score 0.5, of -1 a tenth below."""
    rows = [measured(i, score) for i, score in enumerate((0.1, 0.45, 0.9, 0.9, 0.9))]
    rows += [replace(measured(5, 0.1), refused=True), measured(6, 0.1, label="fake")]
    found = group(rows, calibration=draw_calibration(0.5))["language"]["en"]
    assert found.false_alarms is not None
    assert (found.false_alarms.share, found.false_alarms.n, found.n_refused) == (pytest.approx(0.2), 5, 1)
    assert found.false_alarms.ci is not None and found.false_alarms.ci[0] < 0.2 < found.false_alarms.ci[1]
    refused = JudgedRow(replace(rows[0], refused=True), draw_calibration(0.5))
    assert count_false_alarms([refused]) is None


def test_verdicts_are_of_all_genuine_clips() -> None:
    """Four accepted clips (log10 LR -4, 0, 4, 4) and a refused one of low score; a forged clip is not counted."""
    rows = [measured(0, 0.1), measured(1, 0.5), measured(2, 0.9), measured(3, 0.9, language="jv")]
    rows += [replace(measured(4, 0.1), refused=True), measured(5, 0.1, label="fake")]
    found = measure_verdicts([JudgedRow(one, draw_calibration(0.5)) for one in rows])
    shares = {
        name: (one.against.share, one.undecided.share, one.against.n, one.n_refused)
        for name, one in (found["clips"] | found["language"]).items()
    }
    assert shares == {
        "all": (pytest.approx(0.2), pytest.approx(0.4), 5, 1),
        "en": (pytest.approx(0.25), pytest.approx(0.5), 4, 1),
        "jv": (0.0, 0.0, 1, 0),
    }
    assert measure_verdicts([JudgedRow(one, None) for one in rows]) == {}


def test_the_group_called_against_most_comes_first() -> None:
    def verdicts(against: float, undecided: float, n: int = FEW) -> Verdicts:
        return Verdicts(Share(against, None, None, n), Share(undecided, None, None, n), 0)

    groups = {"a": verdicts(0.0, 0.1), "b": verdicts(1.0, 0.0, FEW - 1), "c": verdicts(0.0, 0.5), "d": verdicts(0.1, 0)}
    assert [name for name, _ in order_verdicts(groups)] == ["d", "c", "a", "b"]


def result(auc: float | None, n_real: int) -> GroupResult:
    parting = Discrimination(auc, 0.2, 0.8, None, None, n_real, 30)
    return GroupResult(parting, Share(0.25, (0.125, 0.5), "people", n_real), 0)


def test_the_worst_group_comes_first_and_few_clips_last() -> None:
    groups = {"a": result(0.9, FEW), "b": result(0.1, FEW - 1), "c": result(0.7, FEW), "d": result(None, 9)}
    assert [name for name, _ in order_groups(groups)] == ["c", "a", "d", "b"]


def test_groups_are_in_the_json_and_on_the_terminal() -> None:
    groups = {"language": {"en": result(0.9, 9), "jv": result(0.6, 9), "ja": result(0.4, 2)}}
    parting = Discrimination(0.95, 0.1, 0.9, (0.9, 1.0), "people", 20, 200)
    report = Report("r", ConsistencyResults("swapped voice", parting, {}, {}, parting, groups=groups), 20, 0, 0, ())
    built = to_json(report)
    assert {name: one["auc"] for name, one in built["per_language"].items()} == {"en": 0.9, "jv": 0.6, "ja": 0.4}
    assert built["groups"]["language"]["en"]["false_alarms"]["share"] == 0.25
    console = Console(record=True, width=200)
    print_report(report, console)
    lines = [line for line in console.export_text().splitlines() if "language: " in line]
    assert [line.split("language: ")[1].split()[0] for line in lines] == ["jv", "en", "ja*"]
    assert "0.125 to 0.500" in lines[0]
