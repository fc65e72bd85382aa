"""Features of a clip: the expensive part of an analysis, which the cache keeps.

Scoring a clip again with other offsets, gates or weights needs only these features, not the file or the networks that
computed them. Mouth crops and filterbanks (AV-HuBERT) and aligned faces (speaking style) are optional.
"""

from dataclasses import dataclass, field

import numpy as np

from engine.faces.face_crops import AlignedFaces
from engine.faces.landmark_features import describe_lips, describe_motion
from engine.features.evidence import find_frozen, find_gain, find_heard, find_muted
from engine.speech.filterbanks import filterbank_rows, log_mel
from engine.speech.vad import VoiceDetector, level_dbfs
from engine.types import FPS, SAMPLES_PER_FRAME, Clip, FaceTrack, MediaReport, Reason, fill_rows, no_rows


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """Measurements that the gates of a whole clip check."""

    duration_s: float
    has_audio: bool
    level_dbfs: float  # RMS of the speech, without any of all audio; -inf for digital silence
    n_faces: int  # tracks found
    n_cuts: int
    mouth_seen: float  # share of the clip's voiced frames with a visible face; 1 if no frame is voiced
    reasons: tuple[Reason, ...] = ()  # found while reading the container: FPS_VFR, TRUNCATED
    has_speech: bool = False


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Measurements that the gates of one face track check before scoring."""

    length_s: float
    speech_s: float  # seconds with speech and a visible mouth in a moving picture
    mouth_seen: float  # share of the voiced frames of its shot with a visible face; 1 if no frame is voiced
    face_px: float  # median width of the face
    mouth_motion: float  # standard deviation of the lip gap during speech, over the distance of the outer eye corners
    covered_s: float = 0.0  # seconds with speech and a visible face with a covered mouth
    frozen_s: float = 0.0  # seconds with speech and a held picture of the face


UPPER_LIP, LOWER_LIP = 13, 14  # middle of the inner lips
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners


@dataclass(frozen=True, slots=True, eq=False)
class FaceFeatures:
    """Features of one face through one shot."""

    start: int  # frame number of row 0
    lips: np.ndarray  # (T, F) float32, `landmark_features.describe_lips`
    seen: np.ndarray  # (T,) bool: False means interpolated
    gap: np.ndarray  # (T,) float32: between the inner lips, over the distance of the outer eye corners
    face_px: float  # median width where seen
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB
    motion: np.ndarray  # (T, M) float32, `landmark_features.describe_motion`
    mouths: np.ndarray | None = None  # (T, 96, 96) uint8, see `engine/faces/mouth_crops.py`; None: not cut
    faces: AlignedFaces | None = None  # of these T frames; None: not cut
    covered: np.ndarray = field(default_factory=no_rows)  # (T,) bool: mouth covered; default: never

    frozen: np.ndarray = field(default_factory=no_rows)  # (T,) bool, `evidence.find_frozen`; default: never

    def __post_init__(self) -> None:
        fill_rows(self, "covered", len(self.seen))
        fill_rows(self, "frozen", len(self.seen))

    @property
    def end(self) -> int:
        """Frame number after the last row."""
        return self.start + len(self.seen)

    @property
    def clear(self) -> np.ndarray:
        """(T,) bool: frames that are evidence, with a visible and uncovered mouth in a moving picture."""
        return self.seen & ~self.covered & ~self.frozen


@dataclass(frozen=True, slots=True, eq=False)
class AudioFeatures:
    """Audio features of a clip, one row per video frame."""

    rows: np.ndarray  # (T, 160) float32, `filterbanks.log_mel`
    voiced: np.ndarray  # (T,) bool: speech
    present: np.ndarray  # (T,) bool: the file has audio for the whole frame
    level_dbfs: float  # RMS of the speech as recorded, without any of all audio; -inf if all zero
    filterbank: np.ndarray | None = None  # (T, 104) float32, `filterbanks.filterbank_rows`; None if no mouths were cut
    samples: np.ndarray | None = None  # (N,) float32, 16 kHz; None if not kept; never in the cache
    muted: np.ndarray = field(default_factory=no_rows)  # (T,) bool, `evidence.find_muted`; default: never

    def __post_init__(self) -> None:
        fill_rows(self, "muted", len(self.present))

    @property
    def heard(self) -> np.ndarray:
        """(T,) bool: frames that are evidence, recorded and no long pause."""
        return find_heard(self.present & ~self.muted, self.voiced)


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """Features of a clip, without its frames."""

    name: str
    sha256: str
    n_frames: int  # T of the clip, at 25 Hz
    size_px: tuple[int, int]
    source_fps: float
    reasons: tuple[Reason, ...]  # found while reading the container
    audio: AudioFeatures
    tracks: tuple[FaceFeatures, ...]
    cuts: tuple[int, ...]  # first frame of each new shot
    timings_s: dict[str, float]
    first_mouths: np.ndarray | None = None  # (T, 96, 96) uint8, `crop_plan.choose_first_face`; None: no face or not cut
    media: MediaReport = field(default_factory=MediaReport)  # what of the file these features are of
    channels: tuple[tuple[str, AudioFeatures], ...] = ()  # further channels of the audio track, judged apart

    @property
    def has_mouths(self) -> bool:
        """Return whether the inputs of AV-HuBERT exist: the filterbank and the mouths of every face."""
        return self.audio.filterbank is not None and all(track.mouths is not None for track in self.tracks)

    @property
    def has_faces(self) -> bool:
        """Return whether the aligned crops of every face exist."""
        return all(track.faces is not None for track in self.tracks)

    @property
    def duration_s(self) -> float:
        """Length of the video in seconds."""
        return self.n_frames / FPS


def extract_audio(
    clip: Clip, voice: VoiceDetector, with_filterbank: bool = False, keep_audio: bool = False
) -> AudioFeatures:
    """Compute the log-mel rows, the voiced frames and, on request, the AV-HuBERT filterbank of a clip.

    Quiet sound is amplified for log-mel, which has a floor, and for voice activity detection.
    """
    present, gain = clip.audio_present, find_gain(clip.audio)
    audio = clip.audio if gain == 1 else np.clip(gain * clip.audio, -1, 1)
    muted = find_muted(audio)
    voiced = voice.find_speech(audio) & present & ~muted
    counted = voiced if voiced.any() else present
    return AudioFeatures(
        rows=log_mel(audio),
        voiced=voiced,
        present=present,
        level_dbfs=level_dbfs(clip.audio[np.repeat(counted, SAMPLES_PER_FRAME)]),
        filterbank=filterbank_rows(clip.audio) if with_filterbank else None,
        samples=clip.audio if keep_audio else None,
        muted=muted,
    )


def extract_face(track: FaceTrack) -> FaceFeatures:
    """Compute the features of a face track."""
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
        covered=track.covered,
        frozen=find_frozen(track.landmarks),
    )


def measure_clip(features: ClipFeatures) -> ClipQuality:
    """Measure what the gates of the clip check."""
    audio = features.audio
    return ClipQuality(
        duration_s=features.duration_s,
        has_audio=bool(audio.present.any()),
        level_dbfs=audio.level_dbfs,
        n_faces=len(features.tracks),
        n_cuts=len(features.cuts),
        mouth_seen=_share(_any_seen(features), audio.voiced),
        reasons=features.reasons,
        has_speech=bool(audio.voiced.any()),
    )


def measure_track(features: ClipFeatures, track: FaceFeatures) -> FaceQuality:
    """Measure what the gates of one face check.

    A face that turns away for a second becomes two tracks of one shot. `mouth_seen` is therefore the smaller of two
    shares: over the track, and over the whole shot with all its tracks.
    """
    voiced = features.audio.voiced
    voiced_here = voiced[track.start : track.end]
    shot = _shot(features, track)
    speaking = track.clear & voiced_here
    return FaceQuality(
        length_s=len(track.seen) / FPS,
        speech_s=int(speaking.sum()) / FPS,
        mouth_seen=min(_share(track.seen, voiced_here), _share(_any_seen(features)[shot], voiced[shot])),
        face_px=track.face_px,
        mouth_motion=float(track.gap[speaking].std()) if speaking.any() else 0.0,
        covered_s=int((track.seen & track.covered & voiced_here).sum()) / FPS,
        frozen_s=int((track.seen & track.frozen & ~track.covered & voiced_here).sum()) / FPS,
    )


def _distance(landmarks: np.ndarray, one: int, other: int) -> np.ndarray:
    """Return the (T,) distance in pixels, in 3D, so that head rotation changes it little."""
    return np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=1)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the share of `whole` that is also `part`; 1 if `whole` is empty."""
    return float((part & whole).sum() / whole.sum()) if whole.any() else 1.0


def _any_seen(features: ClipFeatures) -> np.ndarray:
    seen = np.zeros(features.n_frames, bool)
    for track in features.tracks:
        seen[track.start : track.end] |= track.seen
    return seen


def _shot(features: ClipFeatures, track: FaceFeatures) -> slice:
    """Return the frames from the cut before the track to the cut after it."""
    start = max((cut for cut in features.cuts if cut <= track.start), default=0)
    end = min((cut for cut in features.cuts if cut >= track.end), default=features.n_frames)
    return slice(start, end)
