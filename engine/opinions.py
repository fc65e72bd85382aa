"""Two models on the same face and voice: where they contradict each other, a person should look closer.

Their scores lie on scales of their own and nothing makes them comparable, so each is read by its own curve alone:
whether one offset stands out (`consistency.measure_clarity`), and which. The scores are never averaged.
"""

from dataclasses import dataclass
from typing import ClassVar

from engine.consistency import Consistency
from engine.methods import TITLES
from engine.types import FPS, Model


@dataclass(frozen=True, slots=True)
class OpinionOptions:
    """The bounds; they enter the recipe.

    Measured with compact models on 49 real clips of corpora they were not trained on, 4 to 20 s long, each face with
    its own voice and with five others': clarity parts the two with an AUC of 0.994 (of pieces of 4 s: 0.942). Two
    networks of different seeds, one held against the other, contradicted each other in none of 1692 trials, 4 s pieces
    included; given an own voice to one and another's to the other, in 70 of 100 (4 s: 42). On AV-HuBERT nothing could
    be measured; clarity has no scale of its model's that would have to be fitted.
    """

    recipe_name: ClassVar = "OpinionOptions"

    clear: float = 4.0  # one offset stands out: 9 in 10 own voices (4 s: half of them), 1 in 250 other voices
    unclear: float = 2.5  # none does: 8 in 10 other voices, 1 in 50 own voices (4 s: 1 in 8)
    max_apart_frames: int = 3  # of two clear offsets that count as one: 120 ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the second says of the first."""

    agrees: bool  # False only where they contradict each other; two that see nothing clear do not
    text: str


def compare_opinions(
    first: Consistency, second: Consistency, models: tuple[Model, Model], options: OpinionOptions
) -> Comparison:
    """Tell whether two measurements contradict each other.

    They do when both stand out at different offsets, or when one stands out and the other clearly does not; between
    the two bounds nothing is read into a curve, so that noise makes no contradiction.
    """
    one, other = (TITLES[model] for model in models)
    if min(first.clarity, second.clarity) >= options.clear:
        apart = abs(first.offset_s - second.offset_s)
        if apart * FPS > options.max_apart_frames + 0.5:
            return Comparison(False, f"Both find the sound to fit at one offset clearly, but {apart:.2f} s apart.")
        return Comparison(True, "Both find the sound to fit clearly, at about the same offset.")
    for name, own, rival, theirs in ((one, first, other, second), (other, second, one, first)):
        if own.clarity >= options.clear and theirs.clarity < options.unclear:
            return Comparison(False, f"For {name} the sound fits clearly at one offset; for {rival} it fits at none.")
    if max(first.clarity, second.clarity) < options.unclear:
        return Comparison(True, "For neither does the sound fit clearly at any offset.")
    return Comparison(True, "At least one of them sees no clear picture; they do not contradict each other.")
