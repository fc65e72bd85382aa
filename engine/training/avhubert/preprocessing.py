"""Mouths and sound of real clips, cut out once and kept on disk: what AV-HuBERT is trained on.

One safetensors file a clip, named by the hash of the video, in a folder named by the recipe. The files are mapped into
memory, so a window of a long clip costs no more than the window.
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
from engine.training.consistency.av_offset import find_lateness
from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.weights import registry
from engine.weights.recipes import write_recipe

VERSION = 1
"""Raise it when the same video and weights would give other numbers."""

N_CEPSTRA = 39
NOBODY: dict[str, np.ndarray] = {
    "mouths": np.zeros((0, CROP, CROP), np.uint8),
    "energies": np.zeros((0, STEPS_PER_FRAME * FILTERS), np.float32),
    "cepstra": np.zeros((0, N_CEPSTRA), np.float32),
    "seen": np.zeros(0, bool),
    "present": np.zeros(0, bool),
}
"""What is kept of a video without a face beside its sound, so that nobody looks again."""


@dataclass(frozen=True, slots=True)
class PreprocessedClip:
    """The main face of a clip and the sound of its time, in a file."""

    path: Path
    name: str
    source: str
    speaker: str
    corpus: str  # reels of one corpus are never on both sides of a split
    n_frames: int  # of the face, and of the sound
    late: int = 0  # frames by which the sound comes late, to be cut away

    @property
    def length(self) -> int:
        """Frames that are left when the lateness is cut away."""
        return self.n_frames - abs(self.late)

    @property
    def seconds(self) -> float:
        """Length at 25 frames a second."""
        return self.length / FPS


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A piece of a reel, its lateness cut away."""

    mouths: np.ndarray  # (L, 96, 96) uint8
    energies: np.ndarray  # (L, 104) float32, `speech.stack_filterbank`
    real: np.ndarray  # (L,) bool: face seen and sound there


def cut_reel(reel: PreprocessedClip, first: int, last: int) -> Cut:
    """Read frames `first` to `last`, within its length."""
    face, sound = _spans(reel, first, last)
    with safe_open(reel.path, "np") as file:
        real = file.get_slice("seen")[face] & file.get_slice("present")[sound]
        return Cut(file.get_slice("mouths")[face], file.get_slice("energies")[sound], real)


def read_energies(reel: PreprocessedClip, first: int, last: int) -> np.ndarray:
    """(L, 104) float32: the sound alone of frames `first` to `last`."""
    with safe_open(reel.path, "np") as file:
        return np.array(file.get_slice("energies")[_spans(reel, first, last)[1]])


def read_cepstra(reel: PreprocessedClip) -> np.ndarray:
    """(T, 39) float32 over its length, `describe_cepstra`."""
    with safe_open(reel.path, "np") as file:
        return np.array(file.get_slice("cepstra")[_spans(reel, 0, reel.length)[1]])


def measure_reel(path: Path) -> tuple[int, int | None]:
    """Give the frames in a file, 0 where there is nobody, and the lateness that was heard, None where it is not clear.

    SafetensorError or OSError for a damaged file.
    """
    with safe_open(path, "np") as file:
        late = file.metadata()["late"]
        return file.get_slice("mouths").get_shape()[0], int(late) if late else None


def write_reel(path: Path, reel: dict[str, np.ndarray], late: int | None) -> None:
    """Write the arrays of a reel, and how late its sound is where that is clear; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        arrays = {name: np.ascontiguousarray(one) for name, one in reel.items()}
        save_file(arrays, partial, {"late": "" if late is None else str(late)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Preprocessor:
    """Holds the networks that find the face and hear how late the sound is; one clip at a time.

    How late: by the compact model, since frame-wise alignment learns little from clips that are frames off.
    """

    def __init__(self, faces: FaceNets, scout: CompactConsistency, recipe: str, options: FaceOptions | None = None):
        self.recipe = recipe
        self._faces, self._scout, self._options = faces, scout, options or FaceOptions()

    @classmethod
    def load(cls, settings: Settings) -> "Preprocessor":
        """Load the verified networks; WeightsMissing and WeightsDamaged say which file and what to do."""
        files = (registry.face_landmarker(settings.data_dir), registry.compact(settings.data_dir))
        options = FaceOptions()
        recipe = write_recipe(files, (options, VERSION))
        return cls(FaceNets.load(files[0]), load_compact(files[1]), recipe, options)

    def make(self, video: Path, path: Path) -> None:
        """Write the reel of a video whole or not at all; raises EngineError for a video that cannot be read."""
        clip = open_clip(video)
        tracks = track_faces(clip.read_frames(), self._faces, self._options).tracks
        if not tracks:
            return write_reel(path, NOBODY, None)
        observed = [extract_face(track) for track in tracks]
        face = choose_face(observed)
        track = tracks[observed.index(face)]
        span = slice(track.start, track.end)
        real = track.seen & clip.audio_present[span]
        if real.sum() < MIN_FRAMES:
            return write_reel(path, NOBODY, None)
        heard = log_mel(clip.audio)[span].reshape(-1, N_BANDS)
        late = find_lateness(TrainingClip(video.name, "", "", "", face.lips, heard, real), self._scout)
        reel: dict[str, np.ndarray] = {
            "mouths": crop_mouths(clip.read_frames(), track).frames,
            "energies": stack_filterbank(clip.audio)[span].astype(np.float32),
            "cepstra": describe_cepstra(clip.audio)[span],
            "seen": track.seen,
            "present": clip.audio_present[span],
        }
        return write_reel(path, reel, late)


@torch.inference_mode()
def describe_cepstra(audio: np.ndarray) -> np.ndarray:
    """13 Kaldi MFCCs with first and second differences, the mean of each frame's four steps: (T, 39) float32.

    What AV-HuBERT's first clusters are made of (its `dump_mfcc_feature.py`), there one step in four.
    """
    n_frames = len(audio) // SAMPLES_PER_FRAME
    wave = torch.from_numpy(np.array(audio, np.float32))[None]
    plain = torchaudio.compliance.kaldi.mfcc(wave, sample_frequency=SAMPLE_RATE, use_energy=False).T
    first = torchaudio.functional.compute_deltas(plain)
    steps = torch.cat([plain, first, torchaudio.functional.compute_deltas(first)]).T  # (steps, 39)
    missing = n_frames * STEPS_PER_FRAME - len(steps)  # the last windows would reach beyond the end
    steps = torch.cat([steps, steps[-1:].expand(missing, -1)])
    return steps.reshape(n_frames, STEPS_PER_FRAME, N_CEPSTRA).mean(1).numpy()


def _spans(reel: PreprocessedClip, first: int, last: int) -> tuple[slice, slice]:
    """Frames of the face, and of the sound that belongs to them."""
    if not 0 <= first <= last <= reel.length:
        raise ValueError(f"frames {first} to {last} of {reel.name}, which has {reel.length}")
    face, sound = max(0, -reel.late), max(0, reel.late)
    return slice(first + face, last + face), slice(first + sound, last + sound)
