"""What is hidden in training, and what is shown instead: spans of sound, spans of pictures, a whole modality.

As in AV-HuBERT (Shi et al. 2022): masked sound is replaced by a learnt row, masked pictures by others of the same clip,
so that a wrong mouth has to be noticed. Which modality is left out is drawn for each window, there for each batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_SPANS = 2


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How much is masked; the defaults are the published ones of the last iteration."""

    sound_share: float = 0.8  # of the frames, if spans did not overlap
    sound_span: int = 10  # frames
    picture_share: float = 0.3
    picture_span: int = 5
    modality_dropout: float = 0.5  # chance that one modality is left out
    sound_dropout: float = 0.5  # chance that it is then the sound

    def __post_init__(self) -> None:
        shares = (self.sound_share, self.picture_share, self.modality_dropout, self.sound_dropout)
        if not all(0 <= share <= 1 for share in shares) or min(self.sound_span, self.picture_span) < 1:
            raise ValueError(f"shares from 0 to 1 and spans of at least one frame are wanted, found {self}")


def draw_spans(lengths: Sequence[int], width: int, share: float, span: int, rng: np.random.Generator) -> np.ndarray:
    """(B, width) bool: in each row spans of `span` frames within its length, as many as fill `share` of it.

    Spans may overlap, so less than that share is masked. At least two a row, none where the row is no longer than one.
    """
    masked = np.zeros((len(lengths), width), bool)
    for row, length in zip(masked, lengths, strict=True):
        count = max(MIN_SPANS, int(share * length / span + rng.random())) if share > 0 else 0
        places = max(0, length - span)
        for start in rng.choice(places, min(count, places), replace=False) if places else ():
            row[start : start + span] = True
    return masked


def replace_spans(masked: np.ndarray, lengths: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """(B, L) int64: the frame that is shown at each place, another of the same window where it is masked.

    Each masked run shows a run of equal length that does not touch it; where there is no room for one, the clip's first
    frames.
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
    """(B,) and (B,) bool: whether each window has its picture, and its sound; never neither."""
    dropped = rng.random(size) < options.modality_dropout
    sound = rng.random(size) < options.sound_dropout
    return ~(dropped & ~sound), ~(dropped & sound)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
