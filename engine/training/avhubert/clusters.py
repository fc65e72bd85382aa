"""The units that masked prediction tells: clusters of cepstra first, then of what the last network has learnt.

As in HuBERT and AV-HuBERT (Hsu et al. 2021, Shi et al. 2022), by k-means over a share of the frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from engine.faces.mouth_crops import normalise_for_avhubert
from engine.models.avhubert import AVHubert
from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert.preprocessing import PreprocessedClip, cut_reel, read_cepstra

PIECE = 400  # frames that pass the network at once
BATCH_ROWS = 10_000  # of mini-batch k-means, as published
RESTARTS = 5

Describe = Callable[[PreprocessedClip], np.ndarray]
"""`describe(reel) -> (T, F) float32`, one row a frame over its length."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How units are found."""

    n_units: int = 100
    max_rows: int = 1_000_000  # frames that k-means is fitted to
    layer: int | None = None  # whose output is clustered, 1 the first; None: cepstra


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Centres in a space where every feature has mean 0 and deviation 1 over all clips."""

    mean: np.ndarray  # (F,) float32
    deviation: np.ndarray  # (F,) float32
    centres: np.ndarray  # (n_units, F) float32

    def arrays(self) -> dict[str, np.ndarray]:
        """Give everything by name, to be kept."""
        return {"mean": self.mean, "deviation": self.deviation, "centres": self.centres}

    def assign(self, rows: np.ndarray) -> np.ndarray:
        """(T,) int16: the nearest centre of each row (T, F)."""
        scaled = (rows - self.mean) / self.deviation
        apart = np.square(self.centres).sum(1) - 2 * scaled @ self.centres.T
        return apart.argmin(1).astype(np.int16)


def fit_clusters(reels: Sequence[PreprocessedClip], describe: Describe, options: ClusterOptions, seed: int) -> Clusters:
    """Fit k-means to the frames of clips drawn at random until there are enough; ValueError with too few frames."""
    order, rows, n_rows = np.random.default_rng(seed).permutation(len(reels)), [], 0
    for which in order:
        rows.append(describe(reels[which]))
        n_rows += len(rows[-1])
        if n_rows >= options.max_rows:
            break
    if n_rows < options.n_units:
        raise ValueError(f"{n_rows} frames for {options.n_units} units, wanted more frames than units")
    frames = np.concatenate(rows)
    mean, deviation = frames.mean(0), frames.std(0) + 1e-6
    means = MiniBatchKMeans(options.n_units, n_init=RESTARTS, batch_size=BATCH_ROWS, random_state=seed)
    means.fit((frames - mean) / deviation)
    return Clusters(*(np.asarray(one, np.float32) for one in (mean, deviation, means.cluster_centers_)))


def describe_cepstra(reel: PreprocessedClip) -> np.ndarray:
    """(T, 39): cepstra and their differences, less their mean over the clip, which is the speaker's and the room's."""
    cepstra = read_cepstra(reel)
    return cepstra - cepstra.mean(0)


def describe_by(model: AVHubert, layer: int) -> Describe:
    """Let a network describe the frames by the output of its `layer`, face and voice both given."""
    device = model.layer_norm.weight.device
    kept: list[torch.Tensor] = []

    @torch.inference_mode()
    def describe(reel: PreprocessedClip) -> np.ndarray:
        model.eval()
        hook = model.encoder.layers[layer - 1].register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            for first in range(0, reel.length, PIECE):
                cut = cut_reel(reel, first, min(first + PIECE, reel.length))
                video = torch.from_numpy(normalise_for_avhubert(cut.mouths)).to(device)[None, None]
                model(video, torch.from_numpy(normalise_rows(cut.energies)).to(device).T[None])
            return torch.cat([rows[0] for rows in kept]).float().cpu().numpy()
        finally:
            hook.remove()
            kept.clear()

    return describe
