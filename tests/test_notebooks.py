"""The notebooks, run from the first cell to the last on drawn people and a gallery of their own."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import papermill
import pytest
from nbformat import NotebookNode
from typer.testing import CliRunner

from engine.calibration.apply import find_calibration
from engine.calibration.files import read_record
from engine.calibration.records import Task
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.settings import Settings
from gallery_db.export import write_people
from gallery_db.gallery import Gallery
from gallery_db.records import Person
from tests.engine.evaluation.films import draw_film, make_features
from tests.gallery_db.planted import draw_person, embed, make_consent, make_sample
from webapp.cli.main import app
from webapp.notebook.enrolment import _store

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = ("calibration", "enrolment")
PLOTLY, TEXT = "application/vnd.plotly.v1+json", "text/plain"
Run = Callable[..., NotebookNode]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a notebook in a process of its own, on a data folder of its own; return it with its outputs."""
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(name: str, **parameters: Any) -> NotebookNode:
        path = FOLDER / f"{name}.ipynb"
        assert any("parameters" in cell.metadata.get("tags", ()) for cell in nbformat.read(path, 4).cells)
        return papermill.execute_notebook(
            str(path), None, parameters, cwd=str(FOLDER), progress_bar=False, kernel_name="python3"
        )

    return call


def list_outputs(done: NotebookNode, kind: str) -> list[Any]:
    return [
        output.data[kind] for cell in done.cells for output in cell.get("outputs", ()) if kind in output.get("data", {})
    ]


def read_stdout(done: NotebookNode) -> str:
    return "".join(
        str(output.text)
        for cell in done.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    )


def test_the_folder_holds_the_notebooks_and_their_texts_alone() -> None:
    there = {path.name for path in FOLDER.iterdir() if not path.name.startswith((".", "__"))}
    assert there == {f"{name}.{kind}" for name in NAMES for kind in ("py", "ipynb")}


@pytest.mark.parametrize("name", NAMES)
def test_each_is_kept_without_outputs_in_step_with_its_text_and_thin(name: str) -> None:
    kept, text = nbformat.read(FOLDER / f"{name}.ipynb", 4), jupytext.read(FOLDER / f"{name}.py")
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    cells, wanted = (
        [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in one.cells] for one in (kept, text)
    )
    assert cells == wanted, f"run: jupytext --sync notebooks/{name}.py"
    assert not any(line.startswith(("def ", "class ", "    def ")) for cell in code for line in cell.source.split("\n"))
    assert not any(
        line.startswith(("commit = True", "keep = True")) for cell in code for line in cell.source.split("\n")
    )
    assert sum("parameters" in cell.metadata.get("tags", ()) for cell in code) == 1


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Clips of people of eight sources and two languages, some of them forged, all seen before: nothing is decoded."""
    lines, films = ["path,label,speaker,source,method,language"], []
    for number in range(16):
        films.append(draw_film(tmp_path, f"{number}.mp4", number, seconds=5))
        lines.append(f"{films[-1]},real,person {number},lab {number % 8},,{('en', 'ar')[number % 2]}")
    for number in range(8):
        films.append(draw_film(tmp_path, f"fake {number}.mp4", number, 90 + number, seconds=5))
        lines.append(f"{films[-1]},fake,person {number},lab {number % 8},{('dub', 'swap')[number % 2]},")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    cache = FeatureCache(tmp_path / "cache", FeatureExtractor.load(Settings(tmp_path / "data")).recipe)
    for name in films:
        content = (tmp_path / name).read_bytes()
        cache.save(make_features(json.loads(content), hashlib.sha256(content).hexdigest()))
    return tmp_path / "clips.csv"


def test_calibration_from_a_manifest_to_a_record_that_the_app_uses(run: Run, manifest: Path, tmp_path: Path) -> None:
    done = run(
        "calibration",
        manifest=str(manifest),
        cache=str(tmp_path / "cache"),
        author="Ada",
        approver="Bob",
        out=str(tmp_path / "records"),
        keep=True,
        resamples=20,
        windows_s=[4.0],
    )
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    titles = [figure["layout"]["title"]["text"] for figure in list_outputs(done, PLOTLY)]
    assert titles == [
        *("Scores", "ROC", "DET", "AUC against length", "AUC against window length"),
        *("Tippett", "Reliability"),
    ]
    names = [trace["name"] for trace in list_outputs(done, PLOTLY)[0]["data"]]
    assert names[:3] == ["real (16)", "dub (4)", "swap (4)"] and names[3].startswith("swapped voice")
    tables = "".join(list_outputs(done, TEXT))
    assert "language" in tables and "ar" in tables and "cllr_cal" in tables
    draft, approved = (read_record(tmp_path / "records" / f"consistency-{one}.json") for one in ("draft", "approved"))
    assert approved.supersedes == draft.id and approved.author == "Ada" and approved.approver == "Bob"
    assert draft.notebook_sha256 == hashlib.sha256((FOLDER / "calibration.py").read_bytes()).hexdigest()
    assert approved.id in read_stdout(done)
    with Gallery.open(Settings(tmp_path / "data")) as gallery:
        kept = gallery.calibrations()
    assert find_calibration(Task.CONSISTENCY, draft.recipe, kept) == approved

    arguments = ["calibrate", str(manifest), "--cache", str(tmp_path / "cache"), "--author", "Eve", "--resamples", "20"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "record.json")])
    assert result.exit_code == 0, result.output
    headless = read_record(tmp_path / "record.json")
    assert (headless.parameters, headless.bounds, headless.policy) == (draft.parameters, draft.bounds, draft.policy)
    assert headless.metrics == draft.metrics and headless.conformal == draft.conformal


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Cached samples of three people, one with a clip of another person."""
    consent, now, people = make_consent(), datetime.now(UTC), []
    for number, name in enumerate(("Ada", "Ben", "Cem")):
        own = [make_sample(embed(draw_person(number), 10 * number + k), f"{name}{k}") for k in range(4)]
        if name == "Cem":
            own.append(make_sample(embed(draw_person(7), 77), "Cem-not"))
        people.append(Person(name, now, tuple(_store(one, consent) for one in own)))
    for person in people:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        (tmp_path / "people" / person.name / "clip.mp4").touch()
    write_people(tmp_path / "seen.wayspeak", people)
    return tmp_path / "seen.wayspeak"


def test_enrolment_from_clips_to_people_who_are_found(run: Run, seen: Path, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data")
    given = {"clips": str(tmp_path / "people"), "purpose": "a test", "collector": "Eve", "kept": str(seen)}
    done = run("enrolment", **given, commit=True)
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    people, matrix = list_outputs(done, PLOTLY)
    assert {trace["name"] for trace in people["data"]} == {"Ada", "Ben", "Cem"}
    assert np.shape(matrix["data"][0]["x"]) == (13,)
    tables = "".join(list_outputs(done, TEXT))
    assert "Cem-not.mp4" in tables and "OUTLIER" in tables and "4 of 5" in tables
    reported = read_stdout(done)
    assert "Cem: 4 clips enrolled, 1 left out" in reported and "12 of 12 clips find their own speaker" in reported
    with Gallery.open(settings) as gallery:
        assert {one.name: one.n_samples for one in gallery.speakers()} == {"Ada": 4, "Ben": 4, "Cem": 4}
