"""A second look at the pictures of a clip: whatever has to be cut out of them, all of it in one pass.

Where to cut is known only once a face has been followed to its end, so the frames are streamed a second time, one held
at once. What is cut stays in memory: a mouth takes 9 kB a frame, 14 MB a minute and face.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.types import Frame

Cut = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`cut(image (H, W, 3) uint8 RGB, transform (2, 3)) -> crop`, of the same shape each time."""


@dataclass(frozen=True, slots=True, eq=False)
class CropPlan:
    """One crop from each of a run of frames."""

    start: int  # frame number of row 0
    transforms: np.ndarray  # (T, 2, 3) float64: from the pixels of the picture to those of the crop
    shape: tuple[int, ...]  # of a crop
    cut: Cut

    @property
    def end(self) -> int:
        """Frame number after the last row."""
        return self.start + len(self.transforms)


def cut_crops(
    frames: Iterable[Frame], plans: Sequence[CropPlan], on_frame: Callable[[int], None] = lambda index: None
) -> list[np.ndarray]:
    """Carry out all plans in one pass: an array (T, *shape) uint8 for each; `on_frame(index)` is called after each.

    Frames are read as far as the last plan reaches; ValueError where one that is planned is missing.
    """
    crops = [np.empty((len(plan.transforms), *plan.shape), np.uint8) for plan in plans]
    last, due = max((plan.end for plan in plans), default=0), sum(len(plan.transforms) for plan in plans)
    for frame in frames if last else ():
        for plan, rows in zip(plans, crops, strict=True):
            if plan.start <= frame.index < plan.end:
                row = frame.index - plan.start
                rows[row] = plan.cut(frame.image, plan.transforms[row])
                due -= 1
        on_frame(frame.index)
        if frame.index + 1 >= last:
            break
    if due:
        raise ValueError(f"{due} of the frames to be cut from are missing")
    return crops
