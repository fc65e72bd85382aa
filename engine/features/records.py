"""What an engine saw and heard in a clip, before anything is judged: the expensive part, worth keeping.

Faces and voice become rows of numbers here. Judging them anew (other offsets, other gates, other weights) needs
neither the file nor the networks that found them. What AV-HuBERT reads, mouths and rows of sound of its own, and the
upright faces from which the way of speaking is told, are there only where the extractor was asked to cut them.
"""

from dataclasses import dataclass

import numpy as np

from engine.faces.face_crops import AlignedFaces
from engine.faces.landmark_features import describe_lips, describe_motion
from engine.speech.filterbanks import filterbank_rows, log_mel
from engine.speech.vad import VoiceDetector, level_dbfs
from engine.types import FPS, SAMPLES_PER_FRAME, Clip, FaceTrack, Reason


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """What the gates of a whole clip look at."""

    duration_s: float
    has_audio: bool
    level_dbfs: float  # RMS over the sound that is there; -inf for digital silence
    n_faces: int  # tracks found
    n_cuts: int
    mouth_seen: float  # share of the clip's voiced frames in which some face is seen; 1 where nothing is voiced
    reasons: tuple[Reason, ...] = ()  # what reading the container found: FPS_VFR, TRUNCATED


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """What the gates of one face track look at, before anything is scored."""

    length_s: float
    speech_s: float  # seconds in which speech is heard and the face is seen
    mouth_seen: float  # share of the voiced frames of its shot in which a face is seen; 1 where nothing is voiced
    face_px: float  # median width of the face
    mouth_motion: float  # standard deviation of the lip gap during speech, over the distance of the outer eye corners


UPPER_LIP, LOWER_LIP = 13, 14  # middle of the inner lips
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners


@dataclass(frozen=True, slots=True, eq=False)
class FaceFeatures:
    """One face through one shot, as numbers."""

    start: int  # frame number of row 0
    lips: np.ndarray  # (T, F) float32, `lips.describe_lips`
    seen: np.ndarray  # (T,) bool: False means interpolated
    gap: np.ndarray  # (T,) float32: between the inner lips, over the distance of the outer eye corners
    face_px: float  # median width where seen
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB
    motion: np.ndarray  # (T, M) float32, `motion.describe_motion`
    mouths: np.ndarray | None = None  # (T, 96, 96) uint8, see `engine/faces/mouth_crops.py`; None: were not cut
    faces: AlignedFaces | None = None  # of these T frames; None: were not cut

    @property
    def end(self) -> int:
        """Frame number after the last row."""
        return self.start + len(self.seen)


@dataclass(frozen=True, slots=True, eq=False)
class AudioFeatures:
    """The sound of a clip, on the clock of its picture."""

    rows: np.ndarray  # (T, 160) float32, `speech.log_mel`
    voiced: np.ndarray  # (T,) bool: somebody speaks
    present: np.ndarray  # (T,) bool: the file has sound for the whole of this frame
    level_dbfs: float  # RMS of the sound that is present; -inf where it is all zero
    filterbank: np.ndarray | None = None  # (T, 104) float32, `speech.filterbank_rows`; None where no mouths were cut
    samples: np.ndarray | None = None  # (N,) float32, 16 kHz; None where it was not kept; never in the cache


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """A clip without its pictures and its sound."""

    name: str
    sha256: str
    n_frames: int  # T of the clip, at 25 Hz
    size_px: tuple[int, int]
    source_fps: float
    reasons: tuple[Reason, ...]  # what reading the container found
    audio: AudioFeatures
    tracks: tuple[FaceFeatures, ...]
    cuts: tuple[int, ...]  # first frame of each new shot
    timings_s: dict[str, float]
    first_mouths: np.ndarray | None = (
        None  # (T, 96, 96) uint8 of `speechforensics.select_first_face`; None: no face, or not cut
    )

    @property
    def has_mouths(self) -> bool:
        """What AV-HuBERT reads was kept, the mouths of every face included."""
        return self.audio.filterbank is not None and all(track.mouths is not None for track in self.tracks)

    @property
    def has_faces(self) -> bool:
        """The upright pictures of every face were kept."""
        return all(track.faces is not None for track in self.tracks)

    @property
    def duration_s(self) -> float:
        """Length of the picture."""
        return self.n_frames / FPS


