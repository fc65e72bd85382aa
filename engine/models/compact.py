"""The compact consistency model: a visual and an audio stream into one space, frame by frame.

Ours: code MIT, weights trained by `wayspeak train consistency` (see docs/compact-model.md). After the first stage of
SpeechForensics (Liang et al., NeurIPS 2024, https://arxiv.org/abs/2508.09913) at a small
scale. Each stream is a stack of residual dilated convolutions over time; in training they see real frames only (no
zero padding), so no stream can tell where in a window it stands. Members trained from different seeds form one space.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.errors import WeightsDamaged
from engine.faces.landmark_features import MOUTH_SHAPES, N_FEATURES
from engine.types import Encoded

N_BANDS = 40
N_SPEECH = 4 * N_BANDS
CENTRE_WINDOW = 500  # frames over which the mean is taken out: what a speaker and a camera have of their own
POINT_SCALE, SHAPE_SCALE, MEL_SCALE = 10.0, 4.0, 1 / 3  # bring all inputs to about unit spread


class Block(nn.Module):
    """A residual convolution of three taps, `dilation` frames apart; its output is shorter by two dilations."""

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
    """A visual and an audio stream trained together."""

    def __init__(
        self, width: int = 144, dim: int = 96, dilations: tuple[int, ...] = (1, 2, 4, 8), dropout: float = 0.1
    ):
        super().__init__()
        self.lips = Stream(N_FEATURES, width, dim, dilations, dropout)
        self.speech = Stream(N_SPEECH, width, dim, dilations, dropout)
        self.reach = sum(dilations)  # R: frames on each side that an output frame sees


class CompactConsistency(nn.Module):
    """The members side by side: the cosine in the joint space is the mean of theirs."""

    def __init__(self, n_members: int = 2, **sizes: int):
        super().__init__()
        self.members = nn.ModuleList(CompactMember(**sizes) for _ in range(n_members))  # type: ignore[arg-type]

    @classmethod
    def of(cls, members: Sequence[CompactMember]) -> "CompactConsistency":
        """Put trained members side by side."""
        model = cls(0)
        model.members.extend(members)
        return model.eval()

    @torch.inference_mode()
    def encode(self, lips: np.ndarray, speech: np.ndarray) -> Encoded:
        """Embed a track.

        `lips` (T, 130) of `lips.describe_lips`, `speech` (T, 160) of `speech.log_mel`, the same T frames.
        """
        device = next(self.parameters()).device
        faces = torch.from_numpy(centre_lips(lips)).to(device)[None]
        voices = torch.from_numpy(centre_speech(speech)).to(device)[None]
        seen = [_run(member.lips, faces, member.reach) for member in self._all()]
        heard = [_run(member.speech, voices, member.reach) for member in self._all()]
        return Encoded(0, _join(seen), _join(heard), _mean_weight(seen), _mean_weight(heard))

    def embed_whole(self, lips: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embed each side alone: unit rows (T, D) and (T', D) of any lengths."""
        no_speech = np.zeros((len(lips), N_SPEECH), np.float32)
        no_lips = np.zeros((len(speech), N_FEATURES), np.float32)
        return self.encode(lips, no_speech).lips, self.encode(no_lips, speech).speech

    def _all(self) -> list[CompactMember]:
        return [member for member in self.members if isinstance(member, CompactMember)]


def load_compact(path: Path, device: str = "cpu") -> CompactConsistency:
    """Load the weights strictly; `WeightsDamaged` where keys or shapes are not this model's."""
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        n_members = 1 + max(int(name.split(".")[1]) for name in state)
        dim, width = state["members.0.lips.outlet.weight"].shape
        model = CompactConsistency(n_members, width=width, dim=dim)
        model.load_state_dict(state, strict=True)
    except (SafetensorError, RuntimeError, ValueError, IndexError, KeyError) as cause:
        raise WeightsDamaged(
            f"{path.name} does not hold the compact model: {cause}", "Reinstall Wayspeak, or train the model anew."
        ) from cause
    return model.eval().to(device)


def centre_lips(lips: np.ndarray) -> np.ndarray:
    """(T, 130) float32: the rows less the face's own mean, on about unit spread."""
    scale = np.full(N_FEATURES, POINT_SCALE, np.float32)
    scale[-len(MOUTH_SHAPES) :] = SHAPE_SCALE
    return ((lips - _running_mean(lips)) * scale).astype(np.float32)


def centre_speech(speech: np.ndarray) -> np.ndarray:
    """(T, 160) float32: the log-mel rows less the voice's and the channel's mean spectrum, on about unit spread."""
    bands = speech.reshape(-1, N_BANDS)
    return ((bands - _running_mean(bands, 4 * CENTRE_WINDOW)) * MEL_SCALE).astype(np.float32).reshape(-1, N_SPEECH)


def _running_mean(rows: np.ndarray, window: int = CENTRE_WINDOW) -> np.ndarray:
    """Mean over the `window` rows around each row; of all rows where there are fewer."""
    if len(rows) <= window:
        return rows.mean(0, keepdims=True)
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
    first = np.clip(np.arange(len(rows)) - window // 2, 0, len(rows) - window)
    return (sums[first + window] - sums[first]) / window


def _run(stream: Stream, rows: torch.Tensor, reach: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run a stream over (1, T, F) with the first and the last row held, so that every frame has an output."""
    held = F.pad(rows.transpose(1, 2), (reach, reach), mode="replicate").transpose(1, 2)
    hidden, embedding, weight = stream(held)
    return hidden, embedding, weight


def _join(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> np.ndarray:
    joined = torch.cat([embedding[0] for _, embedding, _ in parts], dim=-1) / len(parts) ** 0.5
    return joined.cpu().numpy()


def _mean_weight(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> np.ndarray:
    return torch.stack([weight[0] for _, _, weight in parts]).mean(0).cpu().numpy()
