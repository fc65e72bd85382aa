"""Extract features from a media file: face tracks, lip and motion features, audio features; no scoring."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine.devices import pick_device
from engine.faces.mouth_cover import load_mouth_cover
from engine.faces.occlusion import CoverDetector
from engine.faces.orientation import FrameSample, find_turn, find_upright
from engine.faces.tracking import FaceNets, FaceOptions, Faces
from engine.features.audio_choice import choose_audio
from engine.features.crop_plan import PlannedCrops, add_crops, plan_crops
from engine.features.passes import FaceTracker, cut_clip, turn_clip
from engine.features.records import AudioFeatures, ClipFeatures, extract_audio, extract_face
from engine.media.clip import open_clip
from engine.settings import MediaLimits, Settings
from engine.speech.vad import VoiceDetector
from engine.types import WHOLE, AudioSignal, Clip, MediaSelection, OnStep, Reason
from engine.weights import registry
from engine.weights.recipes import write_recipe

MOUTHS_VERSION = 2
"""Increase when the same file, weights and options yield other mouths or filterbanks."""
FACES_VERSION = 1
"""Increase when they yield aligned faces or points that give other embeddings; see docs/dynamics-model.md, Rows."""
ROWS_VERSION = 3
"""Increase when they yield other feature rows: media, faces or speech changed."""

RARELY_SEEN = 0.75  # share of the frames with an upright face, below which the other quarter turns are tried


class FeatureExtractor:
    """Face and voice networks; run one extraction at a time.

    `recipe` names their weights, their options and the version of the rows: features of two recipes never mix. The
    consistency model is not part of it and need not be installed.
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
        cover: CoverDetector | None = None,
        workers: int = 1,
    ):
        self.faces, self.voice, self.cover = faces, voice, cover
        self.recipe, self.files = recipe, tuple(files)  # the weight files behind the networks
        self.face_options, self.limits = face_options or FaceOptions(), limits or MediaLimits()
        # crops are additional and change no other feature, so the recipe stays the same
        self.cut_mouths, self.cut_faces = cut_mouths, cut_faces
        self.workers = workers  # segments of a clip processed at a time; changes no feature

    @classmethod
    def load(
        cls,
        settings: Settings,
        face_options: FaceOptions | None = None,
        cut_mouths: bool = False,
        cut_faces: bool = False,
    ) -> "FeatureExtractor":
        """Load the networks; raises WeightsMissing or WeightsDamaged."""
        face_options = face_options or FaceOptions()
        files = (registry.face_landmarker(settings.data_dir), registry.silero_vad(settings.data_dir))
        if settings.threads:
            torch.set_num_threads(settings.threads)
        faces = FaceNets.load(files[0], device=pick_device(settings.device), compiles=settings.compile_nets)
        voice = VoiceDetector.load(files[1])
        recipe = write_recipe(files, (face_options, voice.options, ROWS_VERSION))
        cover = load_mouth_cover(registry.mouth_cover(settings.data_dir))  # a gate, not part of the recipe
        workers = settings.count_workers()
        return cls(faces, voice, recipe, files, face_options, settings.limits, cut_mouths, cut_faces, cover, workers)

    def extract(
        self,
        path: Path,
        on_step: OnStep = lambda name, completed, total: None,
        sha256: str | None = None,
        keep_audio: bool = False,
        selection: MediaSelection = WHOLE,
    ) -> ClipFeatures:
        """Extract features from a file or a part of it; raises EngineError if it cannot be read.

        `sha256` is the hash of the file if known; with `keep_audio` the features keep the samples.
        """
        timings: dict[str, float] = {}
        with time_step("read", timings, on_step):
            clip = open_clip(path, self.limits, sha256, selection)
        return self.extract_clip(clip, on_step, timings, keep_audio)

    def extract_clip(
        self,
        clip: Clip,
        on_step: OnStep = lambda name, completed, total: None,
        timings: dict[str, float] | None = None,
        keep_audio: bool = False,
    ) -> ClipFeatures:
        """Extract features from an open clip; `timings` are of earlier steps."""
        timings = {} if timings is None else timings
        with time_step("speech", timings, on_step):
            chosen = choose_audio(clip, self.voice)
            clip = chosen.clip
            audio = extract_audio(clip, self.voice, self.cut_mouths, keep_audio)
            channels = tuple((one.channel, self._extract_channel(clip, one, keep_audio)) for one in chosen.others)
        with time_step("faces", timings, on_step, clip.n_frames):
            clip, found, late = self._track_upright(clip, on_step)
        features, planned = self._extract_faces(clip, audio, found, late, timings, on_step)
        if channels:
            reasons = (*features.reasons, Reason.CHANNELS_DIFFER)
            features = replace(features, channels=channels, reasons=reasons)
        if not (self.cut_mouths or self.cut_faces):
            return features
        step = "mouths" if self.cut_mouths else "crops"
        with time_step(step, timings, on_step, clip.n_frames):
            crops = cut_clip(clip, planned.plans, self.workers, lambda count: on_step(step, count, clip.n_frames))
            return add_crops(features, planned, crops)

    def _extract_channel(self, clip: Clip, signal: AudioSignal, keep_audio: bool) -> AudioFeatures:
        heard = replace(clip, audio=signal.samples, audio_present=signal.present)
        return extract_audio(heard, self.voice, self.cut_mouths, keep_audio)

    def _track_upright(self, clip: Clip, on_step: OnStep) -> tuple[Clip, Faces, tuple[Reason, ...]]:
        """Track the faces; if they are rarely seen, try the other quarter turns and track again in turned frames.

        Return the clip with upright frames, its faces, and the reasons found while decoding.
        """
        sample = FrameSample(clip.n_frames)
        tracker = FaceTracker(self.faces, self.face_options, self.cover, self.workers)
        found, late = tracker.track(clip, sample, lambda count: on_step("faces", count, clip.n_frames))
        turn = find_turn(sample.images, self.faces) if _share_upright(found, clip.n_frames) < RARELY_SEEN else 0
        if not turn:
            return clip, found, late
        upright = turn_clip(clip, turn)
        found, _ = tracker.track(upright, sample, lambda count: on_step("faces", count, clip.n_frames))
        return upright, found, (*late, Reason.ROTATED)

    def _extract_faces(
        self,
        clip: Clip,
        audio: AudioFeatures,
        found: Faces,
        late: tuple[Reason, ...],
        timings: dict[str, float],
        on_step: OnStep,
    ) -> tuple[ClipFeatures, PlannedCrops]:
        """Extract the features of the faces and plan the crops of the second pass; the landmarks are not kept."""
        left_out = [Reason.FACES_LEFT_OUT] if found.left_out else []
        with time_step("lips", timings, on_step):
            tracks = tuple(extract_face(track) for track in found.tracks)
        features = ClipFeatures(
            name=clip.path.name,
            sha256=clip.sha256,
            n_frames=clip.n_frames,
            size_px=clip.size_px,
            source_fps=clip.source_fps,
            reasons=tuple(dict.fromkeys([*clip.reasons, *late, *left_out])),
            audio=audio,
            tracks=tracks,
            media=replace(clip.media, faces_left_out=found.left_out),
            cuts=found.cuts,
            timings_s=timings,
        )
        return features, plan_crops(found.tracks, features, self.cut_mouths, self.cut_faces)


def _share_upright(found: Faces, n_frames: int) -> float:
    """Return the share of frames with an upright face; the mesh follows some faces that are upside down."""
    seen = np.zeros(n_frames, bool)
    for track in found.tracks:
        seen[track.start : track.end] |= track.seen & find_upright(track.landmarks)
    return float(seen.mean()) if n_frames else 1.0


@contextmanager
def time_step(name: str, timings: dict[str, float], on_step: OnStep, total: int = 1) -> Iterator[None]:
    """Report a step and store its wall-clock seconds."""
    on_step(name, 0, total)
    began = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - began
    on_step(name, total, total)
