"""The record of somebody who is seen in a clip. Importing it imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.consistency.gates import GateOptions
from engine.errors import Code
from engine.types import Analysis, DynamicEmbedding, Reason

BYSTANDER = 0.1  # of the seconds of the face that is seen longest: who is seen for less does not count as another
CLEAR = GateOptions().clear_score


@dataclass(frozen=True, slots=True, eq=False)
class FaceEmbedding:
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


def choose_speaker(faces: Sequence[FaceEmbedding], judge: Callable[[], Analysis]) -> FaceEmbedding:
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
        raise Code.MANY_FACES(
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
