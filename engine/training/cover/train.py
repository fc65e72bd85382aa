"""Train the network for covered mouths, and measure it on held-out people and held-out kinds of cover."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from engine.faces.mouth_cover import MouthCover
from engine.faces.occlusion import MOUTH_COVER_VERSION
from engine.training.cover.covers import COVERS
from engine.training.cover.patches import CLEAR, HAIR, CoverPatches
from engine.weights.registry import hash_file

COVERED, UNCOVERED = 0.6, 0.12  # hidden share of the lips; patches between are neither
HELD_OUT = 5  # every fifth person is held out
SMOOTHING = 0.02  # of the labels
KIND_GROUPS = (("hand", "sleeve"), ("mask", "scarf"), ("microphone", "object"), ("plain", "pasted"))


@dataclass(frozen=True, slots=True)
class CoverOptions:
    """Options of a training."""

    seed: int = 1
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 1e-3
    shift_px: int = 2  # largest random shift of a batch
    tint: float = 0.1  # largest random change of a colour


def is_held_out(person: str) -> bool:
    """Return whether a person is held out, by the name."""
    return zlib.crc32(person.encode()) % HELD_OUT == 0


def hold_out(patches: CoverPatches) -> np.ndarray:
    """Return (N,) bool: patches of the held-out people."""
    return np.array([is_held_out(str(person)) for person in patches.people])


def train_cover(
    patches: CoverPatches,
    options: CoverOptions,
    without: Sequence[str] = (),
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> MouthCover:
    """Train on people that are not held out, without some kinds of cover."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    known = (patches.hidden >= COVERED) | (patches.hidden <= UNCOVERED)
    rows = np.flatnonzero(known & ~hold_out(patches) & ~np.isin(patches.kinds, without))
    labels = torch.from_numpy((patches.hidden >= COVERED).astype(np.float32) * (1 - 2 * SMOOTHING) + SMOOTHING)
    pictures = torch.from_numpy(patches.pictures)
    model = MouthCover().train()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=options.weight_decay)
    batches = max(1, len(rows) // options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.learning_rate, options.epochs * batches)
    for epoch in range(options.epochs):
        for chosen in np.array_split(rng.permutation(rows), batches):
            log_odds = model(_augment(pictures[chosen], options, rng))
            loss = F.binary_cross_entropy_with_logits(log_odds, labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        on_epoch(epoch + 1, options.epochs)
    return model.eval()


def measure_cover(model: MouthCover, patches: CoverPatches) -> dict[str, dict[str, float]]:
    """Return the share of false covers and of missed covers by kind, on held-out people."""
    found = np.concatenate(
        [model.detect(part) for part in np.array_split(patches.pictures, 1 + len(patches.hidden) // 512)]
    )
    told = hold_out(patches)
    clear, covered = told & (patches.hidden <= UNCOVERED), told & (patches.hidden >= COVERED)
    drawn = ~np.isin(patches.kinds, (CLEAR, HAIR))
    free = {CLEAR: patches.kinds == CLEAR, HAIR: patches.kinds == HAIR, "beside": drawn}
    return {
        "false": {name: _share(found[clear & chosen] > 0) for name, chosen in free.items()},
        "missed": {kind: _share(found[covered & (patches.kinds == kind)] <= 0) for kind in COVERS},
    }


def measure_kinds(
    patches: CoverPatches, options: CoverOptions, on_group: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, float]:
    """Return the share of missed covers by kind, each by a network that never saw that kind."""
    missed: dict[str, float] = {}
    for done, group in enumerate(KIND_GROUPS):
        figures = measure_cover(train_cover(patches, options, group), patches)["missed"]
        missed |= {kind: figures[kind] for kind in group}
        on_group(done + 1, len(KIND_GROUPS))
    return missed


def save_cover(
    model: MouthCover, path: Path, options: CoverOptions, patches: CoverPatches, figures: dict[str, dict[str, float]]
) -> None:
    """Write the weights in half precision, and a sidecar with their hash, options, training data and figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = model.cpu().state_dict()
    save_file({name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, path)
    used = ~hold_out(patches)
    sidecar = {
        "sha256": hash_file(path),
        "version": MOUTH_COVER_VERSION,
        "options": asdict(options),
        "trained_on": {
            "patches": int(used.sum()),
            "people": len(set(patches.people[used])),
            "sources": sorted(set(patches.sources[used].tolist())),
        },
        "held_out": {"people": len(set(patches.people[~used])), **figures},
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n")


def _augment(pictures: torch.Tensor, options: CoverOptions, rng: np.random.Generator) -> torch.Tensor:
    """Mirror, shift and tint a batch (B, 48, 48, 3)."""
    if rng.random() < 0.5:
        pictures = pictures.flip(2)
    shift = rng.integers(-options.shift_px, options.shift_px + 1, 2).tolist()
    tint = rng.uniform(1 - options.tint, 1 + options.tint, (len(pictures), 1, 1, 3)).astype(np.float32)
    return torch.roll(pictures, shift, (1, 2)).float() * torch.from_numpy(tint)


def _share(found: np.ndarray) -> float:
    return round(float(found.mean()), 4) if len(found) else 0.0
