"""From a clip to whoever is seen in it: how they move, for how long they speak, what they look like."""

from collections.abc import Callable
from pathlib import Path

from engine.errors import Code
from engine.features.cache import ExtractsFeatures
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures, measure_track
from engine.pipeline import Engine
from engine.settings import Settings
from engine.style.embedder import Embedder, load_dynamics
from engine.style.records import FaceEmbedding, choose_speaker
from engine.types import FPS, DynamicEmbedding, OnStep


class ClipEmbedder:
    """Holds the networks that see, hear and embed; one clip at a time.

    The one that judges whose voice is heard is loaded when several faces first make it needed.
    """

    def __init__(self, extractor: ExtractsFeatures, embedder: Embedder, load_judge: Callable[[], Engine]):
        self.extractor, self.embedder = extractor, embedder
        self._load_judge = load_judge
        self._judge: Engine | None = None

    @classmethod
    def load(cls, settings: Settings) -> "ClipEmbedder":
        """Load what sees and embeds; WeightsMissing and WeightsDamaged say which file and what to do."""
        embedder = load_dynamics(settings)
        return cls(FeatureExtractor.load(settings, cut_faces=True), embedder, lambda: Engine.load(settings))

    @property
    def recipe(self) -> str:
        """Of the embeddings."""
        return self.embedder.recipe

    def look(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> tuple[FaceEmbedding, ...]:
        """Tell of every face that is seen for a second, in the order of time; NOBODY_SEEN where there is none."""
        return self.tell_faces(self.extractor.extract(path, on_step))

    def find_speaker(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> FaceEmbedding:
        """Tell of the one who speaks; NOBODY_SEEN, and MANY_FACES where none alone is clearly the speaker."""
        seen = self.extractor.extract(path, on_step)
        found = self.tell_faces(seen)
        return choose_speaker(found, lambda: self._take_judge().judge(seen))

    def tell_faces(self, seen: ClipFeatures) -> tuple[FaceEmbedding, ...]:
        """Tell of every face in an observation with cut faces that is seen for a second; NOBODY_SEEN for none."""
        embedded = [self.embedder.embed(seen, track) for track in seen.tracks]
        found = tuple(_describe(seen, face, own) for face, own in enumerate(embedded) if own is not None)
        if not found:
            raise Code.NOBODY_SEEN(
                f"No face is seen for a second in {seen.name}.", "Choose a clip that shows the face from the front."
            )
        return found

    def _take_judge(self) -> Engine:
        if self._judge is None:
            self._judge = self._load_judge()
        return self._judge


def _describe(seen: ClipFeatures, face: int, embedding: DynamicEmbedding) -> FaceEmbedding:
    track = seen.tracks[face]
    has_sound = bool(seen.audio.present.any())
    return FaceEmbedding(
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
