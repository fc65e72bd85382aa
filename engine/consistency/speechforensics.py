"""SpeechForensics to the letter: the paper's one face, its comparison of two streams, and its one score for a clip.

Liang et al., "SpeechForensics: Audio-Visual Speech Representation Learning for Face Forgery Detection", NeurIPS 2024,
https://arxiv.org/abs/2508.09913; after its `evaluate.py`. The first 50 s of picture and sound pass AV-HuBERT whole,
each by itself; rows are brought to unit length; where the lengths differ, rows of the picture are dropped or repeated
until there are as many as of sound; the sound gets 15 rows of zeros at either end; the score is the best over 31
offsets of the mean cosine, zeros included, so an offset k costs |k| / T of it. No window, no weight, and no refusal for
want of speech.

What is not to the letter here, and why:
- Landmarks are our mesh's, at the same places (`mouths.MESH_POINTS`), in place of RetinaFace's and FAN's.
- "The first face" is FAN's first of each single frame there. Here it is the largest and longest face of the clip, in
  frames without it the next one, so that the order of detections does not make it jump between two people. Between
  frames with a face its rows run on a straight line, before the first and after the last they stay, as there.
- Pictures are cut straight from the decoded video at 25 frames a second, by presentation time; there the crops pass
  through PNG and H.264 once more, and the rate is converted by FFmpeg.
- Sound lies on the clock of the picture: one that begins late keeps its place, where FFmpeg's WAV drops the gap. Sound
  that ends before the picture is cut there and the picture's rows are resampled, as in the letter; sound that goes on
  after the picture is cut with it, where the letter would stretch the picture. The last 25 ms window before 50 s hears
  the sound that follows.
"""

from dataclasses import replace

import numpy as np

from engine.consistency.offsets import PLAIN_MEAN, Consistency, FramePairs, measure_clarity
from engine.features.crop_plan import MAX_FRAMES, choose_first_face, join_rows
from engine.features.records import ClipFeatures, FaceFeatures
from engine.types import FPS, Encoded, SyncCurve

REACH = 15  # frames: the sound is tried from 15 early to 15 late


def measure_as_paper(video: np.ndarray, audio: np.ndarray) -> Consistency:
    """Score features of a clip's picture (T, D) and of its sound (T', D), as long as each is; neither is empty.

    The figures that the paper does not have are None, and there is no timeline; `clarity` alone is told besides, from
    the real pairs of the same rows.
    """
    video, audio = video[:MAX_FRAMES], audio[:MAX_FRAMES]
    curve = compare_as_paper(video, audio)
    score, offset = _find_best(curve)
    return Consistency(
        score=score,
        offset_s=offset / FPS,
        dynamic_score=None,
        drift_s=None,
        beyond_s=None,
        clarity=_measure_clarity(video, audio, offset),
        curve=curve,
        windows=(),
    )


def find_paper_offset(video: np.ndarray, audio: np.ndarray) -> tuple[float, int]:
    """Give the score and the offset in frames that `measure_as_paper` would, and nothing else."""
    return _find_best(compare_as_paper(video[:MAX_FRAMES], audio[:MAX_FRAMES]))


def compare_as_paper(video: np.ndarray, audio: np.ndarray) -> SyncCurve:
    """Mean cosine of picture (T, D) and sound (T', D) at each offset, over all T' frames, zeros beyond the sound."""
    n_frames = len(audio)
    rows = to_unit(resample_rows(video, n_frames))
    padded = np.pad(to_unit(audio), ((REACH, REACH), (0, 0)))  # (T' + 30, D)
    shifts = range(2 * REACH + 1)
    similarity = [np.einsum("td,td->t", rows, padded[k : k + n_frames]).mean() for k in shifts]
    offsets = np.arange(-REACH, REACH + 1)
    return SyncCurve(
        (offsets / FPS).astype(np.float32),
        np.array(similarity, np.float32),
        np.maximum(n_frames - np.abs(offsets), 0),
    )


def resample_rows(rows: np.ndarray, length: int) -> np.ndarray:
    """Take `length` of the rows (T, D) at even distances, first and last included, as the reference does."""
    if len(rows) == length:
        return rows
    return rows[np.linspace(0, len(rows) - 1, length).astype(int)]


def follow_first_face(seen: ClipFeatures) -> FaceFeatures | None:
    """Give the clip's one face from its first frame on, for 50 s at most; None where no face is ever seen."""
    chosen = choose_first_face(seen.tracks, seen.n_frames)
    if (chosen < 0).all():
        return None
    starts, kept = [track.start for track in seen.tracks], slice(0, MAX_FRAMES)
    main = seen.tracks[np.bincount(chosen[chosen >= 0]).argmax()]
    return FaceFeatures(
        start=0,
        lips=join_rows(chosen, starts, [track.lips for track in seen.tracks])[kept].astype(np.float32),
        seen=(chosen >= 0)[kept],
        gap=join_rows(chosen, starts, [track.gap for track in seen.tracks])[kept].astype(np.float32),
        face_px=main.face_px,
        thumbnail=main.thumbnail,
        motion=join_rows(chosen, starts, [track.motion for track in seen.tracks])[kept].astype(np.float32),
        mouths=seen.first_mouths,
    )


def count_sound(present: np.ndarray) -> int:
    """Frames up to the last with sound; `present` (T,) bool."""
    return int(np.flatnonzero(present)[-1]) + 1 if present.any() else 0


def _find_best(curve: SyncCurve) -> tuple[float, int]:
    best = int(np.argmax(curve.similarity))
    return float(curve.similarity[best]), best - REACH


def _measure_clarity(video: np.ndarray, audio: np.ndarray, offset: int) -> float:
    ones, everywhere = np.ones(len(audio), np.float32), np.ones(len(audio), bool)
    encoded = Encoded(0, to_unit(resample_rows(video, len(audio))), to_unit(audio), ones, ones)
    background = FramePairs.of(encoded, everywhere, replace(PLAIN_MEAN, max_offset=PLAIN_MEAN.background_offset))
    return measure_clarity(background.curve(0, len(audio)), offset, PLAIN_MEAN.peak_reach)


def to_unit(rows: np.ndarray) -> np.ndarray:
    """(T, D): each row over its length."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
