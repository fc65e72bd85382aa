"""DVP: speaker embedding from the speaking style (facial motion), not from appearance.

After "Dynamic Visual Speaking Patterns: You Are the Way You Speak" (OpenReview archive, 2025, id jGPFCNbqfV). Only its
abstract is public; the design is ours. Code MIT; weights trained by `wayspeak train dynamics` (see
docs/dynamics-model.md). Its components:

1. Input: windows with augmented motion are pushed away from every speaker (`engine/training/style/augmentation.py`); a
   second head estimates how natural the motion is.
2. Features: 8 x 8 block DCT of face crops over time minus the mean, plus points, blendshapes and head pose.
3. Training: gradient reversal against a head that predicts the appearance of the face from the embedding.

It does not use AV-HuBERT, the licence of which forbids biometric processing.
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
N_COSINES = 6  # lowest DCT coefficients per block
N_BANDS = (SIZE // BLOCK) ** 2 * N_COSINES
N_PIXELS = 16 * 16  # of a downscaled face: input if `frequency` is False
MIN_FRAMES = 25
SPECTRUM = 64  # frames after zero padding: as many temporal frequencies as the window has frames


@dataclass(frozen=True, slots=True)
class DVPOptions:
    """Network sizes and feature components."""

    width: int = 96
    dim: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.15
    n_shapes: int = 0  # principal components of the blendshapes; off, since they leak identity
    n_points: int = 12  # principal components of the points
    n_bands: int = 8  # principal components of the crops
    window: int = 31  # frames
    frequency: bool = True  # block DCT; off: pixels
    centred: bool = True  # subtract the mean of the window; off: keeps the neutral face
    spectrum: bool = False  # magnitudes of temporal frequencies instead of frames
    n_appearance: int = 16  # values that the adversary predicts from the embedding

    @property
    def n_rows(self) -> int:
        """Input size per frame."""
        return self.n_shapes + self.n_points + N_POSE + self.n_bands


@dataclass(frozen=True, slots=True, eq=False)
class StyleWindowSet:
    """Embeddings of the windows of a track."""

    vectors: np.ndarray  # (n, D) float32, unit rows
    evidence: np.ndarray  # (n,) float32: log-odds that the motion is natural
    starts: np.ndarray  # (n,) int: first row of each window


class ReverseGradient(torch.autograd.Function):
    """Gradient reversal (Ganin and Lempitsky 2015): identity forward, gradient times `-strength` backward."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, strength: float) -> torch.Tensor:
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -context.strength * gradients[0], None


