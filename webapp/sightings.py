"""From a clip to whoever is seen in it: how they move, for how long they speak, what they look like."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engine.cache import Observes
from engine.dynamics import load_dynamics
from engine.errors import EngineError
from engine.evaluation.embeddings import Embedder
from engine.gates import GateOptions
from engine.observation import Observation, measure_track
from engine.observer import Observer
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import FPS, Analysis, DynamicEmbedding, OnStep, Reason
from gallery_db.records import NewSample

MIN_SPEECH_S = 1.0  # of a clip that is enrolled
BYSTANDER = 0.1  # of the seconds of the face that is seen longest: who is seen for less does not count as another
CLEAR = GateOptions().clear_score
JPEG_QUALITY = 90


class NobodySeen(EngineError):
    """No face is seen for a second."""

    code = "NOBODY_SEEN"


class ManyFaces(EngineError):
    """Several faces, and none alone is clearly the speaker."""

    code = "MANY_FACES"


class NotEnoughSpeech(EngineError):
    """Too little is said while the face is seen."""

    code = "NOT_ENOUGH_SPEECH"


class Judges(Protocol):
    """What is needed of an `Engine`."""

    def judge(self, seen: Observation) -> Analysis:
        """Tell for every face whether it belongs to the speech that is heard."""
        ...


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
        """Make it ready to be enrolled: of its seconds those with speech count; NotEnoughSpeech where they are few."""
        seconds = min(self.embedding.seconds, self.speech_s)
        if seconds < MIN_SPEECH_S:
            raise NotEnoughSpeech(
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


class Watcher:
    """Holds the networks that see, hear and embed; one clip at a time.

    The one that judges whose voice is heard is loaded when several faces first make it needed.
    """

    def __init__(self, observer: Observes, embedder: Embedder, load_judge: Callable[[], Judges]):
        self.observer, self.embedder = observer, embedder
        self._load_judge = load_judge
        self._judge: Judges | None = None

    @classmethod
    def load(cls, settings: Settings) -> "Watcher":
        """Load what sees and embeds; WeightsMissing and WeightsDamaged say which file and what to do."""
        embedder = load_dynamics(settings)
        return cls(Observer.load(settings, cut_faces=True), embedder, lambda: Engine.load(settings))

    @property
    def recipe(self) -> str:
        """Of the embeddings."""
        return self.embedder.recipe

    def look(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> tuple[Sighting, ...]:
        """Tell of every face that is seen for a second, in the order of time; NobodySeen where there is none."""
        return self._embed_all(self.observer.observe(path, on_step))

    def find_speaker(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> Sighting:
        """Tell of the one who speaks; NobodySeen, and ManyFaces where none alone is clearly the speaker."""
        seen = self.observer.observe(path, on_step)
        found = self._embed_all(seen)
        longest = max(one.embedding.seconds for one in found)
        leading = [one for one in found if one.embedding.seconds >= BYSTANDER * longest]
        if len(leading) > 1:
            heard = self._find_heard(seen)
            leading = [one for one in leading if one.face in heard]
        if len(leading) != 1:
            raise ManyFaces(
                f"{len(found)} faces are seen in {seen.name}, and none alone is clearly the speaker.",
                "Cut the clip so that one person alone is seen, in one shot.",
            )
        return leading[0]

    def _embed_all(self, seen: Observation) -> tuple[Sighting, ...]:
        embedded = [self.embedder.embed(seen, track) for track in seen.tracks]
        found = tuple(_describe(seen, face, own) for face, own in enumerate(embedded) if own is not None)
        if not found:
            raise NobodySeen(
                f"No face is seen for a second in {seen.name}.", "Choose a clip that shows the face from the front."
            )
        return found

    def _find_heard(self, seen: Observation) -> set[int]:
        """The faces whose mouths clearly fit the voice, each the only one of those seen with it."""
        if self._judge is None:
            self._judge = self._load_judge()
        reports = [track.consistency for track in self._judge.judge(seen).tracks]
        return {
            face
            for face, report in enumerate(reports)
            if report.score is not None and report.score >= CLEAR and Reason.MULTI_FACE not in report.reasons
        }


def _describe(seen: Observation, face: int, embedding: DynamicEmbedding) -> Sighting:
    track = seen.tracks[face]
    has_sound = bool(seen.heard.present.any())
    return Sighting(
        name=seen.name,
        sha256=seen.sha256,
        face=face,
        start_s=track.start / FPS,
        end_s=track.end / FPS,
        speech_s=measure_track(seen, track).speech_s if has_sound else embedding.seconds,
        face_px=track.face_px,
        thumbnail=track.thumbnail,
        embedding=embedding,
        has_sound=has_sound,
    )


def _compress(thumbnail: np.ndarray) -> bytes:
    """Write (96, 96, 3) uint8 RGB as a JPEG of some kilobytes."""
    done, content = cv2.imencode(".jpg", thumbnail[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return content.tobytes()
