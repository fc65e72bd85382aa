"""Result files of a job: written, read, erased."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from engine.errors import Code
from engine.reports import lip_closures
from engine.reports.json import to_json, write_json
from tests.engine.reports.test_lip_closures import make_report as make_lip_report
from tests.raising import raises
from tests.webapp.jobs.samples import make_result
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.gallery_queries import to_sample
from webapp.analysis.records import JobError
from webapp.jobs import files as folders

WRITTEN = Path(__file__).parents[2] / "written"


def test_the_files_are_written_as_before(tmp_path: Path) -> None:
    folders.write_result(tmp_path, make_result())
    assert (tmp_path / "speakers.json").read_text("utf-8") == (WRITTEN / "speakers.json").read_text("utf-8")
    with safe_open(tmp_path / "embeddings.safetensors", framework="np") as file:
        assert file.metadata() == {"faces": (WRITTEN / "embeddings.json").read_text("utf-8")}
    folders.erase_speakers(tmp_path)
    written = (tmp_path / "speakers.json").read_text("utf-8")
    assert written == write_json({"error": asdict(folders.FORGOTTEN)})
    assert list(json.loads(written)["error"]) == ["code", "message", "hint"]


def test_both_answers_come_back(tmp_path: Path) -> None:
    made = make_result()
    folders.write_result(tmp_path, made)
    found = folders.read_result(tmp_path)
    assert (tmp_path / "result.json").read_text("utf-8") == write_json(to_json(made.analysis))
    assert write_json(to_json(found.analysis)) == write_json(to_json(made.analysis))
    for own, first in zip(found.analysis.tracks, made.analysis.tracks, strict=True):
        assert (own.thumbnail == first.thumbnail).all()
    assert (found.searches, found.verifications) == (made.searches, made.verifications)
    assert found.speakers_error is None and found.traces is not None and made.traces is not None
    assert (found.traces.bands == made.traces.bands).all()
    assert found.speaker_ids == made.speaker_ids == (7, 9)


def test_faces_come_back_to_the_last_bit(tmp_path: Path) -> None:
    made = make_result()
    folders.write_result(tmp_path, made)
    for own, first in zip(folders.read_result(tmp_path).faces, made.faces, strict=True):
        assert (own.embedding.vector == first.embedding.vector).all() and (own.thumbnail == first.thumbnail).all()
        assert (own.name, own.sha256, own.face, own.start_s, own.end_s) == ("drawn.mp4", "ab" * 32, *spans(first))
        assert (own.speech_s, own.face_px, own.has_sound) == (first.speech_s, first.face_px, True)
        assert own.embedding.seconds == first.embedding.seconds and own.embedding.recipe == "fake-dynamics"
        assert to_sample(own).embedding.seconds == first.speech_s


def spans(face: object) -> tuple[int, float, float]:
    return face.face, face.start_s, face.end_s  # type: ignore[attr-defined]


def test_the_json_of_the_speakers_is_that_of_the_command_line(tmp_path: Path) -> None:
    folders.write_result(tmp_path, replace(make_result(), verifications=None))
    answers = json.loads((tmp_path / "speakers.json").read_text("utf-8"))
    assert list(answers) == ["schema_version", "file", "faces"] and answers["file"]["name"] == "drawn.mp4"
    assert [face["search"]["candidates"][0]["name"] for face in answers["faces"]] == ["Ada", "Ben"]
    assert "verification" not in answers["faces"][0]
    assert folders.read_result(tmp_path).verifications is None


def test_why_there_is_no_second_answer_comes_back(tmp_path: Path) -> None:
    error = JobError("WEIGHTS_MISSING", "dynamics.safetensors was not found.", "Restore it.")
    folders.write_result(tmp_path, replace(make_result(), faces=(), searches=None, verifications=None,
                                                speakers_error=error, traces=None))  # fmt: skip
    found = folders.read_result(tmp_path)
    assert (found.speakers_error, found.faces, found.searches, found.traces) == (error, (), None, None)
    assert json.loads((tmp_path / "speakers.json").read_text("utf-8"))["error"]["code"] == "WEIGHTS_MISSING"


def test_nothing_asked_leaves_no_answer(tmp_path: Path) -> None:
    folders.write_result(tmp_path, AnalysisResult(make_result().analysis, (), None, None))
    assert not (tmp_path / "speakers.json").exists()
    found = folders.read_result(tmp_path)
    assert (found.searches, found.verifications, found.speakers_error) == (None, None, None)


@pytest.mark.parametrize("name", ["result.json", "embeddings.safetensors", "faces/0.png", "speakers.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_damaged_file_is_reported(tmp_path: Path, name: str, content: bytes) -> None:
    folders.write_result(tmp_path, make_result())
    (tmp_path / name).write_bytes(content)
    with raises(Code.REPORT_DAMAGED):
        folders.read_result(tmp_path)


def test_what_an_earlier_try_left_is_replaced_whole(tmp_path: Path) -> None:
    with folders.write_temporary(tmp_path, make_result("old.mp4")) as place:
        folders.replace_results(place, tmp_path)
    new = AnalysisResult(make_result("new.mp4").analysis, (), None, None)
    with folders.write_temporary(tmp_path, new) as place:
        folders.replace_results(place, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "result.json"]
    assert folders.read_result(tmp_path).analysis.name == "new.mp4"


def test_what_is_not_moved_in_goes(tmp_path: Path) -> None:
    with folders.write_temporary(tmp_path, make_result()) as place:
        assert place.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_people_are_erased_and_the_rest_stays(tmp_path: Path) -> None:
    made = make_result()
    folders.write_result(tmp_path, made)
    assert folders.erase_speakers(tmp_path) == 4  # answers, embeddings, two pictures
    traces = (made.faces[0].embedding.vector.tobytes(), b"Ada", made.faces[0].thumbnail.tobytes()[:64])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not any(one in path.read_bytes() for one in traces), path.name
    found = folders.read_result(tmp_path)
    assert found.speakers_error == folders.FORGOTTEN and found.faces == () and found.searches is None
    assert len(np.unique(found.analysis.tracks[0].thumbnail)) == 1
    assert folders.erase_speakers(tmp_path / "nowhere") == 0


def test_the_folder_keeps_lip_closures_as_the_command_line_writes_it(tmp_path: Path) -> None:
    made = replace(make_result(), articulations=(make_lip_report(), make_lip_report(0, 2, 0)))
    folders.write_result(tmp_path, made)
    assert (tmp_path / "phonemes.json").read_text("utf-8") == write_json(lip_closures.to_json(made.articulations or ()))
    found = folders.read_result(tmp_path)
    assert found.articulations == made.articulations and found.articulations_error is None
    folders.clear_results(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_keeps_why_lip_closures_are_absent(tmp_path: Path) -> None:
    error = JobError("RECOGNISER_MISSING", "None is there.", "Install it.")
    folders.write_result(tmp_path, replace(make_result(), articulations_error=error))
    found = folders.read_result(tmp_path)
    assert (found.articulations, found.articulations_error) == (None, error)
    assert json.loads((tmp_path / "phonemes.json").read_text("utf-8"))["error"]["code"] == "RECOGNISER_MISSING"


def test_damaged_lip_closures_are_reported(tmp_path: Path) -> None:
    folders.write_result(tmp_path, replace(make_result(), articulations=(make_lip_report(),)))
    for content in ("{", '{"faces": [{}]}'):
        (tmp_path / "phonemes.json").write_text(content, "utf-8")
        with raises(Code.REPORT_DAMAGED):
            folders.read_result(tmp_path)
