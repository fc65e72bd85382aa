"""`wayspeak calibrate` on drawn clips: from a manifest to a record, the same again, from kept scores, and refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.calibration.apply import p_value
from engine.calibration.files import APPROVER, read_record, write_record
from engine.calibration.qualities import QUALITIES, measure_quality
from engine.calibration.records import Calibration, CalibrationStatus, Task
from engine.calibration.trials import read_trials, write_trials
from engine.errors import Code
from engine.evaluation import calibration_trials
from engine.pipeline import Engine
from engine.weights.registry import hash_file
from tests.engine.calibration.drawn import CREATED, draw_search, draw_trials, make_record
from tests.engine.evaluation.films import DrawnExtractor, draw_film
from tests.engine.evaluation.speakers.people import draw_people, gather
from tests.fakes import make_mouth, make_scorer
from tests.raising import raises
from webapp.cli.calibrate import app as life
from webapp.cli.main import app

HEADER = "path,label,speaker,source,session"
PEOPLE = 24


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    engine = Engine(DrawnExtractor(), make_scorer(), "drawn")  # type: ignore[arg-type]
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Engine, "load", lambda settings, method: engine)
    monkeypatch.setattr(calibration_trials, "read_trained_sources", lambda settings, model: frozenset({"lab 1"}))

    def invoke(*arguments: object, author: str = "Ada") -> Result:
        plain = ["calibrate", "--author", author, "--resamples", "20", *map(str, arguments)]
        return CliRunner().invoke(app, plain)

    return invoke


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Real clips of people of six sources, one of them silent, and a forged one."""
    rows = [
        f"{draw_film(tmp_path, f'{i}.mp4', i, seconds=5 + i % 3)},real,person {i},lab {i % 6}," for i in range(PEOPLE)
    ]
    rows.append(f"{draw_film(tmp_path, 'fake.mp4', 90, 91)},fake,person 0,lab 0,")
    rows.append(f"{draw_film(tmp_path, 'short.mp4', 92, seconds=1.4)},real,person 92,lab 0,")
    (tmp_path / "manifest.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path / "manifest.csv"


def read(result: Result, path: Path) -> Calibration:
    assert result.exit_code == 0, (result.output, result.exception)
    return read_record(path)


def test_from_a_manifest_to_a_draft_that_means_something(
    run: Callable[..., Result], manifest: Path, tmp_path: Path
) -> None:
    result = run(manifest, "--out", tmp_path / "new" / "record.json", "--note", "drawn")
    record = read(result, tmp_path / "new" / "record.json")
    assert (record.task, record.status, record.author) == (Task.CONSISTENCY, CalibrationStatus.DRAFT, "Ada")
    assert record.recipe == "fake-compact" and record.manifest_sha256 == hash_file(manifest)
    assert (record.counts.clips, record.counts.abstained, record.counts.sources) == (PEOPLE, 1, 6)
    assert record.counts.people == PEOPLE
    assert record.note.startswith("drawn 4 of the clips are of sources")  # lab 1 was trained on
    speech = measure_quality(np.ones(125, bool), make_mouth(125), 120.0)  # 5 s of a drawn mouth
    qualities = np.array([[QUALITIES[name](speech) for name in record.qualities]] * 2)
    lengths_s = np.full(2, speech.speech_s)
    own, other = record.llrs(np.array([0.9, -0.3]), qualities, recipe="fake-compact", speech_s=lengths_s)
    assert own > 1 and other < -0.5
    with raises(Code.RECIPE_MISMATCH):
        record.llrs(np.zeros(1), np.zeros((1, len(record.qualities))), recipe="drawn")
    assert record.conformal is not None and p_value(record.conformal, -1.0, 5.0) == 1 / (PEOPLE + 1)
    found = json.loads((tmp_path / "new" / "record.json").read_text("utf-8"))
    assert found["schema"] == 2 and found["status"] == "draft" and "person 1" not in json.dumps(found)
    assert "by another person than Ada" in result.stdout and "held-out trials" in result.stderr


def test_the_same_again_gives_the_same_parameters_and_figures(
    run: Callable[..., Result], manifest: Path, tmp_path: Path
) -> None:
    records = [
        read(run(manifest, "--out", tmp_path / f"{name}.json", "--seed", seed), tmp_path / f"{name}.json")
        for name, seed in (("one", 1), ("two", 1), ("three", 2))
    ]
    one, two, three = records
    assert replace(one, id="", created=CREATED) == replace(two, id="", created=CREATED)
    assert one.parameters != three.parameters


def test_kept_scores_give_the_same_record_without_any_clip(
    run: Callable[..., Result], manifest: Path, tmp_path: Path
) -> None:
    first = read(run(manifest, "--out", tmp_path / "1.json", "--keep-scores", tmp_path / "s.json"), tmp_path / "1.json")
    for clip in tmp_path.glob("*.mp4"):
        clip.unlink()
    again = read(run("--scores", tmp_path / "s.json", "--out", tmp_path / "2.json"), tmp_path / "2.json")
    assert replace(again, id="", created=CREATED, note="") == replace(first, id="", created=CREATED, note="")


def test_scores_of_substitutes_belong_to_the_installed_engine(run: Callable[..., Result], tmp_path: Path) -> None:
    for recipe, wanted in (("", "fake-compact"), ("elsewhere-77", "elsewhere-77")):
        write_trials(replace(draw_trials(), recipe=recipe), tmp_path / "s.json")
        record = read(run("--scores", tmp_path / "s.json", "--out", tmp_path / "r.json"), tmp_path / "r.json")
        assert record.recipe == wanted and record.scored_by == "a pencil"


@pytest.mark.parametrize("task", [Task.VERIFICATION, Task.IDENTIFICATION])
def test_people_are_calibrated_by_their_embeddings(
    run: Callable[..., Result], manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    people = draw_people(12, 3, per_session=4, noise=2.5)
    rows = [f"{one.row.path},real,{one.row.speaker},lab,{one.row.session}" for one in people]
    manifest.write_text("\n".join([HEADER, *rows]) + "\n")
    known = replace(gather(*people), trained_on=frozenset({"p0", "p1"}))
    monkeypatch.setattr(calibration_trials, "embed_clips", lambda *arguments: known)
    arguments = (manifest, "--task", task, "--pool", "2", "--pool", "4", "--out", tmp_path / "r.json")
    record = read(run(*arguments), tmp_path / "r.json")
    assert (record.task, record.recipe, record.conformal) == (task, "drawn", None)
    assert record.note == "24 of the clips are of people that the model was trained on, which flatters the figures."
    assert record.counts.people == record.counts.sources == 12
    assert record.counts.gallery_size == (11 if task == Task.IDENTIFICATION else 0)
    figures = {one.name: one.value for one in record.metrics if one.condition == "all"}
    assert figures["cllr"] < 0.9 and ("fnir_at_fpir_0.1" in figures) == (task == Task.IDENTIFICATION)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), Code.BAD_MANIFEST, "neither a manifest nor"),
        (("--scores", "absent.json"), Code.BAD_SCORES, "absent.json"),
        (("--scores", "s.json", "--task", "verification"), Code.BAD_SCORES, "for consistency, not for verification"),
        (("--scores", "s.json", "--qualities", "loudness"), Code.BAD_SCORES, "no quality loudness"),
        (("--scores", "few.json"), Code.BAD_SCORES, "20 of 4 people"),
        (("--scores", "s.json", "--calibrator", "isotonic"), Code.BAD_SCORES, "200 of 4 people"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_what_to_do(
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_trials(draw_trials(), Path("s.json"))
    write_trials(draw_trials().take(np.arange(12)), Path("few.json"))
    error = run(*arguments).exception
    assert error.code == code and reason in error.message and error.hint
    assert not Path("calibration.json").exists()


def test_a_record_without_an_author_and_a_rate_that_is_none_are_refused(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    write_trials(draw_trials(), tmp_path / "s.json")
    assert run("--scores", tmp_path / "s.json", author="").exception.code == Code.BAD_SCORES
    assert run("--scores", tmp_path / "s.json", "--false-against", "1.5").exit_code == 2


def test_no_quality_can_be_asked_for(run: Callable[..., Result], tmp_path: Path) -> None:
    write_trials(draw_trials(), tmp_path / "s.json")
    record = read(
        run("--scores", tmp_path / "s.json", "--qualities", "", "--out", tmp_path / "r.json"), tmp_path / "r.json"
    )
    assert record.qualities == ()


def test_trials_of_one_kind_alone_can_be_fitted_to(run: Callable[..., Result], tmp_path: Path) -> None:
    trials = draw_trials()
    write_trials(trials, tmp_path / "s.json")
    out = tmp_path / "r.json"
    record = read(run("--scores", tmp_path / "s.json", "--only", "whole", "--out", out), out)
    assert record.counts.same + record.counts.different == int((trials.conditions == "whole").sum()) > 0
    error = run("--scores", tmp_path / "s.json", "--only", "enrolled").exception
    assert error.code == Code.BAD_SCORES and "4 s, whole" in error.message


def test_a_draft_is_approved_by_the_rules_of_a_release_or_by_a_person(tmp_path: Path) -> None:
    draft, out = tmp_path / "draft.json", tmp_path / "approved.json"
    write_record(make_record(note="of drawn clips"), draft)
    arguments = ["approve", str(draft), "--out", str(out)]
    assert CliRunner().invoke(life, [*arguments, "--by-rules", "--approver", "Bob"]).exit_code == 2
    assert CliRunner().invoke(life, arguments).exit_code == 2
    assert CliRunner().invoke(life, [*arguments, "--by-rules"]).exit_code == 0
    assert read_record(out).approver == APPROVER


def test_a_draft_is_shown_approved_by_another_and_retired(tmp_path: Path) -> None:
    draft, approved, retired = (tmp_path / f"{name}.json" for name in ("draft", "approved", "retired"))
    write_record(make_record(note="of drawn clips"), draft)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(life, [str(one) for one in arguments])

    shown = call("show", draft)
    assert shown.exit_code == 0
    for text in ("draft, version 1.0.0, by Ada, approved by nobody", "of drawn clips", "smallest p", "this face"):
        assert text in " ".join(shown.stdout.split())
    refused = call("approve", draft, "--approver", "ada", "--out", approved)
    assert refused.exception.code == Code.BAD_CALIBRATION and not approved.exists()
    assert call("approve", draft, "--approver", "Bob", "--out", approved).exit_code == 0
    assert call("retire", approved, "--note", "a better one", "--out", retired).exit_code == 0
    assert [read_record(one).status for one in (draft, approved, retired)] == ["draft", "approved", "retired"]
    assert "approved by Bob" in call("show", retired).stdout


def test_a_record_of_searches_is_shown_too(tmp_path: Path) -> None:
    write_record(make_record(draw_search()), tmp_path / "r.json")
    shown = " ".join(CliRunner().invoke(life, ["show", str(tmp_path / "r.json")]).stdout.split())
    assert "Calibration for identification" in shown and "is not enrolled" in shown


def test_the_kept_scores_are_those_of_the_product(run: Callable[..., Result], manifest: Path, tmp_path: Path) -> None:
    run(manifest, "--out", tmp_path / "r.json", "--keep-scores", tmp_path / "s.json")
    trials = read_trials(tmp_path / "s.json")
    engine = Engine.load(None, None)  # type: ignore[arg-type]
    whole = trials.take(np.flatnonzero(trials.same & (trials.conditions == "whole")))
    report = engine.judge(engine.extract(manifest.parent / "5.mp4")).tracks[0].consistency
    assert round(report.score or 0, 6) in set(whole.scores[whole.people[:, 0] == "person 5"].round(6))
    assert np.exp(whole.qualities[whole.people[:, 0] == "person 5", 0]) == pytest.approx(report.speech_s)
