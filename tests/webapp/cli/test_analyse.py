import json
import sys

import pytest

from engine.calibration.files import write_record
from engine.consistency import methods
from engine.consistency.methods import Method
from engine.errors import Code
from engine.pipeline import Engine
from engine.reports.json import to_json, write_json
from engine.types import MediaSelection, Mode, Model
from engine.weights import registry
from tests.engine.calibration.drawn import make_record
from tests.fakes import FakeEngine, make_analysis
from webapp.cli import analyse
from webapp.cli.main import main

BROKEN = Code.UNREADABLE_VIDEO("The file is empty,\nwanted a video.", "Fetch it again.")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line with a fake engine; return exit code, standard output, standard error."""

    def call(*arguments: object, engine: FakeEngine | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(Engine, "load", lambda settings, method, calibrations: engine or FakeEngine())
        monkeypatch.setattr(sys, "argv", ["wayspeak", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()

    return call


def test_analysis_prints_text_and_writes_no_file(run):
    code, out, err = run("analyse", "talk.mp4")

    assert (code, err) == (0, "")
    assert out.startswith("talk.mp4: 10.0 s") and "Match does not prove authenticity." in out


def test_what_users_keep_judges_and_a_record_that_is_named_wins(monkeypatch, tmp_path, capfd):
    kept, named = make_record().approve("Bob"), make_record(seed=1).approve("Bob")
    write_record(named, tmp_path / "r.json")
    engine, given = FakeEngine(), []
    monkeypatch.setattr(engine, "apply", given.append, raising=False)
    load = lambda settings, method, calibrations: given.extend(calibrations) or engine  # noqa: E731
    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.setattr(analyse, "read_stored_calibrations", lambda settings: [kept])
    for more, wanted in (((), [kept]), (("--calibration", str(tmp_path / "r.json")), [kept, named])):
        given.clear()
        monkeypatch.setattr(sys, "argv", ["wayspeak", "analyse", "talk.mp4", *more])
        with pytest.raises(SystemExit):
            main()
        assert given == wanted
    capfd.readouterr()


def test_json_on_standard_output_is_the_report_alone(run):
    code, out, err = run("analyse", "talk.mp4", "--json", "-")

    assert (code, err) == (0, "")
    assert out == write_json(to_json(make_analysis(name="talk.mp4")))


def test_json_file_is_written_with_text_output(run, tmp_path):
    target = tmp_path / "report.json"
    code, out, _ = run("analyse", "talk.mp4", "--json", target)

    assert code == 0 and out.startswith("talk.mp4")
    assert json.loads(target.read_text("utf-8"))["file"]["name"] == "talk.mp4"


def test_error_is_one_line_and_code_2(run):
    code, out, err = run("analyse", "talk.mp4", engine=FakeEngine(BROKEN))

    assert (code, out) == (2, "")
    assert err == "wayspeak: The file is empty, wanted a video. Fetch it again.\n"


@pytest.mark.parametrize("place", ["-", "report.json"])
def test_error_object_takes_the_place_of_the_report(run, tmp_path, place):
    target = place if place == "-" else tmp_path / place
    code, out, err = run("analyse", "talk.mp4", "--json", target, engine=FakeEngine(BROKEN))

    written = json.loads(out if place == "-" else target.read_text("utf-8"))
    assert code == 2 and err.count("\n") == 1
    assert written["error"]["code"] == "UNREADABLE_VIDEO" and written["error"]["hint"] == "Fetch it again."


def test_report_that_cannot_be_written_is_an_error_with_its_place(run, tmp_path):
    code, _, err = run("analyse", "talk.mp4", "--json", tmp_path / "no" / "folder.json")

    assert code == 2 and "folder.json cannot be written" in err


def test_missing_weights_are_an_error_like_any_other(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path)
    monkeypatch.setattr(sys, "argv", ["wayspeak", "analyse", "talk.mp4", "--json", "-"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()

    assert ended.value.code == 2 and "compact.safetensors" in err
    assert json.loads(out)["error"]["code"] == "WEIGHTS_MISSING"


def test_doctor_lists_missing_and_exits_with_1(run, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path)
    code, out, _ = run("doctor")

    (line,) = [line for line in out.splitlines() if line.split()[1] == "compact"]
    assert code == 1 and line.startswith("missing") and "wayspeak train consistency" in line


def test_method_is_chosen_by_name_and_compact_by_default(monkeypatch, run):
    taken = []
    real = methods.choose_method
    monkeypatch.setattr(methods, "choose_method", lambda *chosen: taken.append(real(*chosen)) or taken[-1])

    assert run("analyse", "talk.mp4")[0] == 0
    assert run("analyse", "talk.mp4", "--model", "compact", "--mode", "paper", "--second", "avhubert-base")[0] == 0
    assert taken == [Method(), Method(Model.COMPACT, Mode.PAPER, Model.AVHUBERT_BASE)]


def test_paper_mode_without_avhubert_says_what_to_bring(run):
    code, out, err = run("analyse", "talk.mp4", "--mode", "paper", "--json", "-")

    assert code == 2 and json.loads(out)["error"]["code"] == "WEIGHTS_MISSING"
    for words in ("avhubert_large.safetensors", "facebookresearch", "non-commercial", "wayspeak weights import"):
        assert words in err


def test_second_model_equal_to_first_is_refused(run):
    code, _, err = run("analyse", "talk.mp4", "--second", "compact")
    assert code == 2 and "would be its own" in err


@pytest.mark.parametrize(
    ("options", "selection"),
    [
        ((), MediaSelection()),
        (("--from", "1:05", "--to", "0:01:15.5"), MediaSelection(65.0, 75.5)),
        (("--to", "90"), MediaSelection(0.0, 90.0)),
        (("--audio-track", "2", "--channel", "left"), MediaSelection(audio_track=2, channel="FL")),
        (("--channel", "mix"), MediaSelection(channel="mix")),
    ],
)
def test_part_and_sound_are_chosen_by_options(run, options, selection):
    engine = FakeEngine()
    assert run("analyse", "talk.mp4", *options, engine=engine)[0] == 0
    assert engine.selections == [selection]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from", "1:75"), "'1:75' is no time"),
        (("--from", "20", "--to", "0:20"), "The part ends at 0:00:20"),
        (("--audio-track", "0"), "audio-track"),
        (("--channel", "middle one"), "is no channel"),
    ],
)
def test_nonsense_about_part_and_sound_is_refused_before_anything_is_read(run, options, words):
    engine = FakeEngine()
    code, out, err = run("analyse", "talk.mp4", *options, engine=engine)
    assert (code, out, engine.selections) == (2, "", [])
    assert words in " ".join(err.replace("│", " ").split())
