"""Speaker searches and verifications for the faces of a clip, and their JSON; imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from pydantic import TypeAdapter

from engine.calibration.apply import find_calibration
from engine.calibration.records import Calibration, Task
from engine.errors import Code, EngineError
from engine.json_fields import explain
from engine.reports.json import write_json
from engine.settings import Settings
from engine.style.records import FaceEmbedding
from engine.types import OnStep
from gallery_db.database import FILE, FOLDER
from gallery_db.records import NewSample, Search, Verification
from gallery_db.text import to_json
from webapp.analysis.records import AnalysisRequest
from webapp.errors import WebCode

MIN_SPEECH_S = 1.0  # of an enrolled clip
JPEG_QUALITY = 90

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery

N_CANDIDATES = 5
SCHEMA_VERSION = 1  # of the JSON
GalleryAnswers = tuple[tuple[Search, ...] | None, tuple[Verification, ...] | None]
"""One search and one verification per face, in their order; None for what was not requested."""
Records = TypeVar("Records")
SEARCHES, VERIFICATIONS = TypeAdapter(tuple[Search, ...]), TypeAdapter(tuple[Verification, ...])


def query_gallery(
    gallery: "Gallery",
    faces: Sequence[FaceEmbedding],
    question: AnalysisRequest,
    on_step: OnStep = lambda name, completed, total: None,
) -> GalleryAnswers:
    """Search the gallery for each face, and verify each against one speaker, as requested; may raise EngineError."""
    speaker = None if question.speaker is None else gallery.speaker(question.speaker)
    kept, searches, verifications = gallery.calibrations(), [], []
    for number, face in enumerate(faces):
        on_step("search", number, len(faces))
        recipe = face.embedding.recipe
        if question.reason is not None:
            known = find_calibration(Task.IDENTIFICATION, recipe, kept)
            found = gallery.search(face.embedding, N_CANDIDATES, reason=question.reason, calibration=known)
            searches.append(found)
        if speaker is not None:
            known = find_calibration(Task.VERIFICATION, recipe, kept)
            verifications.append(gallery.verify(speaker.id, face.embedding, calibration=known))
    on_step("search", len(faces), len(faces))
    return (
        None if question.reason is None else tuple(searches),
        None if speaker is None else tuple(verifications),
    )


class GalleryClient:
    """Open the gallery on first use and keep it open; reopen it after an error."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._gallery: Gallery | None = None

    def query(
        self,
        faces: Sequence[FaceEmbedding],
        question: AnalysisRequest,
        on_step: OnStep = lambda name, completed, total: None,
    ) -> GalleryAnswers:
        """Run the requested searches and verifications of the faces; raise EngineError on failure."""
        if not question.is_about_speakers:
            return None, None
        try:
            return query_gallery(self._open(), faces, question, on_step)
        except EngineError:
            self.close()
            raise

    def read_calibrations(self) -> list[Calibration]:
        """Return the calibration records of the gallery; none without a gallery, which is not created."""
        settings = self._settings
        if settings.database is None and not (settings.data_dir / FOLDER / FILE).exists():
            return []
        try:
            return self._open().calibrations()
        except EngineError:
            self.close()
            raise

    def close(self) -> None:
        """Close the gallery; the next query opens it again."""
        if self._gallery is not None:
            self._gallery.close()
        self._gallery = None

    def _open(self) -> "Gallery":
        from gallery_db.gallery import Gallery

        if self._gallery is None:
            self._gallery = Gallery.open(self._settings)
        return self._gallery


def write_answers(
    faces: Sequence[FaceEmbedding],
    searches: Sequence[Search] | None = None,
    verifications: Sequence[Verification] | None = None,
) -> str:
    """Return the results of one clip's faces (at least one) as `identify --json` and `verify --json` print them."""
    items = []
    for number, face in enumerate(faces):
        own = {} if searches is None else {"search": to_json(searches[number])}
        own |= {} if verifications is None else {"verification": to_json(verifications[number])}
        items.append(_describe_face(face) | own)
    file = {"name": faces[0].name, "sha256": faces[0].sha256}
    return write_json({"schema_version": SCHEMA_VERSION, "file": file, "faces": items})


def read_answers(report: Mapping[str, Any]) -> GalleryAnswers:
    """Read the JSON of `write_answers`, numbers rounded as there; raise REPORT_DAMAGED if it is damaged."""
    try:
        faces = report["faces"]
        return _read_all(faces, "search", SEARCHES), _read_all(faces, "verification", VERIFICATIONS)
    except (KeyError, TypeError, ValueError) as cause:
        raise Code.REPORT_DAMAGED(f"The speaker result is damaged: {explain(cause)}.", "Ask again.") from cause


def _describe_face(face: FaceEmbedding) -> dict[str, Any]:
    return {
        "face": face.face,
        "start_s": round(face.start_s, 3),
        "end_s": round(face.end_s, 3),
        "speech_s": round(face.speech_s, 3),
        "has_sound": face.has_sound,
        "seconds": round(face.embedding.seconds, 3),
        "is_natural": face.embedding.is_natural,
    }


def _read_all(faces: Sequence[Mapping[str, Any]], name: str, records: TypeAdapter[Records]) -> Records | None:
    if not faces or name not in faces[0]:
        return None
    return records.validate_python([face[name] for face in faces], extra="forbid")


def to_sample(face: "FaceEmbedding", session: str = "") -> NewSample:
    """Prepare a face for enrolment, counting seconds with speech; raise NOT_ENOUGH_SPEECH below the minimum."""
    seconds = min(face.embedding.seconds, face.speech_s)
    if seconds < MIN_SPEECH_S:
        raise WebCode.NOT_ENOUGH_SPEECH(
            f"{face.name} has {seconds:.1f} s of speech while the face is visible, wanted {MIN_SPEECH_S:g} s at least.",
            "Choose a clip in which the person is visible while speaking.",
        )
    return NewSample(
        source_hash=face.sha256,
        source_name=face.name,
        session=session,
        embedding=replace(face.embedding, seconds=seconds),
        face_px=face.face_px or None,
        thumbnail=_compress(face.thumbnail),
    )


def _compress(thumbnail: np.ndarray) -> bytes:
    """Encode (96, 96, 3) uint8 RGB as JPEG of a few kilobytes."""
    done, content = cv2.imencode(".jpg", thumbnail[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return content.tobytes()
