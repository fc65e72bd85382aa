"""DVP: an embedding of how a person moves while speaking, not of what they look like.

After "Dynamic Visual Speaking Patterns: You Are the Way You Speak" (OpenReview archive, 2025, id jGPFCNbqfV), of which
only the abstract is public: what follows from it is ours. Code MIT; weights trained by `wayspeak train dynamics` (see
docs/dynamics-model.md). The three parts:

1. Input: windows whose motion was distorted are pushed away from every speaker (`training/distortions.py`), and a
   second outlet tells how natural the motion is.
2. Feature: pictures become 8 x 8 block cosines over time less their mean, beside blendshapes and head pose.
3. Learning: a gradient reversal layer against a head that reads the face's appearance off the embedding.

AV-HuBERT has no part in it: its licence forbids that.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.errors import WeightsDamaged
from engine.faces.face_crops import N_POINTS, SIZE, AlignedFaces
from engine.faces.landmark_features import N_POSE, N_SHAPES
from engine.models.compact import Block
from engine.weights.licences import Use, load_for

BLOCK = 8
N_COSINES = 6  # of each block, the lowest
N_BANDS = (SIZE // BLOCK) ** 2 * N_COSINES
N_PIXELS = 16 * 16  # of a face shrunk: what stands in for the cosines when that part is off
MIN_FRAMES = 25
SPECTRUM = 64  # frames, zeros behind the window: as many temporal frequencies as the window has frames


@dataclass(frozen=True, slots=True)
class DVPOptions:
    """The size of the network and which parts of the feature it has."""

    width: int = 96
    dim: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.15
    n_shapes: int = (
        0  # of the principal directions of the blendshapes; the net that reads them colours them by the face
    )
    n_points: int = 12  # of those of the landmarks
    n_bands: int = 8  # of those of the pictures
    window: int = 31  # frames
    frequency: bool = True  # block cosines; off: pixels
    centred: bool = True  # the window's mean is taken out; off: the face at rest stays in
    spectrum: bool = False  # sizes of the window's temporal frequencies in place of its frames
    n_appearance: int = 16  # numbers that the adversary must read off the embedding

    @property
    def n_rows(self) -> int:
        """Numbers a frame that the network reads."""
        return self.n_shapes + self.n_points + N_POSE + self.n_bands


@dataclass(frozen=True, slots=True, eq=False)
class StyleWindowSet:
    """The windows of a track."""

    vectors: np.ndarray  # (n, D) float32, unit rows
    evidence: np.ndarray  # (n,) float32: log-odds that the motion is natural
    starts: np.ndarray  # (n,) int: first row of each


class ReverseGradient(torch.autograd.Function):
    """Ganin and Lempitsky 2015: forwards the identity, backwards the gradient times minus `strength`."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, strength: float) -> torch.Tensor:
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -context.strength * gradients[0], None


