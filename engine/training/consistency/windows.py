"""Windows of real clips, varied so that a small network learns speech and not these few people, rooms and cameras."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.models.compact import MEL_SCALE, N_BANDS, N_SPEECH, centre_lips
from engine.training.clips import Spoken, TrainingClip


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How windows are drawn."""

    length: int = 75  # frames
    max_share: float = 0.4  # of the windows that one corpus may give
    speed: tuple[float, float] = (0.8, 1.25)  # face and voice together
    tract: tuple[float, float] = (0.85, 1.18)  # vocal tract length: the mel axis stretched
    mouth: tuple[float, float] = (0.6, 1.5)  # how far the lips move


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """A batch: B windows of L frames."""

    lips: np.ndarray  # (B, L, 130) float32
    speech: np.ndarray  # (B, L, 160) float32
    real: np.ndarray  # (B, L) bool
    units: np.ndarray  # (B, L) int64, cluster of each frame's sound


class ConsistencyWindows:
    """Draws batches of windows; a batch is a function of the clips, the options and its random generator alone."""

    def __init__(self, clips: Sequence[TrainingClip], options: WindowOptions):
        self._clips, self._options = clips, options
        self._lips = [centre_lips(clip.lips) for clip in clips]
        self._shares = share_clips(clips, options.max_share)

    def draw(self, size: int, rng: np.random.Generator, units: Sequence[np.ndarray]) -> WindowBatch:
        """Draw `size` windows; `units` holds one (T,) int array a clip."""
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
    """(C,) chance of each clip: by its seconds, up to 8, no corpus above `max_share` where there are enough of them."""
    weights = np.array([min(clip.seconds, 8.0) for clip in clips])
    corpora = np.array([clip.corpus for clip in clips])
    names = np.unique(corpora)
    cap = max(max_share, 1 / len(names))
    for _ in range(100):  # to cut one corpus raises the others' shares, so another may then be above
        before = weights.copy()
        for inside in (corpora == name for name in names):
            own, total = weights[inside].sum(), weights.sum()
            if total > own > cap * total * (1 + 1e-9):
                weights[inside] *= cap / (1 - cap) * (total - own) / own
        if (weights == before).all():
            break
    return weights / weights.sum()


def _sample(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows at fractional positions, linearly; the last row held beyond the end."""
    at = np.clip(at, 0, len(rows) - 1.001)
    below = at.astype(int)
    share = (at - below)[:, None].astype(np.float32)
    return rows[below] * (1 - share) + rows[below + 1] * share


def _vary_voice(mel: np.ndarray, mean: np.ndarray, rng: np.random.Generator, options: WindowOptions) -> np.ndarray:
    """(4L, 40): another vocal tract, a noise floor, another level and tone, a band lost."""
    mel, mean = vary_spectrum(mel, mean, rng, options.tract)
    mel = (mel - (mel.mean(0) if rng.random() < 0.5 else mean)) * (MEL_SCALE * rng.uniform(0.8, 1.25))
    if rng.random() < 0.3:
        first = rng.integers(0, N_BANDS - 6)
        mel[:, first : first + rng.integers(1, 7)] = 0
    return mel


def vary_spectrum(
    steps: np.ndarray, mean: np.ndarray, rng: np.random.Generator, tract: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Another vocal tract, the band axis stretched within `tract`, and a noise floor, each by chance.

    `steps` (S, bands) log power and `mean` (bands,) of the whole voice; both are given back changed.
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
    """(L, 130): another amplitude, jitter of the landmarks, smoothing, and uneven features."""
    lips = lips * rng.uniform(*options.mouth)
    if rng.random() < 0.5:
        lips = lips - lips.mean(0)
    if rng.random() < 0.5:
        lips = lips + rng.normal(0, rng.uniform(0, 0.12), lips.shape)
    if rng.random() < 0.3:
        lips[1:-1] = (lips[:-2] + 2 * lips[1:-1] + lips[2:]) / 4
    return lips * (1 + rng.normal(0, 0.1, lips.shape[1]))
