"""Results page: content and order; held-out networks never score their training data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.results import Adapter
from benchmarks.results_page import Measured, Subset, write_page
from benchmarks.standins import StandIns, choose_one_each, load_stand_ins
from engine.datasets.manifest import Row
from engine.errors import EngineError
from engine.evaluation.perturbations import Perturbation
from engine.evaluation.results import (
    ConsistencyResults,
    Depth,
    Discrimination,
    GroupResult,
    Hits,
    MethodResult,
    OffsetResults,
    Share,
    Trimmed,
    Verdicts,
)
from engine.evaluation.robustness import UNTOUCHED, PerturbationResult, RobustnessReport, Step
from engine.features.extractor import FeatureExtractor
from engine.training.consistency.ensemble import MemberOptions, MemberState
from tests.fakes import FakeNets, FakeVoice

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = ("lab", "hall", "lab", "studio")


def parted(auc: float, n: int = 9) -> Discrimination:
    return Discrimination(auc, 1 - auc, auc, (auc - 0.1, min(1.0, auc + 0.1)), "people", n, 10 * n)


def draw_groups() -> dict[str, dict[str, GroupResult]]:
    rare, often = (Share(share, (0.0, 0.4), "people", 8) for share in (0.0, 0.25))
    return {
        "language": {"en": GroupResult(parted(1.0, 8), rare, 1), "jv": GroupResult(parted(0.8, 1), None, 0)},
        "face width": {"below 64 px": GroupResult(parted(0.6, 8), often, 2)},
    }


def draw_verdicts() -> dict[str, dict[str, Verdicts]]:
    def verdicts(against: float, n: int) -> Verdicts:
        return Verdicts(Share(against, (0.0, 0.4), "people", n), Share(0.5, None, None, n), 2)

    languages = {"en": verdicts(0.125, 8), "jv": verdicts(0.25, 8), "ja": verdicts(1.0, 1)}
    return {"clips": {"all": verdicts(0.15, 17)}, "language": languages}


def measure() -> Measured:
    against = {
        "puppet": MethodResult(0.21, 7, (0.1, 0.3), "clips", 0.8, 0.5),
        "dub": MethodResult(0.97, 4, None, None, 0.1, 0.9),
    }
    depth = Depth({"real": (0.5,)}, {"4": parted(0.95)}, {"1": parted(0.61)}, {"faces held still": parted(0.5)})
    trimmed = Trimmed(parted(0.7), {"puppet": replace(against["puppet"], auc=0.33)}, {"real": 0.0, "dub": 0.2}, 0.6, 1)
    figures = ConsistencyResults(
        "swapped voice", parted(0.99), against, {"1": parted(0.71)}, parted(0.5), trimmed, depth, draw_groups()
    )
    outcomes = tuple(
        PerturbationResult(
            step, parted(0.9 - step.level / 50), None, 9, (), Share(step.level / 10, (0.0, 0.6), "people", 9)
        )
        for step in (UNTOUCHED, Step(Perturbation.MP3, 1), Step(Perturbation.MP3, 5))
    )
    hits = Hits(0.66, (0.5, 0.8), "people", 40, 1.0)
    return Measured(
        manifest_sha256="f" * 64,
        recipe="drawn",
        dubbed=figures,
        dubbed_of=Subset(9, 8, ("lab",)),
        offsets=OffsetResults("planted", hits, hits, {}, 9),
        genuine=draw_verdicts(),
        genuine_of=Subset(17, 9, ("lab",)),
        forged=figures,
        forged_short=figures,
        sound=RobustnessReport("drawn", "id", "swapped voice", 4.0, 9, outcomes),
        longer=RobustnessReport("drawn", "id", "swapped voice", 8.0, 9, outcomes),
    )


def read_page(measured: Measured, folder: Path) -> str:
    write_page(measured, folder / "results.md")
    return (folder / "results.md").read_text("utf-8")


def test_what_was_measured_is_on_the_page_weaknesses_first(tmp_path: Path) -> None:
    page = read_page(measure(), tmp_path)
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings[0] == "## Weaknesses first" and "## Worse sound" in headings and "## Worse picture" not in headings
    weaknesses = page.split("## ")[1]
    assert "better* than real clips (AUC, number of clips): puppet 0.21 (7)." in weaknesses
    assert "dub 0.97 (4)" in weaknesses and "0.71 (0.61 to 0.81) in windows of 1 s" in weaknesses
    assert "at most 50% of 9 (0% to 60%), after MP3 (8 kbit/s)" in weaknesses
    assert "1 of them are labelled with another language than English, 0 with none" in weaknesses
    assert "Lowest AUC: face width: below 64 px 0.60 (0.50 to 0.70); language: en 1.00" in weaknesses
    assert "called against: face width: below 64 px 25% of 8 (0% to 40%); language: en 0% of 8" in weaknesses
    assert "| language: jv (few) | 0.800 | 0.700 to 0.900 | 0.200 | 1 / 10 | - | 0 |" in page
    assert "Of 17 of 2 s and more 15.0% (0.0% to 40.0%) are called against, 50.0% are inconclusive" in weaknesses
    assert "Most called against: language: jv 25% of 8 (0% to 40%); language: en 12% of 8" in weaknesses
    listed = ("clips: all", "language: jv", "language: en", "language: ja (few)")
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.endswith("| 50.0% | 2 |")]
    assert [line.split(" | ")[0] for line in rows] == [f"| {name}" for name in listed]
    assert rows[1] == "| language: jv | 8 | 25.0% (0.0% to 40.0%) | 50.0% | 2 |"
    assert "| puppet | 7 | 0.210 | 0.100 to 0.300 (over clips) | 0.800 | 0.500 |" in page
    assert "| windows of 1 s, no offset tried | 0.610 |" in page and "| faces held still | 0.500 |" in page
    assert "The lowest AUC is 0.80 (0.70 to 0.90), after MP3 (8 kbit/s)" in page
    assert "dub 0.20 s" in page and "moves by more than 0.12; 1 clips are too short" in page


def test_perturbations_of_an_earlier_recipe_are_marked(tmp_path: Path) -> None:
    note = "these are figures of the recipe `drawn`"
    assert note not in read_page(measure(), tmp_path)
    assert note in read_page(replace(measure(), recipe="newer"), tmp_path)


def test_the_page_in_docs_is_that_of_its_figures(tmp_path: Path) -> None:
    measured = Adapter.validate_json((DOCS / "results.json").read_bytes())
    assert read_page(measured, tmp_path) == (DOCS / "results.md").read_text("utf-8")


def test_every_table_has_as_many_cells_in_each_row(tmp_path: Path) -> None:
    blocks = [block.splitlines() for block in read_page(measure(), tmp_path).split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 7
    for lines in blocks:
        assert len(lines) > 2 and len({line.count("|") for line in lines}) == 1, lines[0]


def test_what_was_measured_comes_back_from_its_file_as_it_was() -> None:
    measured = measure()
    assert Adapter.validate_json(Adapter.dump_json(measured)) == measured


def test_parts_that_were_not_measured_are_not_on_the_page(tmp_path: Path) -> None:
    page = read_page(Measured(), tmp_path)
    assert "## Weaknesses first" in page and "## Forged clips" not in page and "AUC untouched" not in page


def make_rows() -> list[Row]:
    taught = [
        Row(number, Path(f"{number}.mp4"), "real", f"p{number}", source, has_audio="1", audio_in_sync="yes")
        for number, source in enumerate(SOURCES, start=1)
    ]
    return [*taught, Row(9, Path("f.mp4"), "fake", "", "elsewhere"), Row(10, Path("g.mp4"), "fake", "", "elsewhere")]


def write_run(folder: Path) -> None:
    (folder / "held-out.json").write_text(json.dumps({"0": ["studio"], "1": ["lab"], "2": ["hall"]}))
    (folder / "checkpoints").mkdir()
    for fold in (1, 2):
        torch.manual_seed(fold)
        state = {"trainee": MemberState(MemberOptions()).state_dict()}
        torch.save(state, folder / "checkpoints" / f"held-out-{fold}-0.checkpoint")


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    write_run(tmp_path)
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "drawn")  # type: ignore[arg-type]
    return load_stand_ins(make_rows(), tmp_path, extractor)


def test_each_clip_is_judged_by_the_network_that_never_saw_its_source(stand_ins: StandIns) -> None:
    lab, hall, _, studio, *forged = make_rows()
    assert set(stand_ins.engines) == {1, 2}
    assert stand_ins.choose(lab) is stand_ins.engines[1] and stand_ins.choose(hall) is stand_ins.engines[2]
    assert stand_ins.covers(lab) and not stand_ins.covers(studio)  # of its fold there is no network
    assert {id(stand_ins.choose(row)) for row in forged} == {id(engine) for engine in stand_ins.engines.values()}
    assert all(stand_ins.covers(row) for row in forged)
    judging = stand_ins.engines[1]
    assert judging.recipe == stand_ins.shipped.recipe and judging.calibration is stand_ins.shipped.calibration


def test_a_folder_without_the_record_says_what_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "drawn")  # type: ignore[arg-type]
    with pytest.raises(EngineError) as told:
        load_stand_ins(make_rows(), tmp_path, extractor)
    assert "--validate" in told.value.hint


def test_one_clip_of_each_person_is_taken_spread_evenly() -> None:
    rows = [Row(number, Path("a"), "real", f"p{number // 2}") for number in range(12)]
    assert [row.person for row in choose_one_each(rows, 3)] == ["p0", "p2", "p4"]
    assert len(choose_one_each(rows, 99)) == 6