class Pooling(nn.Module):
    """Attentive statistics over time (Okabe et al. 2018): (B, T, W) -> (B, 2W)."""

    def __init__(self, width: int):
        super().__init__()
        self.attend = nn.Sequential(nn.Linear(width, 48), nn.Tanh(), nn.Linear(48, width))
        self.norm = nn.BatchNorm1d(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = self.attend(x).softmax(1)
        mean = (share * x).sum(1)
        spread = ((share * (x - mean[:, None]).square()).sum(1) + 1e-4).sqrt()
        pooled: torch.Tensor = self.norm(torch.cat([mean, spread], dim=-1))
        return pooled


class StyleMember(nn.Module):
    """One network: rows of a window to a unit vector, evidence of natural motion, and what it tells of the face."""

    def __init__(self, options: DVPOptions):
        super().__init__()
        width = options.width
        self.centred, self.spectrum = options.centred, options.spectrum
        self.inlet = nn.Linear(2 * options.n_rows, width)
        self.blocks = nn.ModuleList(Block(width, dilation, options.dropout) for dilation in options.dilations)
        self.drop = nn.Dropout(options.dropout)
        self.who, self.how = Pooling(width), Pooling(width)
        self.outlet = nn.Linear(2 * width, options.dim)
        self.natural = nn.Sequential(nn.Linear(2 * width, 32), nn.GELU(), nn.Linear(32, 1))
        self.appearance = nn.Sequential(nn.Linear(options.dim, 64), nn.GELU(), nn.Linear(64, options.n_appearance))

    def forward(self, rows: torch.Tensor, strength: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, T, R) -> unit vectors (B, D), evidence (B,), appearance (B, A) behind a reversed gradient."""
        if self.centred:
            rows = rows - rows.mean(1, keepdim=True)
        if self.spectrum:
            rows = (torch.fft.rfft(rows, n=SPECTRUM, dim=1).abs()[:, 1:] + 1e-3).log()
        change = 1.5 * (rows[:, 2:] - rows[:, :-2])
        hidden = self.inlet(self.drop(torch.cat([rows[:, 1:-1], change], dim=-1)))
        for block in self.blocks:
            hidden = block(hidden)
        vectors = F.normalize(self.outlet(self.who(hidden)), dim=-1)
        evidence = self.natural(self.how(hidden))[:, 0]
        return vectors, evidence, self.appearance(ReverseGradient.apply(vectors, strength))


class DVP(nn.Module):
    """The members side by side, and what turns motion and pictures into their rows."""

    shape_basis: torch.Tensor  # (52, n_shapes)
    point_basis: torch.Tensor  # (216, n_points)
    pose_scale: torch.Tensor  # (6,)
    band_basis: torch.Tensor  # (N_BANDS or N_PIXELS, n_bands)
    natural: torch.Tensor  # (3,): mean evidence of untouched clips, its deviation between clips and within them

    def __init__(self, options: DVPOptions, n_members: int = 1):
        super().__init__()
        self.options = options
        n_inputs = N_BANDS if options.frequency else N_PIXELS
        self.members = nn.ModuleList(StyleMember(options) for _ in range(n_members))
        self.register_buffer("shape_basis", torch.zeros(N_SHAPES, options.n_shapes))
        self.register_buffer("point_basis", torch.zeros(2 * N_POINTS, options.n_points))
        self.register_buffer("pose_scale", torch.ones(N_POSE))
        self.register_buffer("band_basis", torch.zeros(n_inputs, options.n_bands))
        self.register_buffer("natural", torch.tensor([0.0, 1.0, 1.0]))

    @classmethod
    def of(cls, members: Sequence[StyleMember], bases: "DVP") -> "DVP":
        """Put trained members side by side, with the bases that they were trained on."""
        model = cls(bases.options, 0)
        model.members.extend(members)
        for name, buffer in bases.named_buffers(recurse=False):
            model.register_buffer(name, buffer.clone())
        return model.eval()

    def describe(self, motion: np.ndarray, faces: AlignedFaces) -> np.ndarray:
        """(T, R) float32: rows of `motion` (T, 58) and of the upright faces of as many frames, on about unit spread."""
        looks = describe_pictures(faces.pictures, self.options.frequency)
        points = faces.points.reshape(len(faces.points), -1)
        parts = [
            motion[:, :N_SHAPES] @ self.shape_basis.cpu().numpy(),
            motion[:, N_SHAPES:] * self.pose_scale.cpu().numpy(),
            points @ self.point_basis.cpu().numpy(),
            looks @ self.band_basis.cpu().numpy(),
        ]
        return np.hstack(parts).astype(np.float32)

    @torch.inference_mode()
    def look(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embed windows of rows (n, T, R): unit vectors (n, D) and evidence (n,)."""
        device = self.band_basis.device
        vectors, evidence = [], []
        for first in range(0, len(windows), 256):
            batch = torch.from_numpy(windows[first : first + 256]).to(device)
            told = [member(batch) for member in self.members]
            vectors.append(torch.cat([one[0] for one in told], dim=-1) / len(told) ** 0.5)
            evidence.append(torch.stack([one[1] for one in told]).mean(0))
        return torch.cat(vectors).cpu().numpy(), torch.cat(evidence).cpu().numpy()

    def embed(self, motion: np.ndarray, faces: AlignedFaces, seen: np.ndarray) -> StyleWindowSet:
        """Embed a track of T frames, window by window; `seen` (T,) bool.

        A window counts where 25 of its frames are seen; a track shorter than that gives none.
        """
        length = min(self.options.window, len(seen))
        starts = place_windows(len(seen), length)
        starts = np.array([s for s in starts if seen[s : s + length].sum() >= MIN_FRAMES], int)
        if not len(starts):
            dim = self.options.dim * len(self.members)
            return StyleWindowSet(np.zeros((0, dim), np.float32), np.zeros(0, np.float32), starts)
        rows = [self.describe(motion[s : s + length], faces[s : s + length]) for s in starts]
        vectors, evidence = self.look(np.stack([fill_window(own, self.options.window) for own in rows]))
        return StyleWindowSet(vectors, evidence, starts)


def place_windows(n_frames: int, length: int) -> np.ndarray:
    """First frames of as many windows side by side as fit, spread evenly; none where not one fits."""
    n = n_frames // length if length else 0
    return np.linspace(0, n_frames - length, n).round().astype(int) if n else np.zeros(0, int)


def fill_window(rows: np.ndarray, length: int) -> np.ndarray:
    """(length, R): rows (T, R), mirrored at the end where they are fewer."""
    return rows if len(rows) >= length else np.pad(rows, ((0, length - len(rows)), (0, 0)), mode="reflect")


def describe_pictures(pictures: np.ndarray, frequency: bool = True) -> np.ndarray:
    """Turn upright faces (T, 64, 64) uint8 into (T, 384) block cosines, or (T, 256) pixels, at one brightness."""
    plain = pictures.astype(np.float32)
    plain = (plain - plain.mean()) / (plain.std() + 1e-3)
    n_frames, n_blocks = len(plain), SIZE // BLOCK
    if not frequency:
        side = SIZE // 16
        return plain.reshape(n_frames, 16, side, 16, side).mean((2, 4)).reshape(n_frames, -1)
    blocks = plain.reshape(n_frames, n_blocks, BLOCK, n_blocks, BLOCK).transpose(0, 1, 3, 2, 4)
    return (blocks.reshape(n_frames, n_blocks**2, BLOCK**2) @ _COSINES).reshape(n_frames, -1)


def load_dvp(path: Path, device: str = "cpu") -> DVP:
    """Load the weights strictly; WeightsDamaged where they are not this model's, WeightsForbidden where not allowed."""
    state = load_for(Use.SPEAKER, path)
    try:
        with safe_open(path, "pt") as file:
            options = _read_options(file.metadata() or {})
        model = DVP(options, 1 + max(int(name.split(".")[1]) for name in state if name.startswith("members.")))
        model.load_state_dict(
            {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        )
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as cause:
        raise WeightsDamaged(
            f"{path.name} does not hold the model of speaking styles: {cause}",
            "Reinstall Wayspeak, or train the model anew.",
        ) from cause
    return model.eval().to(device)


def write_options(options: DVPOptions) -> dict[str, str]:
    """Write the options as the header of a safetensors file keeps them."""
    return {"options": json.dumps(asdict(options))}


def _read_options(metadata: dict[str, str]) -> DVPOptions:
    plain = json.loads(metadata["options"])
    return DVPOptions(**{**plain, "dilations": tuple(plain["dilations"])})


def _make_cosines() -> np.ndarray:
    """(64, 6): the lowest two-dimensional cosines of an 8 x 8 block, orthonormal, as in JPEG."""
    at, order = np.arange(BLOCK), np.arange(3)[:, None]
    waves = np.cos(np.pi * (at + 0.5) * order / BLOCK) * np.where(order == 0, 1, 2**0.5) / BLOCK**0.5  # (3, 8)
    lowest = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    return np.stack([np.outer(waves[i], waves[j]).ravel() for i, j in lowest], axis=1).astype(np.float32)


_COSINES = _make_cosines()
