"""`wayspeak phonemes`, with a synthetic face and a fake recogniser."""

import json
import sys
from pathlib import Path

import pytest

from engine.faces.tracking import FaceOptions
from engine.features.extractor import FeatureExtractor
from engine.speech.phonemes import Sound, SoundRecogniser
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth, make_voice
from webapp.cli.main import main

N = 100


class Ear:
    language = "en"

    def recognise(self, audio, voiced, on_step) -> tuple[Sound, ...]:
        return (Sound("M", 0.4, 0.48), Sound("UW", 1.0, 1.16), Sound("B", 3.0, 3.08), Sound("T", 3.2, 3.28))


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run the command; return exit code, standard output, standard error."""
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    mouth = make_mouth(N)
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "fake", face_options=FaceOptions())
    monkeypatch.setattr(FeatureExtractor, "load", lambda settings: extractor)
    monkeypatch.setattr(SoundRecogniser, "load", lambda language: Ear() if language == "en" else pytest.fail(language))

    def call(*arguments: object, faces: int = 1) -> tuple[int, str, str]:
        clip = make_clip([mouth] * faces, make_voice(mouth), n_frames=N)
        monkeypatch.setattr("engine.media.clip.open_clip", lambda path, limits: clip)
        monkeypatch.setattr(sys, "argv", ["wayspeak", "phonemes", "talk.mp4", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()

    return call


def test_a_table_and_its_sum_are_printed(run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "Face 1, 0.0 to 4.0 s" in out
    assert "m (my)" in out and "oo (food)" in out and "b (by)" in out
    assert "missed" in out and "no verdict" in out


def test_a_span_leaves_the_rest_out(run) -> None:
    code, out, _ = run("--from", 2)
    assert code == 0
    assert "Face 1, 2.0 to 4.0 s" in out and "b (by)" in out and "m (my)" not in out


def test_json_is_written_and_alone_on_standard_output(run, tmp_path: Path) -> None:
    code, out, _ = run("--json", "-")
    result = json.loads(out)
    assert code == 0 and [one["sound"] for one in result["faces"][0]["sounds"]] == ["M", "UW", "B"]
    run("--json", tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text("utf-8")) == result


def test_a_place_that_cannot_be_written_is_named(run, tmp_path: Path) -> None:
    code, _, err = run("--json", tmp_path / "none" / "p.json")
    assert code == 2 and "cannot be written" in err


def test_no_face_is_said(run) -> None:
    code, out, _ = run(faces=0)
    assert code == 0 and "No face was found" in out


def test_a_beginning_after_the_end_is_refused(run) -> None:
    assert "4.0 s long" in run("--from", 9)[2]
    assert run("--from", 3, "--to", 2)[0] == 2


def test_another_language_is_refused_before_anything_is_opened(monkeypatch, capfd) -> None:
    monkeypatch.setattr(sys, "argv", ["wayspeak", "phonemes", "talk.mp4", "--language", "ar"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "'ar'" in capfd.readouterr().err


def test_silence_has_no_sounds(run, monkeypatch) -> None:
    monkeypatch.setattr(Ear, "recognise", lambda self, audio, voiced, on_step: ())
    code, out, _ = run()
    assert code == 0 and "no sound that should close or round the lips was heard" in out
