"""Micro-batches of windows for pre-training AV-HuBERT: cut, augmented and masked; each depends on its number alone.

Runs therefore resume identically, several processes share the work without overlap, and loaders can prefetch.

Masking follows AV-HuBERT (Shi et al. 2022): masked audio is replaced by a learnt vector, masked images by others of the
same clip, so that the network has to notice a wrong mouth. The dropped modality is drawn per window; in AV-HuBERT, per
batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from engine.faces.mouth_crops import AVHUBERT_CROP, CROP
from engine.speech.filterbanks import FILTERS, STEPS_PER_FRAME, normalise_rows
from engine.training.avhubert.preprocessing import Cut, PreprocessedClip, read_energies, read_window
from engine.training.consistency.windows import share_clips, vary_spectrum

MIN_SPANS = 2


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Masking options; defaults are the published ones of the last iteration."""

    sound_share: float = 0.8  # of the frames, not counting overlaps
    sound_span: int = 10  # frames
    picture_share: float = 0.3
    picture_span: int = 5
    modality_dropout: float = 0.5  # probability that one modality is dropped
    sound_dropout: float = 0.5  # probability that this is the audio

    def __post_init__(self) -> None:
        shares = (self.sound_share, self.picture_share, self.modality_dropout, self.sound_dropout)
        if not all(0 <= share <= 1 for share in shares) or min(self.sound_span, self.picture_span) < 1:
            raise ValueError(f"shares must be from 0 to 1 and spans at least one frame, found {self}")


def draw_spans(lengths: Sequence[int], width: int, share: float, span: int, rng: np.random.Generator) -> np.ndarray:
    """Return (B, width) bool: in each row, as many spans of `span` frames as fill `share` of its length.

    Spans may overlap, so that a smaller share is masked. Rows have at least two spans, or none if not longer than one.
    """
    masked = np.zeros((len(lengths), width), bool)
    for row, length in zip(masked, lengths, strict=True):
        count = max(MIN_SPANS, int(share * length / span + rng.random())) if share > 0 else 0
        places = max(0, length - span)
        for start in rng.choice(places, min(count, places), replace=False) if places else ():
            row[start : start + span] = True
    return masked


