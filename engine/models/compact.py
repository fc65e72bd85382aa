"""Compact consistency model: a visual and an audio stream embed frames in one space.

Code MIT, weights trained by `wayspeak train consistency` (see docs/compact-model.md). A small version of the first
stage of SpeechForensics (Liang et al., NeurIPS 2024, https://arxiv.org/abs/2508.09913). Each stream is a stack of
residual dilated convolutions over time; in training they see real frames only (no zero padding), so that no stream can
learn the position within a window. Ensemble members of different seeds form one space.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.errors import WeightsDamaged
from engine.faces.landmark_features import MOUTH_SHAPES, N_FEATURES
from engine.types import Encoded, Evidence

N_BANDS = 40
N_SPEECH = 4 * N_BANDS
LIPS_GAP = 12  # rows in a run without evidence that count as real: face tracking interpolates as many
SPEECH_GAP = 4  # the same of the audio, as its padding at the ends of a file
CENTRE_WINDOW = 500  # frames of the running mean that is subtracted: it removes speaker and camera
POINT_SCALE, SHAPE_SCALE, MEL_SCALE = 10.0, 4.0, 1 / 3  # scale all inputs to about unit variance


class Block(nn.Module):
    """Residual dilated convolution with three taps; the output is shorter by two dilations."""

    def __init__(self, width: int, dilation: int, dropout: float):
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length, d = x.shape[1] - 2 * self.dilation, self.dilation
        y = self.norm(x)
        taps = torch.cat([y[:, :length], y[:, d : d + length], y[:, 2 * d :]], dim=-1)  # (B, T-2d, 3W)
        return x[:, d : d + length] + self.out(self.drop(F.gelu(self.mix(taps))))


class Stream(nn.Module):
    """One modality: (B, T, F) -> hidden (B, T-2R, W), unit embedding (B, T-2R, D), weight (B, T-2R)."""

    def __init__(self, n_features: int, width: int, dim: int, dilations: tuple[int, ...], dropout: float):
        super().__init__()
        self.inlet = nn.Linear(n_features, width)
        self.blocks = nn.ModuleList(Block(width, dilation, dropout) for dilation in dilations)
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, dim)
        self.weigh = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = self.inlet(x)
        for block in self.blocks:
            hidden = block(hidden)
        hidden = self.norm(hidden)
        weight = torch.sigmoid(self.weigh(hidden)[..., 0]) + 0.05
        return hidden, F.normalize(self.outlet(hidden), dim=-1), weight


class CompactMember(nn.Module):
    """Visual and audio stream, trained together."""

    def __init__(
        self, width: int = 144, dim: int = 96, dilations: tuple[int, ...] = (1, 2, 4, 8), dropout: float = 0.1
    ):
        super().__init__()
        self.lips = Stream(N_FEATURES, width, dim, dilations, dropout)
        self.speech = Stream(N_SPEECH, width, dim, dilations, dropout)
        self.reach = sum(dilations)  # R: receptive field on each side, frames


class CompactConsistency(nn.Module):
    """Ensemble: the cosine in the joint space is the mean of the cosines of its members."""

    def __init__(self, n_members: int = 2, **sizes: int):
        super().__init__()
        self.members = nn.ModuleList(CompactMember(**sizes) for _ in range(n_members))  # type: ignore[arg-type]

    @classmethod
    def of(cls, members: Sequence[CompactMember]) -> "CompactConsistency":
        """Build an ensemble from trained members."""
        model = cls(0)
        model.members.extend(members)
        return model.eval()

    @torch.inference_mode()
    def encode(self, lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
        """Embed a track; frames without evidence change neither means nor embeddings of the others.

        `lips` (T, 130) of `describe_lips` and `speech` (T, 160) of `log_mel` cover the same T frames.
        """
        device = next(self.parameters()).device
        seen, heard = (None, None) if evidence is None else (evidence.lips, evidence.speech)
        faces = torch.from_numpy(centre_lips(lips, seen)).to(device)[None]
        voices = torch.from_numpy(centre_speech(speech, heard)).to(device)[None]
        visual = [_run(member.lips, faces, member.reach) for member in self._all()]
        audio = [_run(member.speech, voices, member.reach) for member in self._all()]
        return Encoded(0, _join(visual), _join(audio), _mean_weight(visual), _mean_weight(audio))

    def embed_whole(self, lips: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embed each side alone: unit rows (T, D) and (T', D) of any lengths."""
        no_speech = np.zeros((len(lips), N_SPEECH), np.float32)
        no_lips = np.zeros((len(speech), N_FEATURES), np.float32)
        return self.encode(lips, no_speech).lips, self.encode(no_lips, speech).speech

    def _all(self) -> list[CompactMember]:
        return [member for member in self.members if isinstance(member, CompactMember)]


