"""Preprocess real clips for AV-HuBERT: mouth crops and audio features, extracted once and stored on disk.

One safetensors file per clip, named by the hash of the video, in a folder named by the recipe. Files are memory-mapped,
so that reading a window of a long clip costs no more than the window.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from engine.faces.landmarker import FaceNets
from engine.faces.mouth_crops import CROP, crop_mouths
from engine.faces.tracking import FaceOptions, track_faces
from engine.features.records import extract_face
from engine.media.audio import torchaudio
from engine.media.clip import open_clip
from engine.models.compact import N_BANDS, CompactConsistency, load_compact
from engine.settings import Settings
from engine.speech.filterbanks import FILTERS, STEPS_PER_FRAME, log_mel, stack_filterbank
from engine.training.clips import MIN_FRAMES, TrainingClip, choose_face
from engine.training.consistency.av_offset import estimate_av_offset
from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.weights import registry
from engine.weights.recipes import write_recipe

VERSION = 2
"""Increase it when the same video and weights would produce other values."""

N_CEPSTRA = 39
NO_FACE: dict[str, np.ndarray] = {
    "mouths": np.zeros((0, CROP, CROP), np.uint8),
    "energies": np.zeros((0, STEPS_PER_FRAME * FILTERS), np.float32),
    "cepstra": np.zeros((0, N_CEPSTRA), np.float32),
    "seen": np.zeros(0, bool),
    "present": np.zeros(0, bool),
}
"""Stored for a video without a face and audio, so that it is not processed again."""


@dataclass(frozen=True, slots=True)
class PreprocessedClip:
    """File with the main face of a clip and the audio of the same time."""

    path: Path
    name: str
    source: str
    speaker: str
    corpus: str  # clips of one corpus are never on both sides of a split
    n_frames: int  # of the face and of the audio
    late: int = 0  # AV offset in frames to remove; positive: audio is late

    @property
    def length(self) -> int:
        """Frames left after removing the AV offset."""
        return self.n_frames - abs(self.late)

    @property
    def seconds(self) -> float:
        """Length at 25 frames a second."""
        return self.length / FPS


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A window of a clip, without AV offset."""

    mouths: np.ndarray  # (L, 96, 96) uint8
    energies: np.ndarray  # (L, 104) float32, `stack_filterbank`
    real: np.ndarray  # (L,) bool: face and audio are present


def read_window(clip: PreprocessedClip, first: int, last: int) -> Cut:
    """Read frames `first` to `last` of a clip without AV offset."""
    face, sound = _spans(clip, first, last)
    with safe_open(clip.path, "np") as file:
        real = file.get_slice("seen")[face] & file.get_slice("present")[sound]
        return Cut(file.get_slice("mouths")[face], file.get_slice("energies")[sound], real)


def read_energies(clip: PreprocessedClip, first: int, last: int) -> np.ndarray:
    """Return (L, 104) float32: the audio features of frames `first` to `last`."""
    with safe_open(clip.path, "np") as file:
        return np.array(file.get_slice("energies")[_spans(clip, first, last)[1]])


def read_cepstra(clip: PreprocessedClip) -> np.ndarray:
    """Return (T, 39) float32 of the whole clip, as of `describe_cepstra`."""
    with safe_open(clip.path, "np") as file:
        return np.array(file.get_slice("cepstra")[_spans(clip, 0, clip.length)[1]])


def read_header(path: Path) -> tuple[int, int | None]:
    """Return the number of frames, 0 without a face, and the AV offset in frames, None if it is not clear.

    Raises SafetensorError or OSError for a damaged file.
    """
    with safe_open(path, "np") as file:
        late = file.metadata()["late"]
        return file.get_slice("mouths").get_shape()[0], int(late) if late else None


def write_clip(path: Path, arrays: dict[str, np.ndarray], late: int | None) -> None:
    """Write the arrays of a clip and its AV offset, if clear, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        contiguous = {name: np.ascontiguousarray(one) for name, one in arrays.items()}
        save_file(contiguous, partial, {"late": "" if late is None else str(late)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Preprocessor:
    """Preprocesses clips with a face landmarker and the compact model.

    The compact model estimates the AV offset, since frame-wise alignment learns little from clips that are out of sync.
    """

    def __init__(self, faces: FaceNets, scout: CompactConsistency, recipe: str, options: FaceOptions | None = None):
        self.recipe = recipe
        self._faces, self._scout, self._options = faces, scout, options or FaceOptions()

    @classmethod
    def load(cls, settings: Settings) -> "Preprocessor":
        """Load the verified networks; raise WeightsMissing or WeightsDamaged, with a hint."""
        files = (registry.face_landmarker(settings.data_dir), registry.compact(settings.data_dir))
        options = FaceOptions()
        recipe = write_recipe(files, (options, VERSION))
        return cls(FaceNets.load(files[0]), load_compact(files[1]), recipe, options)

    def make(self, video: Path, path: Path) -> None:
        """Preprocess a video and write its file atomically; raise EngineError if it cannot be read."""
        clip = open_clip(video)
        tracks = track_faces(clip.read_frames(), self._faces, self._options).tracks
        if not tracks:
            return write_clip(path, NO_FACE, None)
        faces = [extract_face(track) for track in tracks]
        face = choose_face(faces)
        track = tracks[faces.index(face)]
        span = slice(track.start, track.end)
        real = track.seen & clip.audio_present[span]
        if real.sum() < MIN_FRAMES:
            return write_clip(path, NO_FACE, None)
        mel = log_mel(clip.audio)[span].reshape(-1, N_BANDS)
        late = estimate_av_offset(TrainingClip(video.name, "", "", "", face.lips, mel, real), self._scout)
        arrays: dict[str, np.ndarray] = {
            "mouths": crop_mouths(clip.read_frames(), track).frames,
            "energies": stack_filterbank(clip.audio)[span].astype(np.float32),
            "cepstra": describe_cepstra(clip.audio)[span],
            "seen": track.seen,
            "present": clip.audio_present[span],
        }
        return write_clip(path, arrays, late)


@torch.inference_mode()
def describe_cepstra(audio: np.ndarray) -> np.ndarray:
    """Return (T, 39) float32: 13 Kaldi MFCCs with first and second differences, averaged over the 4 steps of a frame.

    AV-HuBERT clusters the same features first (its `dump_mfcc_feature.py`), but takes one step in four.
    """
    n_frames = len(audio) // SAMPLES_PER_FRAME
    wave = torch.from_numpy(np.array(audio, np.float32))[None]
    plain = torchaudio.compliance.kaldi.mfcc(wave, sample_frequency=SAMPLE_RATE, use_energy=False).T
    first = torchaudio.functional.compute_deltas(plain)
    steps = torch.cat([plain, first, torchaudio.functional.compute_deltas(first)]).T  # (steps, 39)
    missing = n_frames * STEPS_PER_FRAME - len(steps)  # the last analysis windows exceed the end
    steps = torch.cat([steps, steps[-1:].expand(missing, -1)])
    return steps.reshape(n_frames, STEPS_PER_FRAME, N_CEPSTRA).mean(1).numpy()


def _spans(clip: PreprocessedClip, first: int, last: int) -> tuple[slice, slice]:
    """Return the frames of the face and the audio that belongs to them."""
    if not 0 <= first <= last <= clip.length:
        raise ValueError(f"frames {first} to {last} of {clip.name}, which has {clip.length}")
    face, sound = max(0, -clip.late), max(0, clip.late)
    return slice(first + face, last + face), slice(first + sound, last + sound)