def replace_spans(masked: np.ndarray, lengths: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return (B, L) int64: the index of the frame shown at each position, another one of the window where masked.

    Each masked run shows a run of equal length that does not overlap it, or the first frames if there is no room.
    """
    shown = np.tile(np.arange(masked.shape[1]), (len(masked), 1))
    for row, mask, length in zip(shown, masked, lengths, strict=True):
        for start, end in _runs(mask):
            starts = np.arange(length - (end - start) + 1)
            others = starts[(starts <= start - (end - start)) | (starts >= end)]
            other = int(rng.choice(others)) if len(others) else 0
            row[start:end] = np.minimum(np.arange(other, other + end - start), length - 1)
    return shown


def drop_modalities(size: int, options: MaskOptions, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (B,) and (B,) bool: whether each window has images and audio; at least one of them."""
    dropped = rng.random(size) < options.modality_dropout
    sound = rng.random(size) < options.sound_dropout
    return ~(dropped & ~sound), ~(dropped & sound)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return start and end of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options for drawing and augmenting windows; augmentations are the published ones by default."""

    size: int = 8  # windows per micro-batch, which are compared with each other
    length: int = 400  # frames
    max_shift: int = 0  # largest shift in frames of the audio window for the alignment loss
    max_share: float = 0.4  # largest share of windows of one corpus
    flip: float = 0.5  # probability of mirroring
    turn_deg: float = 0.0  # largest rotation
    zoom: float = 0.0  # largest relative zoom
    light: float = 0.0  # largest change of brightness and contrast
    tract: tuple[float, float] | None = None  # vocal tract length; None: unchanged
    masks: MaskOptions = field(default_factory=MaskOptions)


@dataclass(frozen=True, slots=True, eq=False)
class PretrainingBatch:
    """A micro-batch of B windows with L frames."""

    mouths: torch.Tensor  # (B, L, 88, 88) uint8
    rows: torch.Tensor  # (B, L, 104) float32, as `speech.filterbank_rows`
    valid: torch.Tensor  # (B, L) bool: False beyond the end of the clip
    real: torch.Tensor  # (B, L) bool: face and audio are present
    units: torch.Tensor  # (B, L) int64: unit of each frame
    shown: torch.Tensor  # (B, L) int64: index of the mouth shown at each position
    mouths_masked: torch.Tensor  # (B, L) bool: another mouth is shown
    rows_masked: torch.Tensor  # (B, L) bool
    has_mouths: torch.Tensor  # (B,) bool: False: masked prediction uses audio only
    has_rows: torch.Tensor  # (B,) bool
    other_rows: torch.Tensor  # (B, L, 104) float32: audio `shift` frames later than the images
    shift: torch.Tensor  # (B,) int64

    def to(self, device: torch.device) -> "PretrainingBatch":
        """Move all tensors to a device."""
        moved = {one.name: getattr(self, one.name).to(device, non_blocking=True) for one in fields(self)}
        return replace(self, **moved)


class BatchSource(Dataset[PretrainingBatch]):
    """`source[i]` is micro-batch i; it depends on i, the clips, their units, the options and the seed alone."""

    def __init__(
        self, clips: Sequence[PreprocessedClip], units: Sequence[np.ndarray], options: BatchOptions, seed: int
    ):
        for clip, its in zip(clips, units, strict=True):
            if len(its) != clip.length:
                raise ValueError(f"{clip.name} has {clip.length} frames and units for {len(its)}")
        self._clips, self._units, self._options, self._seed = clips, units, options, seed
        self._shares = share_clips(clips, options.max_share)

    def __getitem__(self, number: int) -> PretrainingBatch:
        rng, options = np.random.default_rng([self._seed, number]), self._options
        chosen = rng.choice(len(self._clips), size=options.size, p=self._shares)
        windows = [self._draw(self._clips[i], self._units[i], rng) for i in chosen]
        lengths = [int(window["valid"].sum()) for window in windows]
        masks = options.masks
        mouths_masked = draw_spans(lengths, options.length, masks.picture_share, masks.picture_span, rng)
        arrays = {name: np.stack([window[name] for window in windows]) for name in windows[0]}
        arrays["rows_masked"] = draw_spans(lengths, options.length, masks.sound_share, masks.sound_span, rng)
        arrays["shown"] = replace_spans(mouths_masked, lengths, rng)
        arrays["has_mouths"], arrays["has_rows"] = drop_modalities(options.size, masks, rng)
        return PretrainingBatch(
            mouths_masked=torch.from_numpy(mouths_masked), **{k: torch.from_numpy(v) for k, v in arrays.items()}
        )

    def _draw(self, clip: PreprocessedClip, units: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Cut one window; the audio for alignment is shifted, so that the position in the window is not informative."""
        length = min(self._options.length, clip.length)
        room = clip.length - length
        first = int(rng.integers(0, room + 1))
        earliest, latest = max(0, first - self._options.max_shift), min(room, first + self._options.max_shift)
        elsewhere = int(rng.integers(earliest, latest + 1))
        cut = read_window(clip, first, first + length)
        sound = np.concatenate([cut.energies, read_energies(clip, elsewhere, elsewhere + length)])
        rows = normalise_rows(_vary_voice(sound, rng, self._options))
        window = {
            "mouths": _vary_mouths(cut, rng, self._options),
            "rows": rows[:length],
            "other_rows": rows[length:],
            "real": cut.real,
            "units": units[first : first + length].astype(np.int64),
            "valid": np.ones(length, bool),
        }
        missing = self._options.length - length
        padded = {name: np.pad(one, ((0, missing), *[(0, 0)] * (one.ndim - 1))) for name, one in window.items()}
        return padded | {"shift": np.array(elsewhere - first, np.int64)}


def load_batches(source: BatchSource, numbers: range, workers: int) -> Iterator[PretrainingBatch]:
    """Yield the micro-batches of these numbers, in order, prefetched by `workers` processes (0: none)."""
    return iter(DataLoader(source, batch_size=None, sampler=numbers, num_workers=workers, collate_fn=_keep))


def _keep(batch: Any) -> Any:
    return batch


def _vary_mouths(cut: Cut, rng: np.random.Generator, options: BatchOptions) -> np.ndarray:
    """Return (L, 88, 88) uint8: one random crop, mirror, rotation, zoom and lighting per window."""
    angle, zoom = rng.uniform(-1, 1) * options.turn_deg, np.exp(rng.uniform(-1, 1) * options.zoom)
    corner = rng.integers(0, CROP - AVHUBERT_CROP + 1, 2)
    mirror = rng.random() < options.flip
    gain, lift = 1 + rng.uniform(-1, 1) * options.light, rng.uniform(-1, 1) * options.light * 128
    if options.turn_deg or options.zoom:
        turn = cv2.getRotationMatrix2D((CROP / 2, CROP / 2), angle, zoom)
        turn[:, 2] -= corner
        size = (AVHUBERT_CROP, AVHUBERT_CROP)
        mouths = np.stack([cv2.warpAffine(one, turn, size, borderMode=cv2.BORDER_REPLICATE) for one in cut.mouths])
    else:
        mouths = cut.mouths[:, corner[1] : corner[1] + AVHUBERT_CROP, corner[0] : corner[0] + AVHUBERT_CROP]
    if options.light:
        table = np.clip((np.arange(256) - 128.0) * gain + 128 + lift, 0, 255).astype(np.uint8)
        mouths = table[mouths]
    return mouths[:, :, ::-1] if mirror else mouths


def _vary_voice(energies: np.ndarray, rng: np.random.Generator, options: BatchOptions) -> np.ndarray:
    """Return (S, 104): vary vocal tract and noise floor if `tract` is set."""
    if options.tract is None:
        return energies
    steps = energies.reshape(-1, FILTERS)
    varied, _ = vary_spectrum(steps, steps.mean(0), rng, options.tract)
    return varied.reshape(-1, STEPS_PER_FRAME * FILTERS)
