"""The sound's own lateness in each training clip, told by networks that never saw its corpus.

Published clips are not cut to the frame: sound several frames late is common, and a network that is told to match frame
to frame learns less from them. Each corpus is therefore heard by a member trained on the others.
"""

from collections.abc import Sequence

import numpy as np

from engine.consistency.offsets import ConsistencyOptions, measure_consistency
from engine.models.compact import N_SPEECH, CompactConsistency
from engine.training.clips import TrainingClip
from engine.types import Encoded

CLEAR = 0.08  # how far the peak must stand above the curve beyond its neighbours
NEAR = 3  # frames around the peak that count as its own
MIN_AGREEING = 5  # clear clips whose median speaks for the others of their source
MAX_SHIFT = 10  # frames; a peak beyond it is not believed


def estimate_lateness(clips: Sequence[TrainingClip], models: Sequence[CompactConsistency]) -> list[int]:
    """Give frames by which each clip's sound comes late; `models[i]` never saw the corpus of clip i.

    A clip whose curve has no clear peak takes the median of its source's clear ones, where there are enough, else 0.
    """
    found = [find_lateness(clip, model) for clip, model in zip(clips, models, strict=True)]
    return settle_lateness([clip.source for clip in clips], found)


def settle_lateness(sources: Sequence[str], found: Sequence[int | None]) -> list[int]:
    """Let the median of each source's clear clips, where there are enough, else 0, stand for its unclear ones."""
    usual = {source: _median(sources, found, source) for source in set(sources)}
    return [usual[source] if late is None else late for source, late in zip(sources, found, strict=True)]


def encode_clip(clip: TrainingClip, model: CompactConsistency) -> Encoded:
    """Embed a training clip as the product would."""
    return model.encode(clip.lips, clip.mel.reshape(-1, N_SPEECH))


def find_lateness(clip: TrainingClip, model: CompactConsistency) -> int | None:
    """Give the frames by which the clip's sound comes late; None where its curve has no clear peak."""
    found = measure_consistency(encode_clip(clip, model), clip.real, ConsistencyOptions(min_pairs=25))
    if found is None:
        return None
    curve = np.nan_to_num(found.curve.similarity, nan=-1.0)
    best = int(curve.argmax())
    beyond = np.abs(np.arange(len(curve)) - best) > NEAR
    late = best - len(curve) // 2
    return late if curve[best] - curve[beyond].max() >= CLEAR and abs(late) <= MAX_SHIFT else None


def _median(sources: Sequence[str], found: Sequence[int | None], source: str) -> int:
    clear = [late for its, late in zip(sources, found, strict=True) if its == source and late is not None]
    return round(float(np.median(clear))) if len(clear) >= MIN_AGREEING else 0
