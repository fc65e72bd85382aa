"""The record of somebody who is seen in a clip. Importing it imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from engine.gates import GateOptions
from engine.types import Analysis, DynamicEmbedding, Reason
from gallery_db.records import NewSample
from webapp.errors import WebCode

MIN_SPEECH_S = 1.0  # of a clip that is enrolled
BYSTANDER = 0.1  # of the seconds of the face that is seen longest: who is seen for less does not count as another
CLEAR = GateOptions().clear_score
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """Somebody who is seen in a clip."""

    name: str  # of the file
    sha256: str
    face: int  # among all that are seen in the clip, from 0, as an analysis counts them
    start_s: float
    end_s: float
    speech_s: float  # heard while the face is seen; without any sound, all the time that it is seen
    face_px: float
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB
    embedding: DynamicEmbedding
    has_sound: bool = True  # False: nobody can tell when there was speech

    def to_sample(self, session: str = "") -> NewSample:
        """Make it ready to be enrolled: seconds with speech count; NOT_ENOUGH_SPEECH where they are too few."""
        seconds = min(self.embedding.seconds, self.speech_s)
        if seconds < MIN_SPEECH_S:
            raise WebCode.NOT_ENOUGH_SPEECH(
                f"In {self.name} speech is heard for {seconds:.1f} s while the face is seen, "
                f"wanted {MIN_SPEECH_S:g} s at least.",
                "Choose a clip in which the person is seen and heard speaking.",
            )
        return NewSample(
            source_hash=self.sha256,
            source_name=self.name,
            session=session,
            embedding=replace(self.embedding, seconds=seconds),
            face_px=self.face_px or None,
            thumbnail=_compress(self.thumbnail),
        )


def choose_speaker(faces: Sequence[Sighting], judge: Callable[[], Analysis]) -> Sighting:
    """The one who speaks, among all faces of a clip, at least one; MANY_FACES where none alone is clearly the speaker.

    Whoever is seen for a moment beside another does not count; among the rest the mouth has to fit the voice, which
    is asked of the judge only then.
    """
    longest = max(one.embedding.seconds for one in faces)
    leading = [one for one in faces if one.embedding.seconds >= BYSTANDER * longest]
    if len(leading) > 1:
        heard = find_heard(judge())
        leading = [one for one in leading if one.face in heard]
    if len(leading) != 1:
        raise WebCode.MANY_FACES(
            f"{len(faces)} faces are seen in {faces[0].name}, and none alone is clearly the speaker.",
            "Cut the clip so that one person alone is seen, in one shot.",
        )
    return leading[0]


def find_heard(analysis: Analysis) -> set[int]:
    """The faces whose mouths clearly fit the voice, each the only one of those seen with it."""
    return {
        track.id
        for track in analysis.tracks
        if track.consistency.score is not None
        and track.consistency.score >= CLEAR
        and Reason.MULTI_FACE not in track.consistency.reasons
    }


def _compress(thumbnail: np.ndarray) -> bytes:
    """Write (96, 96, 3) uint8 RGB as a JPEG of some kilobytes."""
    done, content = cv2.imencode(".jpg", thumbnail[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return content.tobytes()
