"""Speech units, the targets of masked prediction: clusters of audio features, as in HuBERT and AV-HuBERT.

First of MFCCs, then of features of the network itself (Hsu et al. 2021, Shi et al. 2022).
"""

from collections.abc import Sequence

import faiss
import numpy as np
import torch

from engine.models.compact import MEL_SCALE, N_BANDS, N_SPEECH, CompactMember
from engine.training.clips import TrainingClip

N_UNITS = 100
N_CEPSTRA = 13


def cluster_mfcc(clips: Sequence[TrainingClip], seed: int) -> list[np.ndarray]:
    """Return (T,) int64 per clip: clusters of 13 MFCCs and their differences at 25 Hz."""
    k, n = np.arange(N_CEPSTRA)[:, None], np.arange(N_BANDS)[None]
    cosines = np.cos(np.pi / N_BANDS * (n + 0.5) * k)  # DCT-II
    rows = []
    for clip in clips:
        frames = (clip.mel - clip.mel.mean(0)).reshape(-1, 4, N_BANDS).mean(1)
        cepstra = frames @ cosines.T
        rows.append(np.hstack([cepstra, 2 * np.gradient(cepstra, axis=0)]))
    return _cluster(rows, seed)


@torch.inference_mode()
def cluster_hidden(clips: Sequence[TrainingClip], member: CompactMember, seed: int) -> list[np.ndarray]:
    """Return (T,) int64 per clip: clusters of the hidden features of the audio stream."""
    rows = []
    for clip in clips:
        mel = torch.from_numpy((clip.mel - clip.mel.mean(0)) * MEL_SCALE).reshape(1, -1, N_SPEECH).float()
        held = [mel[:, :1].expand(-1, member.reach, -1), mel, mel[:, -1:].expand(-1, member.reach, -1)]
        rows.append(member.speech(torch.cat(held, dim=1).to(next(member.parameters()).device))[0][0].cpu().numpy())
    return _cluster(rows, seed)


def _cluster(rows: list[np.ndarray], seed: int) -> list[np.ndarray]:
    spread = np.concatenate(rows).std(0) + 1e-6
    rows = [np.ascontiguousarray(row / spread, dtype=np.float32) for row in rows]
    means = faiss.Kmeans(rows[0].shape[1], N_UNITS, niter=20, seed=seed)
    means.train(np.concatenate(rows))
    return [means.index.search(row, 1)[1][:, 0].astype(np.int64) for row in rows]
