"""Who compares a face with a voice: a model, the rows it reads, and the mode in which its features become a score.

Two models on the same face and voice: where they contradict each other, a person should look closer.

Their scores lie on scales of their own and nothing makes them comparable, so each is read by its own curve alone:
whether one offset stands out (`consistency.measure_clarity`), and which. The scores are never averaged.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch

from engine.consistency.methods import TITLES
from engine.consistency.model_specs import SPECS
from engine.consistency.offsets import Consistency, ConsistencyOptions, find_offset, measure_consistency
from engine.consistency.speechforensics import (
    count_sound,
    find_paper_offset,
    follow_first_face,
    measure_as_paper,
    to_unit,
)
from engine.faces.landmark_features import N_FEATURES
from engine.features.crop_plan import MAX_FRAMES
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.avhubert import AVHubert
from engine.models.compact import N_SPEECH, CompactConsistency
from engine.settings import Settings
from engine.types import FPS, Encoded, Mode, Model
from engine.weights import registry

Rows = tuple[np.ndarray, np.ndarray]
"""What a model reads of a face and of the sound of its time: (T, ...) and (T, S)."""


class FeatureEncoder(Protocol):
    """A network together with the choice of what it reads."""

    def read(self, track: FaceFeatures, heard: AudioFeatures) -> Rows:
        """Take the rows of a face and of the sound of its time; ValueError where they were never cut."""
        ...

    def encode(self, face: np.ndarray, sound: np.ndarray) -> Encoded:
        """Embed both sides of a track, frame by frame, in memory that does not grow with the square of its length."""
        ...

    def embed_whole(self, face: np.ndarray, sound: np.ndarray) -> Rows:
        """Embed each side in one piece and by itself, (T, D) and (T', D), however long each is."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CompactEncoder:
    """The compact model: lips as numbers, log-mel rows."""

    net: CompactConsistency

    def read(self, track: FaceFeatures, heard: AudioFeatures) -> Rows:
        """`lips.describe_lips` and `speech.log_mel`."""
        return track.lips, heard.rows[track.start : track.end]

    def encode(self, face: np.ndarray, sound: np.ndarray) -> Encoded:
        """See `CompactConsistency.encode`."""
        return self.net.encode(face, sound)

    def embed_whole(self, face: np.ndarray, sound: np.ndarray) -> Rows:
        """Each stream beside nothing: neither sees the other."""
        lips = self.net.encode(face, np.zeros((len(face), N_SPEECH), np.float32)).lips
        return lips, self.net.encode(np.zeros((len(sound), N_FEATURES), np.float32), sound).speech


@dataclass(frozen=True, slots=True, eq=False)
class AVHubertEncoder:
    """AV-HuBERT: pictures of mouths, filterbank rows."""

    net: AVHubert

    def read(self, track: FaceFeatures, heard: AudioFeatures) -> Rows:
        """`mouths.crop_mouths` and `speech.filterbank_rows`."""
        if track.mouths is None or heard.filterbank is None:
            raise ValueError("the mouths of this observation were not cut: extract with `cut_mouths`")
        return track.mouths, heard.filterbank[track.start : track.end]

    def encode(self, face: np.ndarray, sound: np.ndarray) -> Encoded:
        """See `AVHubert.encode`: in chunks that overlap."""
        return self.net.encode(face, sound)

    def embed_whole(self, face: np.ndarray, sound: np.ndarray) -> Rows:
        """See `AVHubert.features`."""
        return self.net.features(face, sound, chunk=None)


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyScorer:
    """A model at work in one mode; `recipe` names its weights, the mode and the options."""

    model: Model
    encoder: FeatureEncoder
    recipe: str
    mode: Mode = Mode.STRICT
    options: ConsistencyOptions = field(default_factory=ConsistencyOptions)

    def choose_faces(self, seen: ClipFeatures) -> tuple[FaceFeatures, ...]:
        """Every face; the paper knows one."""
        if self.mode == Mode.STRICT:
            return seen.tracks
        first = follow_first_face(seen)
        return (first,) if first else ()

    def mask(self, seen: ClipFeatures, face: FaceFeatures) -> np.ndarray:
        """(T,) bool: the frames that are real. The paper asks only how far the sound goes."""
        present = seen.audio.present[face.start : face.end]
        return present if self.mode == Mode.PAPER else face.seen & present

    def measure(self, seen: ClipFeatures, face: FaceFeatures) -> Consistency | None:
        """Compare one face with the sound of its time, through no gate; None where too few frames can be paired."""
        rows, mask = self.encoder.read(face, seen.audio), self.mask(seen, face)
        if self.mode == Mode.STRICT:
            encoded = self.encoder.encode(*rows)
            return measure_consistency(replace(encoded, start=face.start), mask, self.options)
        length = count_sound(mask)
        if not length:
            return None
        picture, sound = rows
        return measure_as_paper(*self.encoder.embed_whole(picture[:MAX_FRAMES], sound[:MAX_FRAMES][:length]))

    def encode(self, face: np.ndarray, sound: np.ndarray) -> Encoded:
        """Embed rows that were read, of one length, for `compare`."""
        if self.mode == Mode.STRICT:
            return self.encoder.encode(face, sound)
        lips, speech = self.encoder.embed_whole(face[:MAX_FRAMES], sound[:MAX_FRAMES])
        ones = np.ones(len(lips), np.float32)
        return Encoded(0, to_unit(lips), to_unit(speech), ones, ones)

    def compare(self, encoded: Encoded, mask: np.ndarray) -> tuple[float, int] | None:
        """Give the score and the offset in frames of what is encoded already, as `measure` would."""
        if self.mode == Mode.STRICT:
            return find_offset(encoded, mask, self.options)
        length = count_sound(mask)
        return find_paper_offset(encoded.lips, encoded.speech[:length]) if length else None


def locate_model(model: Model, data_dir: Path) -> Path:
    """Give the verified weights; WeightsMissing, WeightsDamaged or LicenceNotAccepted say what to do."""
    return registry.locate_accepted(SPECS[model].weight, data_dir)


def load_encoder(model: Model, path: Path, settings: Settings) -> FeatureEncoder:
    """Load the network onto its device."""
    return SPECS[model].load(path, pick_device(settings.device))


def pick_device(wanted: str) -> str:
    """`auto` is CUDA where there is one; a device that is asked for by name is taken at its word."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class OpinionOptions:
    """The bounds; they enter the recipe.

    Measured with compact models on 49 real clips of corpora they were not trained on, 4 to 20 s long, each face with
    its own voice and with five others': clarity parts the two with an AUC of 0.994 (of pieces of 4 s: 0.942). Two
    networks of different seeds, one held against the other, contradicted each other in none of 1692 trials, 4 s pieces
    included; given an own voice to one and another's to the other, in 70 of 100 (4 s: 42). On AV-HuBERT nothing could
    be measured; clarity has no scale of its model's that would have to be fitted.
    """

    recipe_name: ClassVar = "OpinionOptions"

    clear: float = 4.0  # one offset stands out: 9 in 10 own voices (4 s: half of them), 1 in 250 other voices
    unclear: float = 2.5  # none does: 8 in 10 other voices, 1 in 50 own voices (4 s: 1 in 8)
    max_apart_frames: int = 3  # of two clear offsets that count as one: 120 ms


@dataclass(frozen=True, slots=True)
class ModelAgreement:
    """What the second says of the first."""

    agrees: bool  # False only where they contradict each other; two that see nothing clear do not
    text: str


def compare_opinions(
    first: Consistency, second: Consistency, models: tuple[Model, Model], options: OpinionOptions
) -> ModelAgreement:
    """Tell whether two measurements contradict each other.

    They do when both stand out at different offsets, or when one stands out and the other clearly does not; between
    the two bounds nothing is read into a curve, so that noise makes no contradiction.
    """
    one, other = (TITLES[model] for model in models)
    if min(first.clarity, second.clarity) >= options.clear:
        apart = abs(first.offset_s - second.offset_s)
        if apart * FPS > options.max_apart_frames + 0.5:
            return ModelAgreement(False, f"Both find the sound to fit at one offset clearly, but {apart:.2f} s apart.")
        return ModelAgreement(True, "Both find the sound to fit clearly, at about the same offset.")
    for name, own, rival, theirs in ((one, first, other, second), (other, second, one, first)):
        if own.clarity >= options.clear and theirs.clarity < options.unclear:
            return ModelAgreement(
                False, f"For {name} the sound fits clearly at one offset; for {rival} it fits at none."
            )
    if max(first.clarity, second.clarity) < options.unclear:
        return ModelAgreement(True, "For neither does the sound fit clearly at any offset.")
    return ModelAgreement(True, "At least one of them sees no clear picture; they do not contradict each other.")
