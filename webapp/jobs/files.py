"""A job's private folder: the file under a name of ours, and what an examination left. Importing it imports no torch.

input.bin               the file, as it was handed in or fetched
origin.json             where a fetched file is from
result.json             byte for byte what `wayspeak analyse --json` writes, timings apart
speakers.json           what `wayspeak identify --json` or `verify --json` writes, where that was asked
faces/0.png             a picture of each face of the analysis, by its number
embeddings.safetensors  the faces that were embedded
traces.safetensors      sound and mouths for the eye
phonemes.json           what `wayspeak phonemes --json` writes, where that was asked
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
from engine.reports import lip_closures
from engine.reports.json import from_json, to_json, write_json
from engine.style.records import FaceEmbedding
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.gallery_queries import read_answers, write_answers
from webapp.analysis.records import JobError
from webapp.analysis.signals import Traces

INPUT, ORIGIN = "input.bin", "origin.json"
RESULT, SPEAKERS, FACES, EMBEDDINGS = "result.json", "speakers.json", "faces", "embeddings.safetensors"
TRACES, PHONEMES = "traces.safetensors", "phonemes.json"
RESULTS = (SPEAKERS, FACES, EMBEDDINGS, TRACES, PHONEMES, RESULT)  # the last one in is the one that is always there
OF_PEOPLE = (SPEAKERS, FACES, EMBEDDINGS)
NEW = ".new-"  # begins the name of a folder that is being written
FORGOTTEN = JobError(
    "FORGOTTEN", "Somebody who was found here, or of whom this clip was, has been forgotten.", "Ask again, if need be."
)
SIGHTINGS = TypeAdapter(tuple[FaceEmbedding, ...], config=ConfigDict(arbitrary_types_allowed=True))
ELSEWHERE: dict[str, bool | dict[str, bool]] = {
    "name": True,
    "sha256": True,
    "thumbnail": True,
    "embedding": {"vector": True},
}
"""Fields of a sighting that are arrays of their own, or stand in the report."""
ERROR = TypeAdapter(JobError)


@contextmanager
def write_aside(folder: Path, examination: AnalysisResult) -> Iterator[Path]:
    """Write all files of an examination beside where they belong; what is not moved on goes again."""
    place = Path(tempfile.mkdtemp(prefix=NEW, dir=folder))
    try:
        write_examination(place, examination)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def move_in(place: Path, folder: Path) -> None:
    """Put what was written aside in the place of what an earlier try left."""
    clear_results(folder)
    for name in RESULTS:
        if (place / name).exists():
            (place / name).rename(folder / name)


def clear_results(folder: Path) -> None:
    """Remove what an examination left; the file stays."""
    for name in RESULTS:
        _remove(folder / name)


def write_examination(folder: Path, found: AnalysisResult) -> None:
    """Write all files of an examination into an empty folder."""
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
        _write_sightings(folder / EMBEDDINGS, found.faces)
    if found.traces is not None:
        found.traces.write(folder / TRACES)
    if found.articulations_error is not None:
        (folder / PHONEMES).write_text(_write_error(found.articulations_error), "utf-8")
    elif found.articulations is not None:
        (folder / PHONEMES).write_text(write_json(lip_closures.to_json(found.articulations)), "utf-8")


def read_examination(folder: Path) -> AnalysisResult:
    """Read it back; REPORT_DAMAGED where files are missing or damaged. What was forgotten is absent, and says so."""
    try:
        report = json.loads((folder / RESULT).read_text("utf-8"))
        pictures = {int(path.stem): _read_picture(path) for path in (folder / FACES).glob("*.png")}
        analysis = from_json(report, pictures)
        faces = _read_sightings(folder / EMBEDDINGS, analysis.name, analysis.sha256)
        told, lips = _read_json(folder / SPEAKERS), _read_json(folder / PHONEMES)
        error, lack = _read_error(told), _read_error(lips)
    except (OSError, ValueError, TypeError, LookupError, SafetensorError, cv2.error) as cause:
        raise Code.REPORT_DAMAGED("The result of this job is not whole.", "Ask for it again.") from cause
    searches, verifications = read_answers(told) if told and error is None else (None, None)
    try:
        traces = Traces.read(folder / TRACES)
    except EngineError:
        traces = None
    articulations = lip_closures.from_json(lips) if lips and lack is None else None
    return AnalysisResult(analysis, faces, searches, verifications, error, traces, articulations, lack)


def erase_people(folder: Path) -> int:
    """Remove what was told of people, who they may be and how they look and move; gives how many files that were."""
    files = [path for name in OF_PEOPLE for path in _list_files(folder / name)]
    for name in OF_PEOPLE:
        _remove(folder / name)
    if files and (folder / RESULT).exists():
        (folder / SPEAKERS).write_text(_write_error(FORGOTTEN), "utf-8")
    return len(files)


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _read_error(told: dict[str, Any] | None) -> JobError | None:
    return ERROR.validate_python(told["error"], extra="forbid") if told and "error" in told else None


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
    """(96, 96, 3) uint8 RGB; ValueError where it is no picture."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path.name} is no picture")
    return np.ascontiguousarray(picture[..., ::-1])


def _write_sightings(path: Path, faces: tuple[FaceEmbedding, ...]) -> None:
    written = SIGHTINGS.dump_python(faces, exclude={"__all__": ELSEWHERE})
    told = [one | one.pop("embedding") for one in written]  # flat
    arrays = {
        "vectors": np.stack([face.embedding.vector for face in faces]),  # (n, D) float32
        "thumbnails": np.stack([face.thumbnail for face in faces]),  # (n, 96, 96, 3) uint8
    }
    save_file(arrays, path, {"faces": json.dumps(told)})


def _read_sightings(path: Path, name: str, sha256: str) -> tuple[FaceEmbedding, ...]:
    if not path.exists():
        return ()
    with safe_open(path, framework="np") as file:
        told = json.loads((file.metadata() or {})["faces"])
        vectors, thumbnails = file.get_tensor("vectors"), file.get_tensor("thumbnails")
    source = {"name": name, "sha256": sha256}
    return SIGHTINGS.validate_python(
        [
            face | source | {"thumbnail": thumbnails[row], "embedding": face | {"vector": vectors[row].copy()}}
            for row, face in enumerate(told)
        ]
    )
