"""Train DVP: classify speakers by motion, push augmented motion away, and unlearn appearance by gradient reversal."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.models.dvp import DVP, DVPOptions, StyleMember, fill_window, place_windows, write_options
from engine.training.style.augmentation import TRAINED, Augmentation, augment, swap_identity
from engine.training.style.speakers import SpokenClip, fit_bases
from engine.weights.licences import MARK, Use, mark_uses
from engine.weights.registry import hash_file

PAIR_SCALE = 10.0
SHRUNK = 8  # side in pixels of the image in an appearance code


@dataclass(frozen=True, slots=True)
class DynamicsOptions:
    """Options for training DVP; stored in its sidecar. Each of the three parts can be switched off."""

    model: DVPOptions = field(default_factory=DVPOptions)  # part 2: `frequency`, `centred`
    negatives: tuple[Augmentation, ...] = TRAINED  # part 1; empty: off
    adversary: float = 1.0  # part 3: final weight of the reversed gradient; 0: off
    recasts: int = 2500  # identity swaps: windows with their motion on another face
    pairs: int = 48  # per step, of one motion on two faces
    pair_weight: float = 3.0  # of matching the two
    seed: int = 1
    n_members: int = 1
    steps: int = 500  # more steps learn appearance again
    batch: int = 64
    learning_rate: float = 2e-3
    scale: float = 20.0
    margin: float = 0.2
    null_weight: float = 1.0  # of classifying augmented motion as the null class
    evidence_weight: float = 1.0  # of classifying natural and augmented motion


OnStep = Callable[[int, int], None]


def train_dvp(
    clips: Sequence[SpokenClip],
    options: DynamicsOptions,
    device: str = "cpu",
    on_step: OnStep = lambda member, step: None,
) -> DVP:
    """Train all members on the clips; the same clips, options and machine produce the same weights.

    Clips with the face of another person are used in pairs with their driving clip only.
    """
    own = [clip for clip in clips if clip.is_own_face]
    bases = fit_bases(own, options.model)
    source = StyleWindows(clips, bases, options)
    members = [
        train_member(source, options, number, device, lambda step, n=number: on_step(n, step))  # type: ignore[misc]
        for number in range(options.n_members)
    ]
    return DVP.of(members, bases)


def save_dvp(model: DVP, path: Path, options: DynamicsOptions, clips: Sequence[SpokenClip]) -> None:
    """Write the weights in half precision, and a sidecar with their hash, options and training data."""
    uses = {MARK: mark_uses(frozenset({Use.SPEAKER}))}
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, write_options(model.options) | uses)
    digest = hash_file(path)
    sidecar = uses | {
        "sha256": digest,
        "speakers": sorted({name for clip in clips if clip.row.speaker for name in clip.people}),
        "recipe": f"dynamics-{digest[:12]}",
        "options": asdict(options),
        "trained_on": {
            "clips": len(clips),
            "seconds": round(sum(clip.seconds for clip in clips)),
            "sources": sorted({clip.row.source for clip in clips}),
        },
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n")


def train_member(
    source: "StyleWindows", options: DynamicsOptions, number: int, device: str, on_step: Callable[[int], None]
) -> StyleMember:
    """Train one network: additive-margin softmax (Wang et al. 2018) over speakers and a null class."""
    torch.manual_seed(options.seed * 1000 + number)
    rng = np.random.default_rng([options.seed, number])
    member = StyleMember(options.model).to(device)
    classes = nn.Parameter(F.normalize(torch.randn(source.n_speakers + 1, options.model.dim, device=device), dim=-1))
    optimiser = torch.optim.AdamW([*member.parameters(), classes], options.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=options.steps, pct_start=0.1 if options.steps > 10 else 0.15
    )
    for step in range(options.steps):
        loss = _compute_loss(member, classes, source, options, step / options.steps, rng)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(member.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        on_step(step + 1)
    return member.cpu().eval()


@dataclass(frozen=True, slots=True, eq=False)
class StyleBatch:
    """A batch of B windows with L frames."""

    rows: np.ndarray  # (B, L, R) float32
    speakers: np.ndarray  # (B,) int: person of the motion
    appearance: np.ndarray  # (B, A) float32: code of the face


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The same frames of one motion on another face and on the owner's face."""

    made: np.ndarray  # (L, R) float32
    own: np.ndarray  # (L, R) float32
    speaker: int  # person of the motion
    appearance: np.ndarray  # (A,) float32: code of the face


