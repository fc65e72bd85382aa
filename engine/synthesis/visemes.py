"""Phonemes to motion of lips, jaw, lids and head with given speaking manner parameters.

Each phoneme has a target mouth shape; neighbours blend by dominance, so that vowels colour adjacent consonants while
closures are always reached (Cohen & Massaro 1993, "Modeling coarticulation in synthetic visual speech"). Motion is
independent of portrait and audio.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from engine.synthesis.tts import Phoneme
from engine.types import FPS

# IPA sound -> (open, spread, tuck, strength): open -0.3 pressed to 1 wide; spread -1 rounded to 1 wide;
# tuck 0 to 1, lower lip under the upper teeth; strength, dominance of the target.
_MOUTHS: dict[str, tuple[float, float, float, float]] = {
    **dict.fromkeys("aɑ", (0.95, 0.2, 0.0, 1.0)),
    "æ": (0.85, 0.5, 0.0, 1.0),
    **dict.fromkeys("ʌɐ", (0.65, 0.1, 0.0, 1.0)),
    **dict.fromkeys("əᵻ", (0.4, 0.1, 0.0, 0.6)),
    **dict.fromkeys("ɜɚ", (0.45, -0.3, 0.0, 0.9)),
    **dict.fromkeys("ɛe", (0.6, 0.5, 0.0, 1.0)),
    "ɪ": (0.4, 0.5, 0.0, 0.9),
    "i": (0.3, 0.8, 0.0, 1.0),
    **dict.fromkeys("ɔɒ", (0.75, -0.5, 0.0, 1.0)),
    "o": (0.5, -0.8, 0.0, 1.1),
    "ʊ": (0.3, -0.7, 0.0, 1.0),
    "u": (0.2, -1.0, 0.0, 1.2),
    "w": (0.08, -1.0, 0.0, 2.5),
    **dict.fromkeys("mbp", (-0.25, 0.0, 0.0, 4.5)),
    **dict.fromkeys("fv", (0.0, 0.1, 1.0, 4.0)),
    **dict.fromkeys("θð", (0.28, 0.2, 0.0, 1.0)),
    **dict.fromkeys("tdnlɾsz", (0.2, 0.25, 0.0, 0.8)),
    **dict.fromkeys("ʃʒ", (0.25, -0.7, 0.0, 1.6)),
    **dict.fromkeys("ɹr", (0.25, -0.55, 0.0, 1.0)),
    "j": (0.2, 0.6, 0.0, 0.8),
    **dict.fromkeys("kɡgŋh", (0.32, 0.1, 0.0, 0.35)),
}
_REST = (-0.02, 0.0, 0.0, 0.8)
NOD_SIGMA = 2.0  # frames: the head is slower than the jaw


@dataclass(frozen=True, slots=True)
class Manner:
    """Speaking manner parameters: they change the motion of the same phonemes."""

    openness: float = 1.0  # gain of jaw and lips
    roundness: float = 1.0  # gain of spreading and rounding
    blend_s: float = 0.045  # reach of a phoneme into its neighbours
    lead_s: float = 0.05  # lips before audio
    head_deg: float = 2.5  # size of head turns
    head_hz: float = 0.35  # rate of head turns
    blinks_per_min: float = 14.0
    seed: int = 0  # of head and blinks
    lag_s: float = 0.0  # lips after jaw
    skew: float = 0.0  # -1 to 1: how much further the left of the mouth goes than its right
    nod_deg: float = 0.0  # pitch of the head as the jaw opens by 1


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Face motion, one row per frame at 25 fps."""

    open: np.ndarray  # (T,) -0.3 lips pressed, 0 closed, 1 wide open
    spread: np.ndarray  # (T,) -1 rounded, 1 wide
    tuck: np.ndarray  # (T,) 1: lower lip under the upper teeth
    blink: np.ndarray  # (T,) 1: eyes shut
    turn_deg: np.ndarray  # (T, 3) yaw, pitch, roll
    shift: np.ndarray  # (T, 2) of the head, in eye distances
    skew: float = 0.0  # -1 to 1: how much further the left of the mouth goes than its right

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.open)


