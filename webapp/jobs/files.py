"""Files of a job folder: the input and the results of an analysis; imports no torch.

input.bin               the uploaded or fetched file
origin.json             source of a fetched file
items.json              the videos of a link with several, until one is chosen
result.json             output of `wayspeak analyse --json`, byte for byte except timings
speakers.json           output of `wayspeak identify --json` or `verify --json`, if requested
faces/0.png             a picture of each track of the analysis, by its number
embeddings.safetensors  the embedded faces
traces.safetensors      audio and mouth signals for display
phonemes.json           output of `wayspeak phonemes --json`, if requested
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import ConfigDict, TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.errors import Code, EngineError
from engine.fetch.items import MediaItem
from engine.reports import lip_closures
from engine.reports.json import from_json, to_json, write_json
from engine.style.records import FaceEmbedding
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.gallery_queries import read_answers, write_answers
from webapp.analysis.records import JobError
from webapp.analysis.signals import Traces

INPUT, ORIGIN, ITEMS = "input.bin", "origin.json", "items.json"
RESULT, SPEAKERS, FACES, EMBEDDINGS = "result.json", "speakers.json", "faces", "embeddings.safetensors"
TRACES, PHONEMES = "traces.safetensors", "phonemes.json"
RESULTS = (SPEAKERS, FACES, EMBEDDINGS, TRACES, PHONEMES, RESULT)  # the last one marks a complete result
SPEAKER_FILES = (SPEAKERS, FACES, EMBEDDINGS)
NEW = ".new-"  # prefix of the name of a temporary folder
FORGOTTEN = JobError(
    "FORGOTTEN", "A speaker found here, or the one in this clip, has been erased.", "Analyse again, if needed."
)
FACE_EMBEDDINGS = TypeAdapter(tuple[FaceEmbedding, ...], config=ConfigDict(arbitrary_types_allowed=True))
NOT_IN_JSON: dict[str, bool | dict[str, bool]] = {
    "name": True,
    "sha256": True,
    "thumbnail": True,
    "embedding": {"vector": True},
}
"""Fields of a face embedding that are separate arrays, or part of the report."""
ERROR = TypeAdapter(JobError)
MEDIA_ITEMS = TypeAdapter(tuple[MediaItem, ...])


@contextmanager
def write_temporary(folder: Path, result: AnalysisResult) -> Iterator[Path]:
    """Write all result files into a temporary folder; files left in it are deleted at the end."""
    place = Path(tempfile.mkdtemp(prefix=NEW, dir=folder))
    try:
        write_result(place, result)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def replace_results(place: Path, folder: Path) -> None:
    """Replace the results of an earlier attempt with the temporary ones."""
    clear_results(folder)
    for name in RESULTS:
        if (place / name).exists():
            (place / name).rename(folder / name)


def clear_results(folder: Path) -> None:
    """Remove the results; the input file stays."""
    for name in RESULTS:
        _remove(folder / name)


def write_result(folder: Path, found: AnalysisResult) -> None:
    """Write all result files into an empty folder."""
    (folder / RESULT).write_text(write_json(to_json(found.analysis)), "utf-8")
    error = found.speakers_error
    if error is not None:
        (folder / SPEAKERS).write_text(_write_error(error), "utf-8")
    elif found.faces and (found.searches is not None or found.verifications is not None):
        (folder / SPEAKERS).write_text(write_answers(found.faces, found.searches, found.verifications), "utf-8")
    (folder / FACES).mkdir()
    for track in found.analysis.tracks:
        _write_picture(folder / FACES / f"{track.id}.png", track.thumbnail)
    if found.faces:
        _write_embeddings(folder / EMBEDDINGS, found.faces)
    if found.traces is not None:
        found.traces.write(folder / TRACES)
    if found.articulations_error is not None:
        (folder / PHONEMES).write_text(_write_error(found.articulations_error), "utf-8")
    elif found.articulations is not None:
        (folder / PHONEMES).write_text(write_json(lip_closures.to_json(found.articulations)), "utf-8")


def read_result(folder: Path) -> AnalysisResult:
    """Read the results; raise REPORT_DAMAGED for missing or damaged files. Erased results have an error instead."""
    try:
        report = json.loads((folder / RESULT).read_text("utf-8"))
        pictures = {int(path.stem): _read_picture(path) for path in (folder / FACES).glob("*.png")}
        analysis = from_json(report, pictures)
        faces = _read_embeddings(folder / EMBEDDINGS, analysis.name, analysis.sha256)
        answers, lips = _read_json(folder / SPEAKERS), _read_json(folder / PHONEMES)
        error, lips_error = _read_error(answers), _read_error(lips)
    except (OSError, ValueError, TypeError, LookupError, SafetensorError, cv2.error) as cause:
        raise Code.REPORT_DAMAGED("The result of this job is incomplete or damaged.", "Run the job again.") from cause
    searches, verifications = read_answers(answers) if answers and error is None else (None, None)
    try:
        traces = Traces.read(folder / TRACES)
    except EngineError:
        traces = None
    articulations = lip_closures.from_json(lips) if lips and lips_error is None else None
    return AnalysisResult(analysis, faces, searches, verifications, error, traces, articulations, lips_error)


def erase_speakers(folder: Path) -> int:
    """Remove speaker results, face images and embeddings, and return the number of files."""
    files = [path for name in SPEAKER_FILES for path in _list_files(folder / name)]
    for name in SPEAKER_FILES:
        _remove(folder / name)
    if files and (folder / RESULT).exists():
        (folder / SPEAKERS).write_text(_write_error(FORGOTTEN), "utf-8")
    return len(files)


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _read_error(report: dict[str, Any] | None) -> JobError | None:
    return ERROR.validate_python(report["error"], extra="forbid") if report and "error" in report else None


def _write_error(error: JobError) -> str:
    return write_json({"error": asdict(error)})


def _list_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_picture(path: Path, picture: np.ndarray) -> None:
    done, content = cv2.imencode(".png", picture[..., ::-1])
    assert done
    path.write_bytes(content.tobytes())


def _read_picture(path: Path) -> np.ndarray:
    """Read (96, 96, 3) uint8 RGB; raise ValueError if it is not an image."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path.name} is not an image")
    return np.ascontiguousarray(picture[..., ::-1])


def _write_embeddings(path: Path, faces: tuple[FaceEmbedding, ...]) -> None:
    written = FACE_EMBEDDINGS.dump_python(faces, exclude={"__all__": NOT_IN_JSON})
    fields = [one | one.pop("embedding") for one in written]  # flat
    arrays = {
        "vectors": np.stack([face.embedding.vector for face in faces]),  # (n, D) float32
        "thumbnails": np.stack([face.thumbnail for face in faces]),  # (n, 96, 96, 3) uint8
    }
    save_file(arrays, path, {"faces": json.dumps(fields)})


def _read_embeddings(path: Path, name: str, sha256: str) -> tuple[FaceEmbedding, ...]:
    if not path.exists():
        return ()
    with safe_open(path, framework="np") as file:
        fields = json.loads((file.metadata() or {})["faces"])
        vectors, thumbnails = file.get_tensor("vectors"), file.get_tensor("thumbnails")
    source = {"name": name, "sha256": sha256}
    return FACE_EMBEDDINGS.validate_python(
        [
            face | source | {"thumbnail": thumbnails[row], "embedding": face | {"vector": vectors[row].copy()}}
            for row, face in enumerate(fields)
        ]
    )
