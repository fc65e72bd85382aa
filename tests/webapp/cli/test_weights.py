import json
import sys
from io import StringIO

import pytest

from engine import doctor
from engine.models import avhubert_import
from engine.settings import Settings
from engine.weights import checkpoint_reader, registry
from engine.weights.licences import AV_HUBERT, FILE
from engine.weights.registry import AVHUBERT, FOLDER
from tests.checkpoints import SMALL, Attack, load_here, make_state, save_as_fairseq
from webapp.cli.main import main


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(avhubert_import, "CONFIGS", SMALL)
    monkeypatch.setattr(checkpoint_reader, "_read_confined", load_here)
    return tmp_path / "data"


class Terminal(StringIO):
    """Fake terminal input."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(monkeypatch, capfd):
    """Run `wayspeak weights ...`; `answer` is typed at a terminal, None means there is none."""

    def call(*arguments: object, answer: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wayspeak", "weights", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", StringIO() if answer is None else Terminal(f"{answer}\n"))
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()

    return call


@pytest.fixture
def published(tmp_path):
    return save_as_fairseq(tmp_path / "base_vox_iter5.pt", make_state(fine_tuned=True))


def test_import_with_the_licence_accepted_says_what_became_of_everything(run, published, data_dir):
    code, out, err = run("import", published, "--accept-licence")

    assert code == 0 and AV_HUBERT.url in err and "biometric" in err
    assert "neither imported nor called" in out and "fairseq.data.dictionary.Dictionary" in out
    assert "Dropped tensors (2): decoder.embed_tokens.weight, decoder.output_projection.weight" in out
    assert out.endswith(f"avhubert_base written to {data_dir / FOLDER / 'avhubert_base.safetensors'}\n")
    code, out, err = run("import", published)
    assert (code, err) == (0, "") and "is imported already" in out


def test_import_without_terminal_and_option_is_refused(run, published, data_dir):
    code, out, err = run("import", published)

    assert code == 2 and out == "" and "--accept-licence" in err and AV_HUBERT.url in err
    assert not data_dir.exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2), ("", 2)])
def test_terminal_is_asked_and_no_answer_is_a_no(run, published, data_dir, answer, code):
    found, _, err = run("import", published, answer=answer)

    assert found == code and "Do you accept these terms?" in err
    assert (data_dir / FILE).exists() == (code == 0)


def test_hostile_file_is_one_line_and_code_2(run, tmp_path, data_dir):
    path = save_as_fairseq(tmp_path / "a.pt", make_state(), args=Attack(tmp_path / "marker"))
    code, out, err = run("import", path, "--accept-licence")

    assert (code, out) == (2, "") and err.count("\n") == 1 and "system" in err and "Nothing of it was run" in err
    assert not data_dir.exists() and not (tmp_path / "marker").exists()


def test_other_weights_need_the_word_replace(run, published, tmp_path):
    run("import", published, "--accept-licence")
    other = save_as_fairseq(tmp_path / "other.pt", make_state())

    code, _, err = run("import", other)
    assert code == 2 and "--replace" in err
    assert run("import", other, "--replace")[0] == 0


def test_licence_can_be_accepted_before(run, published, data_dir):
    code, out, err = run("accept", "av_hubert")
    assert code == 2 and "--accept-licence" in err and not data_dir.exists()

    assert run("accept", "av_hubert", answer="n")[0] == 2
    code, out, _ = run("accept", "av_hubert", answer="y")
    assert code == 0 and "accepted 20" in out
    assert run("accept", "av_hubert")[:2] == (0, out.lstrip())  # asked once
    assert run("import", published)[0] == 0


def test_unknown_licence_error_lists_known_ones(run):
    code, _, err = run("accept", "gpl")

    assert code == 2 and "licence gpl is unknown" in err and "av_hubert" in err


def test_list_shows_all_details_of_every_file(run, published, data_dir):
    before = run("list")[1]
    run("import", published, "--accept-licence")
    code, after, _ = run("list")

    (line,) = [line for line in before.splitlines() if line.startswith("avhubert_base")]
    assert "missing" in line and "not accepted" in line
    (line,) = [line for line in after.splitlines() if line.startswith("avhubert_base")]
    assert "verified" in line and "not accepted" not in line and "accepted" in line and " MB" in line
    for weight in registry.WEIGHTS:
        assert all(text in after for text in (weight.name, weight.purpose, weight.source, weight.weight_licence))
    assert code == 0


def test_list_as_json_is_for_machines(run, published, data_dir):
    run("import", published, "--accept-licence")
    rows = {row["name"]: row for row in json.loads(run("list", "--json")[1])}

    assert set(rows) == {weight.name for weight in registry.WEIGHTS}
    own, large, compact = rows["avhubert_base"], rows["avhubert_large"], rows["compact"]
    path = data_dir / FOLDER / "avhubert_base.safetensors"
    assert (own["state"], own["path"], own["size"]) == ("verified", str(path), path.stat().st_size)
    assert own["acceptance"] == "accepted" and own["accepted"] and own["uses"] == ["consistency"]
    assert (large["state"], large["path"], large["optional"]) == ("missing", None, True)
    assert (compact["acceptance"], compact["accepted"], compact["optional"]) == ("not needed", None, False)


def test_verification_passes_without_the_optional_and_fails_of_damage(run, published, data_dir):
    code, out, _ = run("verify")
    assert code == 0 and "not there  avhubert_large: optional" in out

    run("import", published, "--accept-licence")
    code, out, _ = run("verify")
    assert code == 0 and "verified   avhubert_base" in out
    path = data_dir / FOLDER / "avhubert_base.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, out, _ = run("verify")
    assert code == 1 and "damaged    avhubert_base" in out


def test_verification_fails_where_something_needed_is_missing(run, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "nowhere")
    code, out, _ = run("verify")

    assert code == 1 and "missing    compact" in out


def test_help_names_the_commands_and_imports_no_torch(run):
    code, out, _ = run("--help")

    assert code == 0 and all(name in out for name in ("import", "accept", "list", "verify"))


def _examine(data_dir):
    findings = doctor.examine(Settings(data_dir))
    return findings, {finding.topic: finding for finding in findings}


def test_doctor_passes_without_optional_weights(data_dir):
    findings, by_topic = _examine(data_dir)

    assert doctor.is_healthy(findings)
    for size, weight in AVHUBERT.items():
        finding = by_topic[f"avhubert_{size}"]
        assert finding.mark == "optional" and weight.source in finding.text and "weights import" in finding.text


def test_doctor_lists_unlicensed_and_damaged_weights(run, published, data_dir):
    run("import", published, "--accept-licence")
    assert _examine(data_dir)[1]["avhubert_base"].mark == "ok"

    (data_dir / FILE).unlink()
    finding = _examine(data_dir)[1]["avhubert_base"]
    assert finding.mark == "warning" and "wayspeak weights accept av_hubert" in finding.text
    (data_dir / FOLDER / "avhubert_base.safetensors").write_bytes(b"x")
    findings, by_topic = _examine(data_dir)
    assert by_topic["avhubert_base"].mark == "warning" and "damaged" in by_topic["avhubert_base"].text
    assert doctor.is_healthy(findings)
