"""Units for masked prediction: k-means clusters of MFCCs first, then of features of the last network.

As in HuBERT and AV-HuBERT (Hsu et al. 2021, Shi et al. 2022), fitted to a sample of the frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from engine.faces.mouth_crops import normalise_for_avhubert
from engine.models.avhubert import AVHubert
from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert.preprocessing import PreprocessedClip, read_cepstra, read_window

PIECE = 400  # frames per forward pass
BATCH_ROWS = 10_000  # of mini-batch k-means, as published
RESTARTS = 5

Describe = Callable[[PreprocessedClip], np.ndarray]
"""`describe(clip) -> (T, F) float32`, one row per frame."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Options for clustering."""

    n_units: int = 100
    max_rows: int = 1_000_000  # frames to fit
    layer: int | None = None  # encoder layer to cluster, from 1; None: MFCCs


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Cluster centres of features with zero mean and unit variance."""

    mean: np.ndarray  # (F,) float32
    deviation: np.ndarray  # (F,) float32
    centres: np.ndarray  # (n_units, F) float32

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name, for saving."""
        return {"mean": self.mean, "deviation": self.deviation, "centres": self.centres}

    def assign(self, rows: np.ndarray) -> np.ndarray:
        """Return (T,) int16: the nearest centre of each row (T, F)."""
        scaled = (rows - self.mean) / self.deviation
        apart = np.square(self.centres).sum(1) - 2 * scaled @ self.centres.T
        return apart.argmin(1).astype(np.int16)


def fit_clusters(clips: Sequence[PreprocessedClip], describe: Describe, options: ClusterOptions, seed: int) -> Clusters:
    """Fit k-means to frames of random clips; raise ValueError if there are fewer frames than units."""
    order, rows, n_rows = np.random.default_rng(seed).permutation(len(clips)), [], 0
    for which in order:
        rows.append(describe(clips[which]))
        n_rows += len(rows[-1])
        if n_rows >= options.max_rows:
            break
    if n_rows < options.n_units:
        raise ValueError(f"{n_rows} frames for {options.n_units} units, need at least one frame per unit")
    frames = np.concatenate(rows)
    mean, deviation = frames.mean(0), frames.std(0) + 1e-6
    means = MiniBatchKMeans(options.n_units, n_init=RESTARTS, batch_size=BATCH_ROWS, random_state=seed)
    means.fit((frames - mean) / deviation)
    return Clusters(*(np.asarray(one, np.float32) for one in (mean, deviation, means.cluster_centers_)))


def describe_cepstra(clip: PreprocessedClip) -> np.ndarray:
    """Return (T, 39): MFCCs and differences, minus their mean over the clip, which is of speaker and room."""
    cepstra = read_cepstra(clip)
    return cepstra - cepstra.mean(0)


def describe_by(model: AVHubert, layer: int) -> Describe:
    """Describe frames by the output of encoder layer `layer` (from 1), from face and voice."""
    device = model.layer_norm.weight.device
    kept: list[torch.Tensor] = []

    @torch.inference_mode()
    def describe(clip: PreprocessedClip) -> np.ndarray:
        model.eval()
        hook = model.encoder.layers[layer - 1].register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            for first in range(0, clip.length, PIECE):
                cut = read_window(clip, first, min(first + PIECE, clip.length))
                video = torch.from_numpy(normalise_for_avhubert(cut.mouths)).to(device)[None, None]
                model(video, torch.from_numpy(normalise_rows(cut.energies)).to(device).T[None])
            return torch.cat([rows[0] for rows in kept]).float().cpu().numpy()
        finally:
            hook.remove()
            kept.clear()

    return describe