class StyleWindows:
    """Draws windows balanced over speakers, and pairs of one motion on two faces."""

    def __init__(self, clips: Sequence[SpokenClip], bases: DVP, options: DynamicsOptions):
        own = [clip for clip in clips if clip.is_own_face]
        self._clips, self._options, self._length = own, options, bases.options.window
        self._rows = [bases.describe(clip.motion, clip.faces) for clip in own]
        names = sorted({clip.speaker for clip in own})
        self.n_speakers = len(names)
        self._speakers = np.array([names.index(clip.speaker) for clip in own])
        self._own = [np.flatnonzero(self._speakers == number) for number in range(len(names))]
        self._shares = _weigh_speakers(own, self._own)
        forged = [clip for clip in clips if not clip.is_own_face]
        appearances = _code_appearances([*own, *forged], options.model.n_appearance)
        self._appearances = appearances[: len(own)]
        self.pairs = [
            *self._pair_forged(forged, appearances[len(own) :], bases),
            *self._swap_identities(bases, np.random.default_rng([options.seed, 999])),
        ]

    def draw(self, rng: np.random.Generator) -> StyleBatch:
        """Draw a batch; it depends only on the clips, the options and the generator."""
        speakers = rng.choice(self.n_speakers, self._options.batch, p=self._shares)
        windows, appearances = zip(*(self._cut(int(rng.choice(self._own[one])), rng) for one in speakers), strict=True)
        return StyleBatch(np.stack(windows), speakers, np.stack(appearances))

    def draw_pairs(self, rng: np.random.Generator) -> tuple[StyleBatch, np.ndarray]:
        """Draw a batch of motion on other faces, and the same motion on the owners' faces (B, L, R)."""
        drawn = [self.pairs[number] for number in rng.integers(0, len(self.pairs), self._options.pairs)]
        batch = StyleBatch(
            np.stack([pair.made for pair in drawn]),
            np.array([pair.speaker for pair in drawn]),
            np.stack([pair.appearance for pair in drawn]),
        )
        return batch, np.stack([pair.own for pair in drawn])

    def _cut(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows[number]
        start = rng.integers(0, max(1, len(rows) - self._length + 1))
        return fill_window(rows[start : start + self._length], self._length), self._appearances[number]

    def _pair_forged(self, forged: Sequence[SpokenClip], appearances: np.ndarray, bases: DVP) -> Iterator[Pair]:
        """Pair the windows of forged clips and their driving clips; clips of different length are left out."""
        drivers = {clip.row.path: number for number, clip in enumerate(self._clips)}
        for clip, appearance in zip(forged, appearances, strict=True):
            number = drivers.get(clip.row.driver_path) if clip.row.driver_path else None
            if number is None or len(self._rows[number]) != len(clip.motion):
                continue
            made, own = bases.describe(clip.motion, clip.faces), self._rows[number]
            for start in place_windows(len(own), min(self._length, len(own))):
                span = slice(start, start + self._length)
                cut = [fill_window(rows[span], self._length) for rows in (made, own)]
                yield Pair(cut[0], cut[1], int(self._speakers[number]), appearance)

    def _swap_identities(self, bases: DVP, rng: np.random.Generator) -> Iterator[Pair]:
        """Swap identities: put the motion of random windows on the faces of other clips."""
        for _ in range(self._options.recasts):
            number = int(rng.choice(self._own[rng.choice(self.n_speakers, p=self._shares)]))
            other = int(rng.integers(len(self._clips)))
            clip, face = self._clips[number], self._clips[other]
            start = rng.integers(0, max(1, len(clip.motion) - self._length + 1))
            span = slice(start, start + self._length)
            still = face.still(int(rng.integers(len(face.faces))))
            moved = swap_identity(still, clip.faces.points[span], bool(rng.random() < 0.5))
            made = fill_window(bases.describe(clip.motion[span], moved), self._length)
            own = fill_window(self._rows[number][span], self._length)
            yield Pair(made, own, int(self._speakers[number]), self._appearances[other])


def vary(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale the motion of (B, T, R) by about 10 % and add noise of random level."""
    mean = windows.mean(1, keepdims=True)
    reach = np.exp(rng.normal(0, 0.1, (len(windows), 1, 1)))
    noise = rng.normal(0, 0.05, windows.shape) * np.exp(rng.normal(0, 0.7, (len(windows), 1, 1)))
    return ((windows - mean) * reach + mean + noise).astype(np.float32)


def measure_natural(evidence: Sequence[np.ndarray]) -> torch.Tensor:
    """Return (3,): mean evidence of real motion, and its standard deviation between and within sessions.

    `evidence` has one (n,) array of windows per session of a person; one-way analysis of variance.
    """
    means, counts = np.array([one.mean() for one in evidence]), np.array([len(one) for one in evidence])
    residuals = np.concatenate([one - one.mean() for one in evidence])
    inside = float((residuals**2).sum() / max(1, int((counts - 1).sum())))
    between = max(0.0, float(means.var(ddof=1)) - inside * float((1 / counts).mean()))
    return torch.tensor([float(means.mean()), between**0.5, inside**0.5])


def _compute_loss(
    member: StyleMember,
    classes: torch.Tensor,
    source: "StyleWindows",
    options: DynamicsOptions,
    progress: float,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Return the loss of one batch; all of it passes the network at once, since its norms use batch statistics."""
    batch, device, parts = source.draw(rng), classes.device, {}
    parts["own"] = batch.rows
    if options.negatives:
        parts["augmented"] = augment(batch.rows, options.negatives, rng)
    if source.pairs and options.pairs:
        made, parts["driver"] = source.draw_pairs(rng)
        parts["made"] = made.rows
    rows = torch.from_numpy(np.concatenate([vary(part, rng) for part in parts.values()])).to(device)
    sizes = [len(part) for part in parts.values()]
    outputs = [dict(zip(parts, one.split(sizes), strict=True)) for one in member(rows, _schedule(options, progress))]
    vectors, evidence, appearance = outputs
    directions = F.normalize(classes, dim=-1).T
    loss = _margin_loss(vectors["own"] @ directions, batch.speakers, options)
    if options.adversary:
        loss = loss + _unlearn(appearance["own"], batch)
    if "augmented" in parts:
        null_class = np.full(len(batch.rows), directions.shape[1] - 1)
        loss = loss + options.null_weight * _margin_loss(vectors["augmented"] @ directions, null_class, options)
        both = torch.cat([evidence["own"], evidence["augmented"]])
        natural = torch.arange(len(both), device=device) < len(batch.rows)
        loss = loss + options.evidence_weight * F.binary_cross_entropy_with_logits(both, natural.float())
    if "made" in parts:
        loss = loss + _margin_loss(vectors["made"] @ directions, made.speakers, options)
        if options.adversary:
            loss = loss + _unlearn(appearance["made"], made)
        near = PAIR_SCALE * vectors["made"] @ vectors["driver"].T  # each motion must match itself on the owner's face
        loss = loss + options.pair_weight * F.cross_entropy(near, torch.arange(len(near), device=device))
    return loss


def _unlearn(predicted: torch.Tensor, batch: StyleBatch) -> torch.Tensor:
    """Return the error of predicting appearance from the vectors; the gradient is reversed in the network."""
    return 0.5 * F.mse_loss(predicted, torch.from_numpy(batch.appearance).to(predicted.device))


def _schedule(options: DynamicsOptions, progress: float) -> float:
    """Return the weight of the reversed gradient, with the schedule of Ganin and Lempitsky."""
    return float(options.adversary * (2 / (1 + np.exp(-10 * progress)) - 1))


def _margin_loss(near: torch.Tensor, wanted: np.ndarray, options: DynamicsOptions) -> torch.Tensor:
    labels = torch.from_numpy(wanted).to(near.device)
    right = F.one_hot(labels, near.shape[1]).float()
    return F.cross_entropy(options.scale * (near - options.margin * right), labels)


def _weigh_speakers(clips: Sequence[SpokenClip], own: Sequence[np.ndarray]) -> np.ndarray:
    """Return (K,) sampling probabilities: by seconds, up to ten, since one short clip shows little of a speaker."""
    seconds = np.array([min(10.0, sum(clips[number].seconds for number in numbers)) for numbers in own])
    return seconds / seconds.sum()


def _code_appearances(clips: Sequence[SpokenClip], n: int) -> np.ndarray:
    """Return (C, n) float32 of unit variance: PCA of the landmarks and the downscaled image of one frame."""
    frames = [len(clip.faces.pictures) // 2 for clip in clips]
    points = np.stack([clip.faces.points[frame].ravel() for clip, frame in zip(clips, frames, strict=True)])
    side = clips[0].faces.pictures.shape[1] // SHRUNK
    pictures = np.stack([clip.faces.pictures[frame] for clip, frame in zip(clips, frames, strict=True)]).astype(
        np.float32
    )
    pictures = pictures.reshape(len(clips), SHRUNK, side, SHRUNK, side).mean((2, 4)).reshape(len(clips), -1)
    pictures = (pictures - pictures.mean(1, keepdims=True)) / (pictures.std(1, keepdims=True) + 1e-3)
    both = np.hstack([(points - points.mean(0)) / 4.0, pictures - pictures.mean(0)])
    left, sizes, _ = np.linalg.svd(both, full_matrices=False)
    codes = left[:, :n] * (len(clips) ** 0.5) * (sizes[:n] > 1e-6)
    return np.pad(codes, ((0, 0), (0, n - codes.shape[1]))).astype(np.float32)
