"""Draw augmented windows of real clips, so that a small network learns speech and not few people, rooms and cameras."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.models.compact import MEL_SCALE, N_BANDS, N_SPEECH, centre_lips
from engine.training.clips import Spoken, TrainingClip


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How windows are drawn."""

    length: int = 75  # frames
    max_share: float = 0.4  # largest share of windows of one corpus
    speed: tuple[float, float] = (0.8, 1.25)  # of face and voice together
    tract: tuple[float, float] = (0.85, 1.18)  # vocal tract length: scale of the mel axis
    mouth: tuple[float, float] = (0.6, 1.5)  # amplitude of lip motion


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """A batch of B windows with L frames."""

    lips: np.ndarray  # (B, L, 130) float32
    speech: np.ndarray  # (B, L, 160) float32
    real: np.ndarray  # (B, L) bool
    units: np.ndarray  # (B, L) int64: unit of each frame


class ConsistencyWindows:
    """Draws batches of windows; a batch depends only on the clips, the options and its random generator."""

    def __init__(self, clips: Sequence[TrainingClip], options: WindowOptions):
        self._clips, self._options = clips, options
        self._lips = [centre_lips(clip.lips) for clip in clips]
        self._shares = share_clips(clips, options.max_share)

    def draw(self, size: int, rng: np.random.Generator, units: Sequence[np.ndarray]) -> WindowBatch:
        """Draw `size` windows; `units` has one (T,) int array per clip."""
        chosen = rng.choice(len(self._clips), size=size, p=self._shares)
        parts = [self._cut(self._clips[i], self._lips[i], units[i], rng) for i in chosen]
        lips, speech, real, labels = (np.stack(part) for part in zip(*parts, strict=True))
        return WindowBatch(lips.astype(np.float32), speech.astype(np.float32), real, labels.astype(np.int64))

    def _cut(
        self, clip: TrainingClip, lips: np.ndarray, units: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        length, n_frames = self._options.length, len(clip.real)
        speed = rng.uniform(*self._options.speed)
        start = rng.uniform(0, max(n_frames - length * speed, 1e-3))
        at = start + np.arange(length) * speed
        nearest = np.clip(np.round(at).astype(int), 0, n_frames - 1)
        real = (at <= n_frames - 1) & clip.real[nearest]
        lips = _sample(lips, at)
        mel = _sample(clip.mel, 4 * start + np.arange(4 * length) * speed)
        speech = _vary_voice(mel, clip.mel.mean(0), rng, self._options).reshape(length, N_SPEECH)
        return _vary_face(lips, rng, self._options), speech, real, units[nearest]


def share_clips(clips: Sequence[Spoken], max_share: float) -> np.ndarray:
    """Return (C,) sampling probabilities: by seconds, up to 8, no corpus above `max_share` if there are enough."""
    weights = np.array([min(clip.seconds, 8.0) for clip in clips])
    corpora = np.array([clip.corpus for clip in clips])
    names = np.unique(corpora)
    cap = max(max_share, 1 / len(names))
    for _ in range(100):  # reducing one corpus raises the shares of the others, so that another may exceed the cap
        before = weights.copy()
        for inside in (corpora == name for name in names):
            own, total = weights[inside].sum(), weights.sum()
            if total > own > cap * total * (1 + 1e-9):
                weights[inside] *= cap / (1 - cap) * (total - own) / own
        if (weights == before).all():
            break
    return weights / weights.sum()


def _sample(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate rows linearly at fractional positions; the last row is repeated beyond the end."""
    at = np.clip(at, 0, len(rows) - 1.001)
    below = at.astype(int)
    share = (at - below)[:, None].astype(np.float32)
    return rows[below] * (1 - share) + rows[below + 1] * share


def _vary_voice(mel: np.ndarray, mean: np.ndarray, rng: np.random.Generator, options: WindowOptions) -> np.ndarray:
    """Return (4L, 40): vary vocal tract, noise floor, level and mean spectrum, and mask a band, each at random."""
    mel, mean = vary_spectrum(mel, mean, rng, options.tract)
    mel = (mel - (mel.mean(0) if rng.random() < 0.5 else mean)) * (MEL_SCALE * rng.uniform(0.8, 1.25))
    if rng.random() < 0.3:
        first = rng.integers(0, N_BANDS - 6)
        mel[:, first : first + rng.integers(1, 7)] = 0
    return mel


def vary_spectrum(
    steps: np.ndarray, mean: np.ndarray, rng: np.random.Generator, tract: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Scale the band axis within `tract` (vocal tract length) and add a noise floor, each at random.

    `steps` (S, bands) is log power and `mean` (bands,) its mean over the clip; returns both, changed.
    """
    n_bands = len(mean)
    if rng.random() < 0.7:
        bands = np.clip(np.arange(n_bands) * rng.uniform(*tract), 0, n_bands - 1.01)
        steps, mean = _sample(steps.T, bands).T, _sample(mean[:, None], bands)[:, 0]
    if rng.random() < 0.6:
        colour = mean if rng.random() < 0.5 else mean.mean()
        floor = colour + rng.uniform(-5, 0.5) + np.linspace(rng.normal(), rng.normal(), n_bands)
        steps = np.logaddexp(steps, np.log(rng.exponential(1, steps.shape) + 1e-3) + floor)
        mean = np.logaddexp(mean, floor)
    return steps, mean


def _vary_face(lips: np.ndarray, rng: np.random.Generator, options: WindowOptions) -> np.ndarray:
    """Return (L, 130): vary the amplitude, add landmark jitter, smooth, and scale features, each at random."""
    lips = lips * rng.uniform(*options.mouth)
    if rng.random() < 0.5:
        lips = lips - lips.mean(0)
    if rng.random() < 0.5:
        lips = lips + rng.normal(0, rng.uniform(0, 0.12), lips.shape)
    if rng.random() < 0.3:
        lips[1:-1] = (lips[:-2] + 2 * lips[1:-1] + lips[2:]) / 4
    return lips * (1 + rng.normal(0, 0.1, lips.shape[1]))