def load_compact(path: Path, device: str = "cpu") -> CompactConsistency:
    """Load the weights strictly; raises WeightsDamaged if keys or shapes differ from the model."""
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        n_members = 1 + max(int(name.split(".")[1]) for name in state)
        dim, width = state["members.0.lips.outlet.weight"].shape
        model = CompactConsistency(n_members, width=width, dim=dim)
        model.load_state_dict(state, strict=True)
    except (SafetensorError, RuntimeError, ValueError, IndexError, KeyError) as cause:
        raise WeightsDamaged(
            f"{path.name} does not hold the compact model: {cause}", "Reinstall Wayspeak, or train the model again."
        ) from cause
    return model.eval().to(device)


def centre_lips(lips: np.ndarray, real: np.ndarray | None = None) -> np.ndarray:
    """Subtract the running mean of the face and scale to about unit variance, (T, 130) float32.

    `real` (T,) bool: rows with evidence, by default all. Others enter no mean, and repeat the nearest real row, as the
    padding at the ends does, so that they do not reach the receptive field of their neighbours; but short
    runs count as real: LIPS_GAP.
    """
    kept = _keep_short_gaps(real, len(lips), LIPS_GAP)
    if not kept.all():
        return centre_lips(lips[kept])[_nearest(kept)]
    scale = np.full(N_FEATURES, POINT_SCALE, np.float32)
    scale[-len(MOUTH_SHAPES) :] = SHAPE_SCALE
    return ((lips - _running_mean(lips)) * scale).astype(np.float32)


def centre_speech(speech: np.ndarray, real: np.ndarray | None = None) -> np.ndarray:
    """Subtract the running mean spectrum (voice, channel) and scale to about unit variance, (T, 160) float32.

    `real` as in `centre_lips`, with SPEECH_GAP.
    """
    kept = _keep_short_gaps(real, len(speech), SPEECH_GAP)
    if not kept.all():
        return centre_speech(speech[kept])[_nearest(kept)]
    bands = speech.reshape(-1, N_BANDS)
    return ((bands - _running_mean(bands, 4 * CENTRE_WINDOW)) * MEL_SCALE).astype(np.float32).reshape(-1, N_SPEECH)


def _running_mean(rows: np.ndarray, window: int = CENTRE_WINDOW) -> np.ndarray:
    """Return the mean over the `window` rows around each row; over all rows if there are fewer."""
    if len(rows) <= window:
        return rows.mean(0, keepdims=True)
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
    first = np.clip(np.arange(len(rows)) - window // 2, 0, len(rows) - window)
    return (sums[first + window] - sums[first]) / window


def _keep_short_gaps(real: np.ndarray | None, length: int, gap: int) -> np.ndarray:
    """Return (T,) bool: the real rows and runs of up to `gap` others; all where none is real."""
    if real is None or not real.any():
        return np.ones(length, bool)
    kept = real.copy()
    for before, after in pairwise([-1, *np.flatnonzero(real).tolist(), length]):
        if after - before - 1 <= gap:
            kept[before + 1 : after] = True
    return kept


def _nearest(real: np.ndarray) -> np.ndarray:
    """Return (T,) int: for each row the nearest real one, counted among the real rows."""
    places = np.flatnonzero(real)
    middles = (places[1:] + places[:-1]) / 2
    return np.searchsorted(middles, np.arange(len(real)))


def _run(stream: Stream, rows: torch.Tensor, reach: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run a stream over (1, T, F) with edge padding, so that every frame has an output."""
    held = F.pad(rows.transpose(1, 2), (reach, reach), mode="replicate").transpose(1, 2)
    hidden, embedding, weight = stream(held)
    return hidden, embedding, weight


def _join(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> np.ndarray:
    joined = torch.cat([embedding[0] for _, embedding, _ in parts], dim=-1) / len(parts) ** 0.5
    return joined.cpu().numpy()


def _mean_weight(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> np.ndarray:
    return torch.stack([weight[0] for _, _, weight in parts]).mean(0).cpu().numpy()
