"""Find the frames that are no evidence: digital silence, long pauses, a held picture; and the gain of quiet speech.

A muted microphone, room tone, a frozen call or a card says nothing about whether a face and a voice belong together.
Bounds were measured on 51 real clips of 20 corpora, see docs/compact-model.md.
"""

import numpy as np
from scipy.ndimage import binary_dilation, maximum_filter1d, minimum_filter1d

from engine.faces.landmark_features import CHIN, LIPS, STABLE
from engine.types import FPS, SAMPLES_PER_FRAME

MUTED_PEAK = 2 / 32768  # largest sample of digital silence: decoders leave a residue, dither is one step
MIN_MUTED = 5  # frames; shorter silence may be a closure within a word, or the padding at the ends of a file
MAX_PAUSE = 60  # frames without speech; a longer pause is room tone
PAUSE_MARGIN = 3  # frames of such a pause next to speech that count as speech: its soft ends
MIN_FROZEN = FPS // 2 + 1  # frames of a held picture; repeated frames of a low picture rate are fewer
FROZEN_MOTION = 0.003  # eye distances within MIN_FROZEN frames: held pictures 0.002, filmed faces 0.0045 and more

QUIET_DBFS = -45.0  # level of the loudest frames below which a sound is amplified; ordinary speech is at -35 and more
USUAL_DBFS = -20.0
MAX_GAIN_DB = 60.0


def find_muted(audio: np.ndarray) -> np.ndarray:
    """Return (T,) bool: frames in at least MIN_MUTED of digital silence; `audio` (640 T,)."""
    return _keep_long(_peaks(audio) <= MUTED_PEAK, MIN_MUTED)


def find_heard(recorded: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Return (T,) bool: frames of recorded sound, without pauses of MAX_PAUSE and more between or around speech."""
    if not voiced.any():
        return recorded
    near = binary_dilation(voiced, iterations=PAUSE_MARGIN)
    heard: np.ndarray = recorded & ~_keep_long(~near, MAX_PAUSE - 2 * PAUSE_MARGIN)
    return heard


def find_frozen(landmarks: np.ndarray) -> np.ndarray:
    """Return (T,) bool: frames in at least MIN_FROZEN of a held picture; `landmarks` (T, 478, 3) in pixels.

    A filmed face always moves a little, and landmarks of a compressed still picture hardly do.
    """
    if len(landmarks) < MIN_FROZEN:
        return np.zeros(len(landmarks), bool)
    points = landmarks[:, LIPS + CHIN + STABLE, :2].reshape(len(landmarks), -1)
    eyes_px = np.median(np.linalg.norm(landmarks[:, STABLE[0]] - landmarks[:, STABLE[3]], axis=1))
    spread = maximum_filter1d(points, MIN_FROZEN, axis=0) - minimum_filter1d(points, MIN_FROZEN, axis=0)
    still = spread.max(1) < FROZEN_MOTION * eyes_px
    still[: MIN_FROZEN // 2] = still[-(MIN_FROZEN // 2) :] = False  # windows beyond the ends of the track
    frozen: np.ndarray = binary_dilation(still, np.ones(MIN_FROZEN, bool))
    return frozen


def find_gain(audio: np.ndarray) -> float:
    """Return the factor that raises quiet sound to the usual level; 1 for ordinary and for silent sound."""
    frames = audio.reshape(-1, SAMPLES_PER_FRAME)
    levels = np.einsum("ts,ts->t", frames, frames)[_peaks(audio) > MUTED_PEAK] / SAMPLES_PER_FRAME
    loudest_dbfs = 10 * np.log10(np.percentile(levels, 95)) if len(levels) else 0.0
    if loudest_dbfs >= QUIET_DBFS:
        return 1.0
    return float(10 ** (min(USUAL_DBFS - loudest_dbfs, MAX_GAIN_DB) / 20))


def _peaks(audio: np.ndarray) -> np.ndarray:
    frames = audio.reshape(-1, SAMPLES_PER_FRAME)
    peaks: np.ndarray = np.maximum(frames.max(1), -frames.min(1))  # no copy of the sound of hours
    return peaks


def _keep_long(mask: np.ndarray, length: int) -> np.ndarray:
    """Return (T,) bool: the runs of at least `length` frames."""
    kept = np.zeros(len(mask), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        kept[first:last] = last - first >= length
    return kept
