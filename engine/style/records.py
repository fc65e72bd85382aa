"""Embedded face of a clip, and the choice of the active speaker, without importing torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.consistency.gates import GateOptions
from engine.errors import Code
from engine.types import Analysis, DynamicEmbedding, Reason

BYSTANDER = 0.1  # share of the longest face; shorter faces are bystanders
CLEAR = GateOptions().clear_score


@dataclass(frozen=True, slots=True, eq=False)
class FaceEmbedding:
    """Embedding of one face of a clip, with its times and speech."""

    name: str  # of the file
    sha256: str
    face: int  # index from 0 among all faces of the clip, as in an analysis
    start_s: float
    end_s: float
    speech_s: float  # while the face is visible; without audio, its whole visible time
    face_px: float
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB
    embedding: DynamicEmbedding
    has_sound: bool = True  # False: the time of speech is unknown


def choose_speaker(faces: Sequence[FaceEmbedding], judge: Callable[[], Analysis]) -> FaceEmbedding:
    """Return the active speaker among the faces of a clip, at least one; MANY_FACES without a single clear speaker.

    Bystanders are ignored; among several others the consistency analysis, computed by `judge` only then, decides.
    """
    longest = max(one.embedding.seconds for one in faces)
    leading = [one for one in faces if one.embedding.seconds >= BYSTANDER * longest]
    if len(leading) > 1:
        speaking = find_speaking(judge())
        leading = [one for one in leading if one.face in speaking]
    if len(leading) != 1:
        raise Code.MANY_FACES(
            f"{len(faces)} faces are seen in {faces[0].name}, and none alone is clearly the speaker.",
            "Cut the clip so that one person alone is seen, in one shot.",
        )
    return leading[0]


def find_speaking(analysis: Analysis) -> set[int]:
    """Return the faces clearly consistent with the voice, each the only one of those visible with it."""
    return {
        track.id
        for track in analysis.tracks
        if track.consistency.score is not None
        and track.consistency.score >= CLEAR
        and Reason.MULTI_FACE not in track.consistency.reasons
    }
