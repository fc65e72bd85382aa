"""From a file to its observation: the networks that see faces and hear speech, and nothing that judges."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import torch

from engine.faces.face_crops import cut_crops
from engine.faces.tracking import FaceNets, FaceOptions, track_faces
from engine.features.crop_plan import PlannedCrops, add_crops, plan_crops
from engine.features.records import AudioFeatures, ClipFeatures, extract_audio, extract_face
from engine.media.clip import open_clip, read_ahead
from engine.settings import MediaLimits, Settings
from engine.speech.vad import VoiceDetector
from engine.types import Clip, Frame, OnStep, Reason
from engine.weights import registry
from engine.weights.recipes import write_recipe

MOUTHS_VERSION = 1
"""Raise it when the same file, weights and options would give other mouths or filterbanks."""
FACES_VERSION = 1
"""Raise it when they would give other upright faces or points."""
ROWS_VERSION = 2
"""Raise it when the same file, weights and options would give other rows: media, lips or speech were changed."""


class FeatureExtractor:
    """Holds the networks that see and hear; one `observe` at a time.

    `recipe` names their weights, their options and the version of the rows: observations of two recipes never mix. The
    model that compares face and voice has no part in it and need not be installed.
    """

    def __init__(
        self,
        faces: FaceNets,
        voice: VoiceDetector,
        recipe: str,
        files: Sequence[Path] = (),
        face_options: FaceOptions | None = None,
        limits: MediaLimits | None = None,
        cut_mouths: bool = False,
        cut_faces: bool = False,
    ):
        self.faces, self.voice = faces, voice
        self.recipe, self.files = recipe, tuple(files)  # the weight files behind the networks
        self.face_options, self.limits = face_options or FaceOptions(), limits or MediaLimits()
        # what is cut adds to an observation and changes nothing else in it, so the recipe is the same
        self.cut_mouths, self.cut_faces = cut_mouths, cut_faces

    @classmethod
    def load(
        cls,
        settings: Settings,
        face_options: FaceOptions | None = None,
        cut_mouths: bool = False,
        cut_faces: bool = False,
    ) -> "FeatureExtractor":
        """Load both networks; WeightsMissing and WeightsDamaged say which file and what to do."""
        face_options = face_options or FaceOptions()
        files = (registry.face_landmarker(settings.data_dir), registry.silero_vad(settings.data_dir))
        if settings.threads:
            torch.set_num_threads(settings.threads)
        faces, voice = FaceNets.load(files[0]), VoiceDetector.load(files[1])
        recipe = write_recipe(files, (face_options, voice.options, ROWS_VERSION))
        return cls(faces, voice, recipe, files, face_options, settings.limits, cut_mouths, cut_faces)

    def extract(
        self,
        path: Path,
        on_step: OnStep = lambda name, completed, total: None,
        sha256: str | None = None,
        keep_audio: bool = False,
    ) -> ClipFeatures:
        """See and hear the whole file, judging nothing; raises EngineError for a file that cannot be read.

        `sha256` is the hash of the file where it is known; with `keep_audio` its sound stays in the observation.
        """
        timings: dict[str, float] = {}
        with time_step("read", timings, on_step):
            clip = open_clip(path, self.limits, sha256)
        return self.extract_clip(clip, on_step, timings, keep_audio)

    def extract_clip(
        self,
        clip: Clip,
        on_step: OnStep = lambda name, completed, total: None,
        timings: dict[str, float] | None = None,
        keep_audio: bool = False,
    ) -> ClipFeatures:
        """See and hear an opened clip; `timings` are of what was done before."""
        timings = {} if timings is None else timings
        with time_step("speech", timings, on_step):
            heard = extract_audio(clip, self.voice, self.cut_mouths, keep_audio)
        seen, planned = self._look(clip, heard, timings, on_step)
        if not (self.cut_mouths or self.cut_faces):
            return seen
        step = "mouths" if self.cut_mouths else "crops"
        with time_step(step, timings, on_step, clip.n_frames), closing(read_ahead(clip.read_frames())) as frames:
            crops = cut_crops(frames, planned.plans, lambda index: on_step(step, index + 1, clip.n_frames))
            return add_crops(seen, planned, crops)

    def _look(
        self, clip: Clip, heard: AudioFeatures, timings: dict[str, float], on_step: OnStep
    ) -> tuple[ClipFeatures, PlannedCrops]:
        """Follow the faces; what is to be cut in a second pass is planned here, and their landmarks end here."""
        late: list[Reason] = []
        with time_step("faces", timings, on_step, clip.n_frames):
            found = track_faces(
                read_ahead(_note_end(clip.read_frames(), late)),
                self.faces,
                self.face_options,
                lambda index: on_step("faces", index + 1, clip.n_frames),
            )
        with time_step("lips", timings, on_step):
            tracks = tuple(extract_face(track) for track in found.tracks)
        seen = ClipFeatures(
            name=clip.path.name,
            sha256=clip.sha256,
            n_frames=clip.n_frames,
            size_px=clip.size_px,
            source_fps=clip.source_fps,
            reasons=tuple(dict.fromkeys([*clip.reasons, *late])),
            audio=heard,
            tracks=tracks,
            cuts=found.cuts,
            timings_s=timings,
        )
        return seen, plan_crops(found.tracks, seen, self.cut_mouths, self.cut_faces)


@contextmanager
def time_step(name: str, timings: dict[str, float], on_step: OnStep, total: int = 1) -> Iterator[None]:
    """Announce a step, and keep its wall-clock seconds."""
    on_step(name, 0, total)
    began = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - began
    on_step(name, total, total)


def _note_end(frames: Iterator[Frame], late: list[Reason]) -> Iterator[Frame]:
    """Pass the frames on; what only decoding them could show, told after the last one, goes into `late`."""
    told = yield from cast(Generator[Frame, None, tuple[Reason, ...] | None], frames)
    late += told or ()
