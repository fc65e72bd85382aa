"""The two tasks of SpeechForensics' first stage: frame-wise alignment and masked prediction of units."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.models.compact import Block, CompactMember

Streamed = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # hidden (B, T, W), embedding (B, T, D), weight (B, T)

CLIP_OFFSETS = 12  # frames each way over which a whole window is compared
NEIGHBOUR = 0.1  # how much the next frame's sound also counts as right


@dataclass(frozen=True, slots=True)
class AlignmentWeights:
    """How much each part of the alignment counts; 0 switches it off."""

    within: float = 0.5  # a frame's sound against the window's other frames
    across: float = 0.5  # against all frames of the batch: a face may be told from a voice by who it is
    offset: float = 0.5  # whole windows: which offset is right
    windows: float = 0.5  # whole windows: own sound against others', which who it is may tell too


class AlignmentLoss(nn.Module):
    """A frame's sound against the window's other frames, against all frames, and whole windows against each other.

    InfoNCE both ways (van den Oord et al. 2018). The last part is the product's own question: the best mean similarity
    over offsets, own voice against others', and which offset is right.
    """

    def __init__(self, weights: AlignmentWeights = AlignmentWeights()) -> None:
        super().__init__()
        self.weights = weights
        self.frame_scale = nn.Parameter(torch.tensor(2.5), requires_grad=weights.within + weights.across > 0)
        self.clip_scale = nn.Parameter(torch.tensor(3.6), requires_grad=weights.offset + weights.windows > 0)

    def forward(self, lips: Streamed, speech: Streamed, real: torch.Tensor) -> torch.Tensor:
        """Give the mean loss; `real` (B, T) bool."""
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
    """(B, B, 2K+1): weighted mean similarity of every window's face with every window's sound at every offset."""
    length, columns = lips.shape[1], []
    face, voice = lips * lips_weight[..., None], speech * speech_weight[..., None]
    for offset in range(-CLIP_OFFSETS, CLIP_OFFSETS + 1):
        at_face = slice(max(0, -offset), length - max(0, offset))
        at_voice = slice(max(0, offset), length - max(0, -offset))
        total = face[:, at_face].flatten(1) @ voice[:, at_voice].flatten(1).T
        columns.append(total / (lips_weight[:, at_face] @ speech_weight[:, at_voice].T + 1e-3))
    return torch.stack(columns, -1)


class MaskedPrediction(nn.Module):
    """Tell the unit of each frame from a face, a voice or both, with spans of the input masked out.

    The two streams' hidden rows are added, an absent one left out (modality dropout), and two further blocks look
    around: what one modality tells of a frame must be told in the same words as the other's.
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
        """Give the mean cross-entropy over the real frames; `units` (B, L) int64."""
        size, length = real.shape
        lips = torch.where(_spans(size, length, 0.3, 5, rng).to(lips.device), self.lips_mask, lips)
        speech = torch.where(_spans(size, length, 0.5, 8, rng).to(speech.device), self.speech_mask, speech)
        kept = torch.from_numpy(rng.choice(3, size, p=[0.4, 0.3, 0.3])).to(lips.device)[:, None, None]
        hidden = member.lips(lips)[0] * (kept != 1) + member.speech(speech)[0] * (kept != 0)
        told = self.units(self.context(hidden))
        reach = member.reach + sum(self.CONTEXT)
        inner = slice(reach, length - reach)
        return F.cross_entropy(told[real[:, inner]], units[:, inner][real[:, inner]])


def _spans(size: int, length: int, share: float, span: int, rng: np.random.Generator) -> torch.Tensor:
    """(B, L, 1) bool: about `share` of the frames (overlaps apart), in spans."""
    masked = np.zeros((size, length, 1), bool)
    for row, count in zip(masked, rng.poisson(share * length / span, size), strict=True):
        for start in rng.integers(0, length, count):
            row[start : start + span] = True
    return torch.from_numpy(masked)
