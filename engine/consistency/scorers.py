"""Score a face against an audio track with a loaded model, and compare the findings of two models.

Scores of different models are not on one scale, so two models are compared by their own similarity curves: whether one
offset stands out (`offsets.measure_prominence`), and which one. Scores are never averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from engine.consistency.methods import TITLES
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import Consistency, ConsistencyOptions, find_offset, measure_consistency, measure_pooled
from engine.consistency.speechforensics import (
    count_audio_frames,
    find_speechforensics_offset,
    measure_speechforensics,
    normalise_rows,
    select_first_face,
)
from engine.devices import pick_device
from engine.features.crop_plan import MAX_FRAMES
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.settings import Settings
from engine.types import FPS, Encoded, Evidence, Mode, Model
from engine.weights import registry

Rows = tuple[np.ndarray, np.ndarray]
"""Feature frames of a face and of the audio at the same time: (T, ...) and (T, S)."""


class FeatureEncoder(Protocol):
    """A network that embeds feature frames of a face and of audio in one space."""

    def encode(self, face: np.ndarray, audio: np.ndarray, evidence: Evidence | None = None, /) -> Encoded:
        """Embed both sides of a track frame by frame, with memory that does not grow as the square of its length.

        Frames without evidence change no mean over the track; None: every frame is evidence.
        """
        ...

    def embed_whole(self, face: np.ndarray, audio: np.ndarray, /) -> Rows:
        """Embed each side alone in one pass: (T, D) and (T', D) of any lengths."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyScorer:
    """A loaded model in one mode; `recipe` names its weights, the mode and the options."""

    model: Model
    encoder: FeatureEncoder
    recipe: str
    mode: Mode = Mode.STRICT
    options: ConsistencyOptions = field(default_factory=ConsistencyOptions)

    def choose_faces(self, features: ClipFeatures) -> tuple[FaceFeatures, ...]:
        """Return every face; in paper mode the one that SpeechForensics scores, if any."""
        if self.mode == Mode.STRICT:
            return features.tracks
        first = select_first_face(features)
        return (first,) if first else ()

    def select_inputs(self, face: FaceFeatures, audio: AudioFeatures) -> Rows:
        """Return the model's inputs for a face: mouth crops and filterbank, or lip landmarks and log-mel.

        ValueError where the model reads mouth crops and the extractor made none.
        """
        if not SPECS[self.model].needs_mouths:
            return face.lips, audio.rows[face.start : face.end]
        if face.mouths is None or audio.filterbank is None:
            raise ValueError("these features have no mouth crops: extract them with `cut_mouths`")
        return face.mouths, audio.filterbank[face.start : face.end]

    def find_evidence(self, features: ClipFeatures, face: FaceFeatures) -> Evidence:
        """Return the frames that count on each side; in paper mode all of the face and those with audio."""
        span = slice(face.start, face.end)
        if self.mode == Mode.PAPER:
            return Evidence(np.ones(len(face.seen), bool), features.audio.present[span])
        return Evidence(face.clear, features.audio.heard[span])

    def measure(self, features: ClipFeatures, face: FaceFeatures) -> Consistency | None:
        """Score one face against the audio of its time, without gates; None where too few frames can be paired."""
        rows, evidence = self.select_inputs(face, features.audio), self.find_evidence(features, face)
        if self.mode == Mode.STRICT:
            encoded = self.encoder.encode(*rows, evidence)
            return measure_consistency(replace(encoded, start=face.start), evidence, self.options)
        length = count_audio_frames(evidence.speech)
        if not length:
            return None
        video, audio = rows
        return measure_speechforensics(*self.encoder.embed_whole(video[:MAX_FRAMES], audio[:MAX_FRAMES][:length]))

    def measure_pooled(self, features: ClipFeatures, faces: Sequence[FaceFeatures]) -> Consistency | None:
        """Score several tracks of one face together, in strict mode; None where too few frames can be paired."""
        evidence = [self.find_evidence(features, face) for face in faces]
        encoded = [
            self.encoder.encode(*self.select_inputs(face, features.audio), own)
            for face, own in zip(faces, evidence, strict=True)
        ]
        return measure_pooled(list(zip(encoded, evidence, strict=True)), self.options)

    def encode(self, face: np.ndarray, audio: np.ndarray, evidence: Evidence | None = None) -> Encoded:
        """Embed the inputs of `select_inputs`, of equal length, for `compare`."""
        if self.mode == Mode.STRICT:
            return self.encoder.encode(face, audio, evidence)
        lips, speech = self.encoder.embed_whole(face[:MAX_FRAMES], audio[:MAX_FRAMES])
        ones = np.ones(len(lips), np.float32)
        return Encoded(0, normalise_rows(lips), normalise_rows(speech), ones, ones)

    def compare(self, encoded: Encoded, evidence: Evidence) -> tuple[float, int] | None:
        """Return the score and the offset in frames of `measure`, from embeddings."""
        if self.mode == Mode.STRICT:
            return find_offset(encoded, evidence, self.options)
        length = count_audio_frames(evidence.speech)
        return find_speechforensics_offset(encoded.lips, encoded.speech[:length]) if length else None


def locate_model(model: Model, data_dir: Path) -> Path:
    """Return the verified weights; WeightsMissing, WeightsDamaged or LicenceNotAccepted name the next step."""
    return registry.locate_accepted(SPECS[model].weight, data_dir)


def load_encoder(model: Model, path: Path, settings: Settings) -> FeatureEncoder:
    """Load the network onto its device."""
    return SPECS[model].load(path, pick_device(settings.device))


@dataclass(frozen=True, slots=True)
class OpinionOptions:
    """Bounds of the comparison; they enter the recipe.

    Measured with compact models on 49 real clips of corpora outside the training set, 4 to 20 s long, each face with
    its own voice and with five other voices: prominence discriminates the two with an AUC of 0.994 (4 s segments:
    0.942). Two networks of different seeds contradicted each other in none of 1692 trials, 4 s segments included; with
    the own voice for one and another voice for the other, in 70 of 100 (4 s: 42). AV-HuBERT was not measured;
    prominence is a z-score, so no scale of its own has to be fitted.
    """

    recipe_name: ClassVar = "OpinionOptions"

    clear: float = 4.0  # one offset stands out: 9 in 10 own voices (4 s: half of them), 1 in 250 other voices
    unclear: float = 2.5  # no offset stands out: 8 in 10 other voices, 1 in 50 own voices (4 s: 1 in 8)
    max_apart_frames: int = 3  # between two clear offsets that count as equal: 120 ms


@dataclass(frozen=True, slots=True)
class ModelAgreement:
    """Result of comparing the findings of two models."""

    agrees: bool  # False only for a contradiction; two flat curves agree
    text: str


def compare_models(
    first: Consistency, second: Consistency, models: tuple[Model, Model], options: OpinionOptions
) -> ModelAgreement:
    """Find out whether two measurements contradict each other.

    They do when both have a clear peak at different offsets, or when one has a clear peak and the other clearly has
    none; curves between the two bounds contradict nothing, so that noise makes no contradiction.
    """
    one, other = (TITLES[model] for model in models)
    if min(first.prominence, second.prominence) >= options.clear:
        apart = abs(first.offset_s - second.offset_s)
        if apart * FPS > options.max_apart_frames + 0.5:
            return ModelAgreement(False, f"Both find the sound to fit at one offset clearly, but {apart:.2f} s apart.")
        return ModelAgreement(True, "Both find the sound to fit clearly, at about the same offset.")
    for clear_name, clear, flat_name, flat in ((one, first, other, second), (other, second, one, first)):
        if clear.prominence >= options.clear and flat.prominence < options.unclear:
            return ModelAgreement(
                False, f"For {clear_name} the sound fits clearly at one offset; for {flat_name} it fits at none."
            )
    if max(first.prominence, second.prominence) < options.unclear:
        return ModelAgreement(True, "For neither does the sound fit clearly at any offset.")
    return ModelAgreement(True, "At least one of them sees no clear picture; they do not contradict each other.")
