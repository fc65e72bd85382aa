"""Estimate the AV offset of each training clip by networks that never saw its corpus.

Published clips are not cut to the frame: audio several frames late is common, and a network trained to align frames
learns less from them. Each corpus is therefore measured by a member trained on the others.
"""

from collections.abc import Sequence

import numpy as np

from engine.consistency.offsets import ConsistencyOptions, measure_consistency
from engine.models.compact import N_SPEECH, CompactConsistency
from engine.training.clips import TrainingClip
from engine.types import Encoded, Evidence

CLEAR = 0.08  # minimum margin of the peak over the curve outside its neighbourhood
NEAR = 3  # frames around the peak that belong to it
MIN_AGREEING = 5  # clear clips needed for the median of a source
MAX_SHIFT = 10  # frames; larger offsets are not accepted


def estimate_av_offsets(clips: Sequence[TrainingClip], models: Sequence[CompactConsistency]) -> list[int]:
    """Estimate the AV offset of each clip in frames, positive if audio is late.

    `models[i]` never saw the corpus of clip i. A clip without a clear peak takes the median of the clear clips of its
    source, or 0 if those are too few.
    """
    found = [estimate_av_offset(clip, model) for clip, model in zip(clips, models, strict=True)]
    return fill_unclear_offsets([clip.source for clip in clips], found)


def fill_unclear_offsets(sources: Sequence[str], found: Sequence[int | None]) -> list[int]:
    """Replace None by the median of the clear offsets of the source, or by 0 if those are too few."""
    medians = {source: _median(sources, found, source) for source in set(sources)}
    return [medians[source] if offset is None else offset for source, offset in zip(sources, found, strict=True)]


def encode_clip(clip: TrainingClip, model: CompactConsistency) -> Encoded:
    """Embed a training clip as inference does."""
    return model.encode(clip.lips, clip.mel.reshape(-1, N_SPEECH))


def estimate_av_offset(clip: TrainingClip, model: CompactConsistency) -> int | None:
    """Estimate the AV offset of a clip in frames (positive: audio is late); None without a clear peak."""
    found = measure_consistency(encode_clip(clip, model), Evidence.both(clip.real), ConsistencyOptions(min_pairs=25))
    if found is None:
        return None
    curve = np.nan_to_num(found.curve.similarity, nan=-1.0)
    best = int(curve.argmax())
    beyond = np.abs(np.arange(len(curve)) - best) > NEAR
    offset = best - len(curve) // 2
    return offset if curve[best] - curve[beyond].max() >= CLEAR and abs(offset) <= MAX_SHIFT else None


def _median(sources: Sequence[str], found: Sequence[int | None], source: str) -> int:
    clear = [offset for its, offset in zip(sources, found, strict=True) if its == source and offset is not None]
    return round(float(np.median(clear))) if len(clear) >= MIN_AGREEING else 0