class Pooling(nn.Module):
    """Attentive statistics pooling over time (Okabe et al. 2018): (B, T, W) -> (B, 2W)."""

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
    """One network: rows of a window to a unit vector, evidence of natural motion, and predicted appearance."""

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
    """Ensemble with the projections from motion and face crops to its input rows."""

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
        """Build an ensemble from trained members and the projections they were trained on."""
        model = cls(bases.options, 0)
        model.members.extend(members)
        for name, buffer in bases.named_buffers(recurse=False):
            model.register_buffer(name, buffer.clone())
        return model.eval()

    def describe(self, motion: np.ndarray, faces: AlignedFaces) -> np.ndarray:
        """Project `motion` (T, 58) and the aligned faces of T frames to rows (T, R) float32 of about unit variance."""
        crops = describe_pictures(faces.pictures, self.options.frequency)
        points = faces.points.reshape(len(faces.points), -1)
        parts = [
            motion[:, :N_SHAPES] @ self.shape_basis.cpu().numpy(),
            motion[:, N_SHAPES:] * self.pose_scale.cpu().numpy(),
            points @ self.point_basis.cpu().numpy(),
            crops @ self.band_basis.cpu().numpy(),
        ]
        return np.hstack(parts).astype(np.float32)

    @torch.inference_mode()
    def embed_windows(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embed windows (n, T, R) as unit vectors (n, D) and evidence (n,)."""
        device = self.band_basis.device
        vectors, evidence = [], []
        for first in range(0, len(windows), 256):
            batch = torch.from_numpy(windows[first : first + 256]).to(device)
            outputs = [member(batch) for member in self.members]
            vectors.append(torch.cat([one[0] for one in outputs], dim=-1) / len(outputs) ** 0.5)
            evidence.append(torch.stack([one[1] for one in outputs]).mean(0))
        return torch.cat(vectors).cpu().numpy(), torch.cat(evidence).cpu().numpy()

    def embed(self, motion: np.ndarray, faces: AlignedFaces, seen: np.ndarray) -> StyleWindowSet:
        """Embed a track of T frames, window by window; `seen` (T,) bool.

        A window counts if the face is visible in 25 of its frames; a shorter track yields no window.
        """
        length = min(self.options.window, len(seen))
        starts = place_windows(len(seen), length)
        starts = np.array([s for s in starts if seen[s : s + length].sum() >= MIN_FRAMES], int)
        if not len(starts):
            dim = self.options.dim * len(self.members)
            return StyleWindowSet(np.zeros((0, dim), np.float32), np.zeros(0, np.float32), starts)
        rows = [self.describe(motion[s : s + length], faces[s : s + length]) for s in starts]
        vectors, evidence = self.embed_windows(np.stack([fill_window(own, self.options.window) for own in rows]))
        return StyleWindowSet(vectors, evidence, starts)


def place_windows(n_frames: int, length: int) -> np.ndarray:
    """Return first frames of as many disjoint windows as fit, spread evenly; none if none fits."""
    n = n_frames // length if length else 0
    return np.linspace(0, n_frames - length, n).round().astype(int) if n else np.zeros(0, int)


def fill_window(rows: np.ndarray, length: int) -> np.ndarray:
    """Pad rows (T, R) to (length, R) by reflection at the end."""
    return rows if len(rows) >= length else np.pad(rows, ((0, length - len(rows)), (0, 0)), mode="reflect")


def describe_pictures(pictures: np.ndarray, frequency: bool = True) -> np.ndarray:
    """Compute (T, 384) block DCT, or (T, 256) pixels, of standardised aligned faces (T, 64, 64) uint8."""
    plain = pictures.astype(np.float32)
    plain = (plain - plain.mean()) / (plain.std() + 1e-3)
    n_frames, n_blocks = len(plain), SIZE // BLOCK
    if not frequency:
        side = SIZE // 16
        return plain.reshape(n_frames, 16, side, 16, side).mean((2, 4)).reshape(n_frames, -1)
    blocks = plain.reshape(n_frames, n_blocks, BLOCK, n_blocks, BLOCK).transpose(0, 1, 3, 2, 4)
    return (blocks.reshape(n_frames, n_blocks**2, BLOCK**2) @ _COSINES).reshape(n_frames, -1)


def load_dvp(path: Path, device: str = "cpu") -> DVP:
    """Load the weights strictly; raises WeightsDamaged if they do not fit, WeightsForbidden by their licence."""
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
            f"{path.name} does not contain the speaking style model: {cause}",
            "Reinstall Wayspeak, or train the model again.",
        ) from cause
    return model.eval().to(device)


def write_options(options: DVPOptions) -> dict[str, str]:
    """Encode the options as metadata of a safetensors file."""
    return {"options": json.dumps(asdict(options))}


def _read_options(metadata: dict[str, str]) -> DVPOptions:
    plain = json.loads(metadata["options"])
    return DVPOptions(**{**plain, "dilations": tuple(plain["dilations"])})


def _make_cosines() -> np.ndarray:
    """Return the lowest 2-D DCT basis of an 8 x 8 block (64, 6), orthonormal, as in JPEG."""
    at, order = np.arange(BLOCK), np.arange(3)[:, None]
    waves = np.cos(np.pi * (at + 0.5) * order / BLOCK) * np.where(order == 0, 1, 2**0.5) / BLOCK**0.5  # (3, 8)
    lowest = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    return np.stack([np.outer(waves[i], waves[j]).ravel() for i, j in lowest], axis=1).astype(np.float32)


_COSINES = _make_cosines()
