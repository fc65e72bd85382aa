"""Losses of the first stage of SpeechForensics: frame-wise alignment and masked prediction of units."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.models.compact import Block, CompactMember

Streamed = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # hidden (B, T, W), embedding (B, T, D), weight (B, T)

CLIP_OFFSETS = 12  # offsets in frames, both ways, at which whole windows are compared
NEIGHBOUR = 0.1  # target weight of the audio of neighbouring frames


@dataclass(frozen=True, slots=True)
class AlignmentWeights:
    """Weights of the terms of the alignment loss; 0 switches one off."""

    within: float = 0.5  # audio of a frame against the other frames of the window
    across: float = 0.5  # against all frames of the batch, which speaker identity can solve as well
    offset: float = 0.5  # whole windows: the correct offset
    windows: float = 0.5  # whole windows: own against other audio, which speaker identity can solve as well


class AlignmentLoss(nn.Module):
    """Symmetric InfoNCE (van den Oord et al. 2018) within windows, across the batch, and over whole windows.

    The last term is the task of inference: the best mean similarity over offsets, for own against other voices, and the
    correct offset.
    """

    def __init__(self, weights: AlignmentWeights = AlignmentWeights()) -> None:
        super().__init__()
        self.weights = weights
        self.frame_scale = nn.Parameter(torch.tensor(2.5), requires_grad=weights.within + weights.across > 0)
        self.clip_scale = nn.Parameter(torch.tensor(3.6), requires_grad=weights.offset + weights.windows > 0)

    def forward(self, lips: Streamed, speech: Streamed, real: torch.Tensor) -> torch.Tensor:
        """Return the mean loss; `real` (B, T) bool marks frames with face and audio."""
        weights, loss = self.weights, lips[1].new_zeros(())
        if weights.within:
            loss = loss + weights.within * self._within(lips[1], speech[1], real)
        if weights.across:
            loss = loss + weights.across * self._across(lips[1][real], speech[1][real])
        if weights.offset or weights.windows:
            loss = loss + self._clips(lips, speech, real)
        return loss

    def _within(self, lips: torch.Tensor, speech: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        length = lips.shape[1]
        scores = torch.einsum("btd,bsd->bts", lips, speech) * self.frame_scale.exp()
        scores = scores.masked_fill(~(real[:, :, None] & real[:, None]), -30.0)
        ones = torch.ones(length - 1, device=lips.device) * NEIGHBOUR
        right = torch.eye(length, device=lips.device) + torch.diag(ones, 1) + torch.diag(ones, -1)
        right = right / right.sum(-1, keepdim=True)
        both = [-(right * F.log_softmax(way, -1)).sum(-1)[real].mean() for way in (scores, scores.transpose(1, 2))]
        return both[0] + both[1]

    def _across(self, lips: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
        scores = lips @ speech.T * self.frame_scale.exp()
        right = torch.arange(len(lips), device=lips.device)
        return F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)

    def _clips(self, lips: Streamed, speech: Streamed, real: torch.Tensor) -> torch.Tensor:
        scores = compare_windows(lips[1], lips[2] * real, speech[1], speech[2] * real) * self.clip_scale.exp()
        right = torch.arange(len(scores), device=scores.device)
        own = scores[right, right]  # (B, 2K+1)
        offset = F.cross_entropy(own, torch.full_like(right, CLIP_OFFSETS))
        best = torch.logsumexp(scores, -1)  # (B, B)
        windows = (F.cross_entropy(best, right) + F.cross_entropy(best.T, right)) / 2
        return self.weights.offset * offset + self.weights.windows * windows


def compare_windows(
    lips: torch.Tensor, lips_weight: torch.Tensor, speech: torch.Tensor, speech_weight: torch.Tensor
) -> torch.Tensor:
    """Return (B, B, 2K+1): weighted mean similarity of the face and audio of every pair of windows at every offset."""
    length, columns = lips.shape[1], []
    face, voice = lips * lips_weight[..., None], speech * speech_weight[..., None]
    for offset in range(-CLIP_OFFSETS, CLIP_OFFSETS + 1):
        at_face = slice(max(0, -offset), length - max(0, offset))
        at_voice = slice(max(0, offset), length - max(0, -offset))
        total = face[:, at_face].flatten(1) @ voice[:, at_voice].flatten(1).T
        columns.append(total / (lips_weight[:, at_face] @ speech_weight[:, at_voice].T + 1e-3))
    return torch.stack(columns, -1)


class MaskedPrediction(nn.Module):
    """Predict the unit of each frame from face, voice or both, with spans of the input masked.

    The hidden features of both streams are added, without dropped ones (modality dropout), and two further blocks add
    context: both modalities must represent a frame alike.
    """

    CONTEXT = (1, 2)

    def __init__(self, width: int, n_features: tuple[int, int], n_units: int, dropout: float):
        super().__init__()
        self.lips_mask = nn.Parameter(torch.zeros(n_features[0]))
        self.speech_mask = nn.Parameter(torch.zeros(n_features[1]))
        self.context = nn.Sequential(*(Block(width, d, dropout) for d in self.CONTEXT), nn.LayerNorm(width))
        self.units = nn.Linear(width, n_units)

    def forward(
        self, member: CompactMember, lips: torch.Tensor, speech: torch.Tensor, real: torch.Tensor, units: torch.Tensor,
        rng: np.random.Generator,
    ) -> torch.Tensor:  # fmt: skip
        """Return the mean cross-entropy over the real frames; `units` (B, L) int64."""
        size, length = real.shape
        lips = torch.where(_spans(size, length, 0.3, 5, rng).to(lips.device), self.lips_mask, lips)
        speech = torch.where(_spans(size, length, 0.5, 8, rng).to(speech.device), self.speech_mask, speech)
        kept = torch.from_numpy(rng.choice(3, size, p=[0.4, 0.3, 0.3])).to(lips.device)[:, None, None]
        hidden = member.lips(lips)[0] * (kept != 1) + member.speech(speech)[0] * (kept != 0)
        logits = self.units(self.context(hidden))
        reach = member.reach + sum(self.CONTEXT)
        inner = slice(reach, length - reach)
        return F.cross_entropy(logits[real[:, inner]], units[:, inner][real[:, inner]])


def _spans(size: int, length: int, share: float, span: int, rng: np.random.Generator) -> torch.Tensor:
    """Return (B, L, 1) bool: spans that cover about `share` of the frames, not counting overlaps."""
    masked = np.zeros((size, length, 1), bool)
    for row, count in zip(masked, rng.poisson(share * length / span, size), strict=True):
        for start in rng.integers(0, length, count):
            row[start : start + span] = True
    return torch.from_numpy(masked)