def extract_audio(
    clip: Clip, voice: VoiceDetector, with_filterbank: bool = False, keep_audio: bool = False
) -> AudioFeatures:
    """Turn the clip's sound into rows, into AV-HuBERT's too where wanted, and tell where somebody speaks."""
    sounding = clip.audio[np.repeat(clip.audio_present, SAMPLES_PER_FRAME)]
    voiced = voice.find_speech(clip.audio) & clip.audio_present
    filterbank = filterbank_rows(clip.audio) if with_filterbank else None
    audio = clip.audio if keep_audio else None
    return AudioFeatures(log_mel(clip.audio), voiced, clip.audio_present, level_dbfs(sounding), filterbank, audio)


def extract_face(track: FaceTrack) -> FaceFeatures:
    """Turn a face track into numbers."""
    widths = (track.boxes[:, 2] - track.boxes[:, 0])[track.seen]
    gap = _distance(track.landmarks, UPPER_LIP, LOWER_LIP) / _distance(track.landmarks, RIGHT_EYE, LEFT_EYE)
    face_px = float(np.median(widths)) if len(widths) else 0.0
    return FaceFeatures(
        start=track.start,
        lips=describe_lips(track),
        seen=track.seen,
        gap=gap.astype(np.float32),
        face_px=face_px,
        thumbnail=track.thumbnail,
        motion=describe_motion(track),
    )


def measure_clip(observation: ClipFeatures) -> ClipQuality:
    """Give the gates of the clip their numbers."""
    heard = observation.audio
    return ClipQuality(
        duration_s=observation.duration_s,
        has_audio=bool(heard.present.any()),
        level_dbfs=heard.level_dbfs,
        n_faces=len(observation.tracks),
        n_cuts=len(observation.cuts),
        mouth_seen=_share(_any_seen(observation), heard.voiced),
        reasons=observation.reasons,
    )


def measure_track(observation: ClipFeatures, track: FaceFeatures) -> FaceQuality:
    """Give the gates of one face their numbers.

    A face that looks away for a second gives two tracks in one shot: the share of speech with a face is therefore taken
    over the whole shot and all its tracks, and over the track itself; the smaller counts.
    """
    voiced = observation.audio.voiced
    heard_here = voiced[track.start : track.end]
    shot = _shot(observation, track)
    speaking = track.seen & heard_here
    return FaceQuality(
        length_s=len(track.seen) / FPS,
        speech_s=int(speaking.sum()) / FPS,
        mouth_seen=min(_share(track.seen, heard_here), _share(_any_seen(observation)[shot], voiced[shot])),
        face_px=track.face_px,
        mouth_motion=float(track.gap[speaking].std()) if speaking.any() else 0.0,
    )


def _distance(landmarks: np.ndarray, one: int, other: int) -> np.ndarray:
    """(T,) pixels, in space, so that a turned head changes it little."""
    return np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=1)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """How much of `whole` is also `part`; 1 where there is none of it."""
    return float((part & whole).sum() / whole.sum()) if whole.any() else 1.0


def _any_seen(observation: ClipFeatures) -> np.ndarray:
    seen = np.zeros(observation.n_frames, bool)
    for track in observation.tracks:
        seen[track.start : track.end] |= track.seen
    return seen


def _shot(observation: ClipFeatures, track: FaceFeatures) -> slice:
    """Frames from the cut before the track to the cut after it."""
    start = max((cut for cut in observation.cuts if cut <= track.start), default=0)
    end = min((cut for cut in observation.cuts if cut >= track.end), default=observation.n_frames)
    return slice(start, end)
