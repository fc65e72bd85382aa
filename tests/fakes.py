"""Fakes that run the pipeline in seconds without weights: drawn faces, a level-based VAD, 8-number encoders.

A drawn face is a patch of the picture: red means "a face is here", and green is the opening of its mouth.
The sound of `make_clip` is noise as loud as that mouth is open, so face and voice agree, at an offset that is known.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import EngineError
from engine.faces.landmark_features import MOUTH_SHAPES
from engine.faces.landmarker import LEFT_EYE, N_LANDMARKS, RIGHT_EYE, Detection, Mesh, Region
from engine.types import (
    FPS,
    SAMPLES_PER_FRAME,
    WHOLE,
    Analysis,
    Clip,
    ConsistencyReport,
    Encoded,
    Evidence,
    Frame,
    MediaSelection,
    Mode,
    Model,
    OnStep,
    Reason,
    SecondOpinion,
    Status,
    SyncCurve,
    TrackReport,
    Window,
)

if TYPE_CHECKING:  # these bring torch, which the processes of a fake worker do without
    from engine.consistency.scorers import ConsistencyScorer
    from engine.features.records import AudioFeatures, FaceFeatures
    from engine.speech.vad import VoiceOptions

JAW_OPEN = 25  # column of the blendshapes
JAW_COLUMN = MOUTH_SHAPES.index(JAW_OPEN) - len(MOUTH_SHAPES)  # of a row of lip features
PATCH = 40  # pixels of a drawn face's colour, around its centre


def make_mouth(n_frames: int, seed: int = 0) -> np.ndarray:
    """(T,) in [0, 1]: a mouth that opens and closes as speech does, never twice the same."""
    noise = np.random.default_rng(seed).random(n_frames + 2)
    return np.convolve(noise, [0.25, 0.5, 0.25], "valid")


def make_voice(mouth: np.ndarray, late: int = 0) -> np.ndarray:
    """(640 T,) float32: noise with a level that follows the mouth, `late` frames after it."""
    noise = np.random.default_rng(99).normal(size=len(mouth) * SAMPLES_PER_FRAME)
    level = 10 ** (2 * np.roll(mouth, late) - 3)
    return np.clip(noise * np.repeat(level, SAMPLES_PER_FRAME), -1, 1).astype(np.float32)


def make_clip(
    faces: Sequence[np.ndarray],
    audio: np.ndarray | None,
    *,
    present: np.ndarray | None = None,
    cuts: Sequence[int] = (),
    reasons: tuple[Reason, ...] = (),
    late_reasons: tuple[Reason, ...] = (),
    frame_px: int = 240,
    n_frames: int | None = None,
) -> Clip:
    """A clip of drawn faces side by side; NaN in a mouth means that face is not there in that frame."""
    n_frames = len(faces[0]) if n_frames is None else n_frames
    audio = np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32) if audio is None else audio
    heard = np.ones(n_frames, bool) if present is None else present
    width = frame_px * max(1, len(faces))

    def read_frames() -> Generator[Frame, None, tuple[Reason, ...]]:
        for index in range(n_frames):
            shot = sum(cut <= index for cut in cuts)
            image = np.full((frame_px, width, 3), (0, 0, 60) if shot % 2 == 0 else (0, 250, 250), np.uint8)
            for place, mouth in enumerate(faces):
                _draw_face(image, place, frame_px, float(mouth[index]))
            yield Frame(index, image, True)
        return late_reasons

    return Clip(
        path=Path("drawn.mp4"),
        sha256="ab" * 32,
        duration_s=n_frames / FPS,
        n_frames=n_frames,
        size_px=(width, frame_px),
        source_fps=25.0,
        has_audio=bool(heard.any()),
        audio=audio,
        audio_present=heard,
        reasons=reasons,
        read_frames=read_frames,
    )


def _draw_face(image: np.ndarray, place: int, frame_px: int, mouth: float) -> None:
    if np.isnan(mouth):
        return
    centre, half = place * frame_px + frame_px // 2, PATCH // 2
    rows = slice(frame_px // 2 - half, frame_px // 2 + half)
    image[rows, centre - half : centre + half] = (200, round(255 * mouth), 0)


class FakeNets:
    """Finds drawn faces; each is half as wide as its part of the picture."""

    runs_batches = False

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        """One detection for every patch of red."""
        part = image.shape[0]
        centres = np.arange(part // 2, image.shape[1], part)
        return [self._detect(centre, part) for centre in centres if self._is_face(image, centre)]

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        """A fixed mesh with lower lip and jaw following the green of the patch."""
        part = image.shape[0]
        centre = int(np.clip(region.centre[0], 0, image.shape[1] - 1)) // part * part + part // 2
        opening = float(image[part // 2, centre, 1]) / 255
        points = np.random.default_rng(7).uniform(-0.25, 0.25, (N_LANDMARKS, 3))
        points[RIGHT_EYE], points[LEFT_EYE] = (-0.15, -0.1, 0), (0.15, -0.1, 0)
        points[13], points[14] = (0, 0.1, 0), (0, 0.1 + 0.1 * opening, 0)
        points[0], points[1] = (
            (-0.25, -0.25, 0),
            (0.25, 0.25, 0),
        )  # the box is half of the part, whatever the mouth does
        landmarks = points * part + (centre, part / 2, 0)
        return Mesh(float(self._is_face(image, centre)), landmarks.astype(np.float32))

    def place_landmarks_batch(self, images: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Mesh]:
        """The same as one by one."""
        return [self.place_landmarks(image, region) for image, region in zip(images, regions, strict=True)]

    def read_blendshapes_batch(self, landmarks: np.ndarray) -> np.ndarray:
        """The same as one by one."""
        return np.stack([self.read_blendshapes(one) for one in landmarks])

    def read_blendshapes(self, landmarks: np.ndarray) -> np.ndarray:
        """How far the jaw is open, and nothing else."""
        shapes = np.zeros(52, np.float32)
        eyes = np.linalg.norm(landmarks[LEFT_EYE] - landmarks[RIGHT_EYE])
        shapes[JAW_OPEN] = np.linalg.norm(landmarks[14] - landmarks[13]) / eyes * 3
        return shapes

    def _detect(self, centre: int, part: int) -> Detection:
        middle, quarter = part / 2, part / 4
        box = np.array([centre - quarter, middle - quarter, centre + quarter, middle + quarter])
        eyes = np.array([[centre - 0.15 * part, middle - 0.1 * part], [centre + 0.15 * part, middle - 0.1 * part]])
        return Detection(1.0, box, eyes)

    def _is_face(self, image: np.ndarray, centre: int) -> bool:
        return bool(image[image.shape[0] // 2, centre, 0] > 100)


class FakeVoice:
    """Takes everything louder than -70 dBFS for speech, frame by frame."""

    @property
    def options(self) -> "VoiceOptions":
        from engine.speech.vad import VoiceOptions

        return VoiceOptions()

    def find_speech(self, audio: np.ndarray) -> np.ndarray:
        """(T,) bool."""
        power = np.square(audio.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64)).mean(1)
        return power > 1e-7


class FakeEncoder:
    """Embeds the shape of the last frames' opening, and of their loudness, in 8 numbers."""

    def embed_whole(self, face: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `encode`, each as long as it is."""
        return _embed(face[:, JAW_COLUMN]), _embed(sound.mean(1))

    def encode(self, lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
        """Unit rows; a mouth and a sound that move alike have a cosine near 1."""
        ones = np.ones(len(lips), np.float32)
        return Encoded(0, _embed(lips[:, JAW_COLUMN]), _embed(speech.mean(1)), ones, ones)


class FakeMouthReader(FakeEncoder):
    """Embeds the grey of mouth crops, which is their opening, and the loudness of audio rows."""

    def embed_whole(self, face: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `encode`, each as long as it is."""
        return _embed(face.mean(axis=(1, 2))), _embed(sound.mean(1))

    def encode(self, lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
        """Unit rows, every frame of the same weight."""
        ones = np.ones(len(lips), np.float32)
        return Encoded(0, *self.embed_whole(lips, speech), ones, ones)


def make_scorer(
    mode: Mode = Mode.STRICT, model: Model = Model.COMPACT, encoder: FakeEncoder | None = None
) -> "ConsistencyScorer":
    """A scorer that needs no weights."""
    from engine.consistency.model_specs import SPECS
    from engine.consistency.scorers import ConsistencyScorer

    class FakeMouthScorer(ConsistencyScorer):
        """Pairs mouth crops with log-mel rows, since the normalised filterbank does not follow loudness."""

        def select_inputs(self, face: "FaceFeatures", audio: "AudioFeatures") -> tuple[np.ndarray, np.ndarray]:
            return super().select_inputs(face, audio)[0], audio.rows[face.start : face.end]

    scorer = FakeMouthScorer if SPECS[model].needs_mouths else ConsistencyScorer
    return scorer(model, encoder or FakeEncoder(), f"fake-{model}", mode)


def _embed(signal: np.ndarray) -> np.ndarray:
    """(T, 8) float32, unit rows: eight neighbours less their mean."""
    padded = np.pad(signal.astype(np.float64), (4, 3), "edge")
    rows = np.lib.stride_tricks.sliding_window_view(padded, 8)
    rows = rows - rows.mean(1, keepdims=True)
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    nothing = np.tile([1.0, -1.0] * 4, (len(rows), 1)) / np.sqrt(8)  # a flat signal is still a unit row
    return np.where(size > 1e-9, rows / np.maximum(size, 1e-9), nothing).astype(np.float32)


def make_curve(offset: int = 0, peak: float = 0.6) -> SyncCurve:
    """A curve with one peak, `offset` frames late."""
    offsets = np.arange(-15, 16)
    similarity = peak * np.exp(-((offsets - offset) ** 2) / 4.0)
    return SyncCurve((offsets / FPS).astype(np.float32), similarity.astype(np.float32), 250 - np.abs(offsets))


def make_report(score: float | None = 0.6, offset: int = 1, *reasons: Reason) -> ConsistencyReport:
    """A report over ten seconds; a score of None makes it NOT_EVALUATED."""
    refused = score is None
    status = Status.NOT_EVALUATED if refused else Status.LIMITED if reasons else Status.EVALUATED
    at_s = offset / FPS
    return ConsistencyReport(
        status=status,
        reasons=reasons,
        score=score,
        offset_s=None if refused else at_s,
        dynamic_score=score,
        drift_s=None if refused else 0.0,
        llr=None,
        speech_s=9.5,
        windows=() if score is None else tuple(Window(t, t + 2.0, score + 0.01 * t, at_s) for t in np.arange(0.0, 9.0)),
        curve=None if score is None else make_curve(offset, score),
    )


def make_second(
    agrees: bool = True, model: Model = Model.AVHUBERT_LARGE, score: float = 0.31, offset: int = 1
) -> SecondOpinion:
    """What another model says of the same face."""
    text = "Both find the sound to fit clearly." if agrees else "For one the sound fits; for the other it fits at none."
    curve = make_curve(offset, score)
    return SecondOpinion(model, "fake-second", score, offset / FPS, 5.5, 6.25, agrees, text, curve)


def make_analysis(*reports: ConsistencyReport, name: str = "drawn.mp4") -> Analysis:
    """An analysis with one track of ten seconds for each report; one good face by default."""
    reports = reports or (make_report(),)
    picture = np.full((96, 96, 3), (200, 160, 140), np.uint8)
    tracks = tuple(TrackReport(i, 0.0, 10.0, 164.0, picture, report) for i, report in enumerate(reports))
    return Analysis(
        name=name,
        sha256="ab" * 32,
        duration_s=10.0,
        size_px=(1280, 720),
        source_fps=25.0,
        status=reports[0].status,
        reasons=reports[0].reasons,
        recipe="fake-000000000000+options-00000000",
        timings_s={"read": 0.1, "speech": 0.2, "faces": 3.0, "lips": 0.1, "score": 0.1, "total": 3.5},
        tracks=tracks,
    )


class FakeEngine:
    """Return a prepared analysis, or raise a prepared error, with the steps of a real engine."""

    def __init__(self, answer: Analysis | EngineError | Callable[[Path], Analysis] | None = None):
        self.recipe = "fake-000000000000+options-00000000"
        self._answer = make_analysis() if answer is None else answer
        self.selections: list[MediaSelection] = []

    def analyse(
        self,
        path: Path,
        on_step: OnStep = lambda name, completed, total: None,
        selection: MediaSelection = WHOLE,
    ) -> Analysis:
        """As `Engine.analyse`; the name is that of the file."""
        self.selections.append(selection)
        for name, total in _STEPS:
            for completed in range(total + 1):
                on_step(name, completed, total)
        if isinstance(self._answer, EngineError):
            raise self._answer
        if callable(self._answer):
            return self._answer(path)
        return replace(self._answer, name=path.name)


_STEPS = (("read", 1), ("speech", 1), ("faces", 10), ("lips", 1), ("score", 1))
