"""Speaking-style embeddings of the faces in a clip, with speech duration and thumbnail."""

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
    """Embed the faces of one clip at a time.

    The consistency engine, which finds the active speaker, is loaded for the first clip with several faces.
    """

    def __init__(self, extractor: ExtractsFeatures, embedder: Embedder, load_engine: Callable[[], Engine]):
        self.extractor, self.embedder = extractor, embedder
        self._load_engine = load_engine
        self._engine: Engine | None = None

    @classmethod
    def load(cls, settings: Settings) -> "ClipEmbedder":
        """Load the networks; WeightsMissing and WeightsDamaged name the file and the next step."""
        embedder = load_dynamics(settings)
        return cls(FeatureExtractor.load(settings, cut_faces=True), embedder, lambda: Engine.load(settings))

    @property
    def recipe(self) -> str:
        """Recipe of the embeddings."""
        return self.embedder.recipe

    def embed_clip(
        self, path: Path, on_step: OnStep = lambda name, completed, total: None
    ) -> tuple[FaceEmbedding, ...]:
        """Embed every face visible for a second, in temporal order; NOBODY_SEEN where there is none."""
        return self.embed_faces(self.extractor.extract(path, on_step))

    def find_speaker(self, path: Path, on_step: OnStep = lambda name, completed, total: None) -> FaceEmbedding:
        """Embed the active speaker; NOBODY_SEEN without a face, MANY_FACES without a single clear speaker."""
        features = self.extractor.extract(path, on_step)
        return choose_speaker(self.embed_faces(features), lambda: self._get_engine().judge(features))

    def embed_faces(self, features: ClipFeatures) -> tuple[FaceEmbedding, ...]:
        """Embed every face visible for a second, from features with face crops; NOBODY_SEEN where there is none."""
        embedded = [self.embedder.embed(features, track) for track in features.tracks]
        found = tuple(_describe(features, face, own) for face, own in enumerate(embedded) if own is not None)
        if not found:
            raise Code.NOBODY_SEEN(
                f"No face is seen for a second in {features.name}.", "Choose a clip that shows the face from the front."
            )
        return found

    def _get_engine(self) -> Engine:
        if self._engine is None:
            self._engine = self._load_engine()
        return self._engine


def _describe(features: ClipFeatures, face: int, embedding: DynamicEmbedding) -> FaceEmbedding:
    track = features.tracks[face]
    has_sound = bool(features.audio.present.any())
    return FaceEmbedding(
        name=features.name,
        sha256=features.sha256,
        face=face,
        start_s=features.media.from_s + track.start / FPS,
        end_s=features.media.from_s + track.end / FPS,
        speech_s=measure_track(features, track).speech_s if has_sound else embedding.seconds,
        face_px=track.face_px,
        thumbnail=track.thumbnail,
        embedding=embedding,
        has_sound=has_sound,
    )