def move_face(phonemes: tuple[Phoneme, ...], n_frames: int, manner: Manner | None = None) -> Motion:
    """Generate motion: lips follow the phonemes, head and lids are random."""
    manner = manner or Manner()
    times_s = np.arange(n_frames) / FPS + manner.lead_s
    jaw = _blend_mouths(phonemes, times_s, manner.blend_s)  # (T, 3)
    lips = _blend_mouths(phonemes, times_s - manner.lag_s, manner.blend_s) if manner.lag_s else jaw
    opened = np.clip(jaw[:, 0] * manner.openness, -0.3, 1.2)
    rng = np.random.default_rng(manner.seed)
    turn, shift = _move_head(n_frames, manner, rng)
    turn[:, 1] += manner.nod_deg * gaussian_filter1d(opened, NOD_SIGMA)
    return Motion(
        open=opened,
        spread=np.clip(lips[:, 1] * manner.roundness, -1.2, 1.2),
        tuck=np.clip(lips[:, 2], 0.0, 1.0),
        blink=_blink(n_frames, manner, rng),
        turn_deg=turn,
        shift=shift,
        skew=manner.skew,
    )


def _blend_mouths(phonemes: tuple[Phoneme, ...], times_s: np.ndarray, blend_s: float) -> np.ndarray:
    """(T, 3) open, spread, tuck: the mean of all targets, weighted by dominance at each time."""
    parts = [part for phoneme in phonemes for part in _split(phoneme)]
    targets = np.array([part[2] for part in parts])  # (P, 4)
    centres = np.array([(part[0] + part[1]) / 2 for part in parts])
    reach = np.array([(part[1] - part[0]) / 2 for part in parts]) + blend_s
    apart = (times_s[:, None] - centres) / reach
    dominance = targets[:, 3] * np.exp(-2.0 * apart**2) + 1e-9  # (T, P)
    return dominance @ targets[:, :3] / dominance.sum(axis=1, keepdims=True)


def _split(phoneme: Phoneme) -> list[tuple[float, float, tuple[float, float, float, float]]]:
    """Return (start_s, end_s, mouth) of each sound: two for a diphthong, the rest shape for a pause."""
    mouths = [_MOUTHS[sound] for sound in phoneme.name if sound in _MOUTHS] or [_REST]
    edges = np.linspace(phoneme.start_s, phoneme.end_s, len(mouths) + 1)
    return [(float(a), float(b), mouth) for a, b, mouth in zip(edges, edges[1:], mouths, strict=False)]


def _move_head(n_frames: int, manner: Manner, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) degrees and (T, 2) eye distances: sums of slow sine waves."""
    times_s = np.arange(n_frames) / FPS
    hz = manner.head_hz * rng.uniform(0.4, 1.6, size=(5, 3))
    phase = rng.uniform(0, 2 * np.pi, size=(5, 3))
    size = rng.uniform(0.3, 1.0, size=(5, 3))
    waves = (size * np.sin(2 * np.pi * hz * times_s[:, None, None] + phase)).sum(2) / size.sum(1)  # (T, 5) within 1
    turn = waves[:, :3] * manner.head_deg * np.array([1.6, 1.0, 0.8])
    return turn, waves[:, 3:] * 0.012 * manner.head_deg


def _blink(n_frames: int, manner: Manner, rng: np.random.Generator) -> np.ndarray:
    """(T,) blinks at random times: closed within two frames, open within four."""
    closing = np.array([0.5, 1.0, 1.0, 0.7, 0.35, 0.1])
    lids = np.zeros(n_frames + len(closing))
    at = 0.0
    while manner.blinks_per_min > 0:
        at += 0.6 + rng.exponential(60.0 / manner.blinks_per_min)
        if at * FPS >= n_frames:
            break
        frame = int(at * FPS)
        lids[frame : frame + len(closing)] = np.maximum(lids[frame : frame + len(closing)], closing)
    return lids[:n_frames]
