"""SpeechForensics as published: one face, two streams and one score for a clip (paper mode).

Liang et al., "SpeechForensics: Audio-Visual Speech Representation Learning for Face Forgery Detection", NeurIPS 2024,
https://arxiv.org/abs/2508.09913; after its `evaluate.py`. AV-HuBERT embeds the first 50 s of video and audio in one
pass, each stream alone; embeddings are normalised; where the lengths differ, video frames are dropped or repeated to
the length of the audio; the audio is padded with 15 zero frames at both ends; the score is the maximum over 31 offsets
of the mean cosine, zeros included, so an offset k costs |k| / T of it. No windows, no weights, no refusal for too
little speech.

Differences from the published code:
- Landmarks are those of our mesh at the same places (`mouth_crops.MESH_POINTS`), not RetinaFace's and FAN's.
- "The first face" is FAN's first detection in each frame there. Here it is the largest and longest face of the clip,
  and in frames without it the next one, so that the order of detections cannot alternate between two people. Between
  frames with a face the features are interpolated linearly, before the first and after the last they are held, as
  there.
- Crops come from the decoded video at 25 fps by presentation time; there they pass through PNG and H.264 once more,
  and FFmpeg converts the rate.
- Audio is on the clock of the video: audio that begins late keeps its place, where FFmpeg's WAV drops the gap. Audio
  that ends before the video ends the comparison and the video is resampled, as published; audio beyond the video is
  cut, where the published code would stretch the video. The last 25 ms window before 50 s includes the audio after it.
"""

from dataclasses import replace

import numpy as np

from engine.consistency.offsets import PLAIN_MEAN, Consistency, FramePairs, measure_prominence
from engine.features.crop_plan import MAX_FRAMES, choose_first_face, join_rows
from engine.features.records import ClipFeatures, FaceFeatures
from engine.types import FPS, Encoded, Evidence, SyncCurve

MAX_OFFSET = 15  # frames: search from audio 15 early to 15 late


def measure_speechforensics(video: np.ndarray, audio: np.ndarray) -> Consistency:
    """Score video (T, D) and audio (T', D) embeddings of a clip, neither empty.

    Measurements that the paper lacks are None and the timeline is empty, except `prominence`, which comes from the
    real pairs of the same embeddings.
    """
    video, audio = video[:MAX_FRAMES], audio[:MAX_FRAMES]
    curve = correlate_offsets(video, audio)
    score, offset = _find_best(curve)
    return Consistency(
        score=score,
        offset_s=offset / FPS,
        dynamic_score=None,
        drift_s=None,
        beyond_s=None,
        prominence=_measure_prominence(video, audio, offset),
        curve=curve,
        windows=(),
    )


def find_speechforensics_offset(video: np.ndarray, audio: np.ndarray) -> tuple[float, int]:
    """Return the score and the offset in frames of `measure_speechforensics` alone."""
    return _find_best(correlate_offsets(video[:MAX_FRAMES], audio[:MAX_FRAMES]))


def correlate_offsets(video: np.ndarray, audio: np.ndarray) -> SyncCurve:
    """Mean cosine of video (T, D) and audio (T', D) at each offset over all T' frames, with zeros beyond the audio."""
    n_frames = len(audio)
    rows = normalise_rows(resample_rows(video, n_frames))
    padded = np.pad(normalise_rows(audio), ((MAX_OFFSET, MAX_OFFSET), (0, 0)))  # (T' + 30, D)
    shifts = range(2 * MAX_OFFSET + 1)
    similarity = [np.einsum("td,td->t", rows, padded[k : k + n_frames]).mean() for k in shifts]
    offsets = np.arange(-MAX_OFFSET, MAX_OFFSET + 1)
    return SyncCurve(
        (offsets / FPS).astype(np.float32),
        np.array(similarity, np.float32),
        np.maximum(n_frames - np.abs(offsets), 0),
    )


def resample_rows(rows: np.ndarray, length: int) -> np.ndarray:
    """Take `length` of the rows (T, D) at even distances, first and last included, as the published code does."""
    if len(rows) == length:
        return rows
    return rows[np.linspace(0, len(rows) - 1, length).astype(int)]


def select_first_face(features: ClipFeatures) -> FaceFeatures | None:
    """Return the clip's one face from its first frame on, 50 s at most; None where no frame shows a face."""
    chosen = choose_first_face(features.tracks, features.n_frames)
    if (chosen < 0).all():
        return None
    starts, kept = [track.start for track in features.tracks], slice(0, MAX_FRAMES)
    main = features.tracks[np.bincount(chosen[chosen >= 0]).argmax()]
    return FaceFeatures(
        start=0,
        lips=join_rows(chosen, starts, [track.lips for track in features.tracks])[kept].astype(np.float32),
        seen=(chosen >= 0)[kept],
        gap=join_rows(chosen, starts, [track.gap for track in features.tracks])[kept].astype(np.float32),
        face_px=main.face_px,
        thumbnail=main.thumbnail,
        motion=join_rows(chosen, starts, [track.motion for track in features.tracks])[kept].astype(np.float32),
        mouths=features.first_mouths,
    )


def count_audio_frames(present: np.ndarray) -> int:
    """Count the frames up to the last with audio; `present` (T,) bool."""
    return int(np.flatnonzero(present)[-1]) + 1 if present.any() else 0


def _find_best(curve: SyncCurve) -> tuple[float, int]:
    best = int(np.argmax(curve.similarity))
    return float(curve.similarity[best]), best - MAX_OFFSET


def _measure_prominence(video: np.ndarray, audio: np.ndarray, offset: int) -> float:
    ones, everywhere = np.ones(len(audio), np.float32), Evidence.both(np.ones(len(audio), bool))
    encoded = Encoded(0, normalise_rows(resample_rows(video, len(audio))), normalise_rows(audio), ones, ones)
    background = FramePairs.of(encoded, everywhere, replace(PLAIN_MEAN, max_offset=PLAIN_MEAN.background_offset))
    return measure_prominence(background.curve(0, len(audio)), offset, PLAIN_MEAN.peak_reach)


def normalise_rows(rows: np.ndarray) -> np.ndarray:
    """Scale each row of (T, D) to unit length."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
