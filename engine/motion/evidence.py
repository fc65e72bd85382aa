"""Evidence of a match: bounded log10 likelihood ratio for "this recording drove the motion of this face"."""

from math import log

import numpy as np

from engine.calibration.builder import CHANNELS, OVERLAP
from engine.calibration.qualities import LEAST
from engine.calibration.records import Calibration, Task
from engine.errors import Code
from engine.motion.matches import MotionMatch
from engine.motion.signature import VERSION, SignatureOptions
from engine.weights.recipes import write_recipe

NAMES = (OVERLAP, CHANNELS)  # qualities of a trial
NO_MATCH = -4.0  # score where no stretch agrees at all; lower scores are raised to it
NO_OVERLAP_S = 1.6  # the shortest stretch: overlap of such a trial
MIN_CHANNELS = 8.0  # that move, in a stretch that is judged


def name_recipe(rows: str) -> str:
    """Return the recipe of scores: that of the feature rows, and the options and version of signatures."""
    return write_recipe([], (SignatureOptions(), VERSION), ["motion", rows])


def read_evidence(match: MotionMatch | None) -> tuple[float, tuple[float, float]]:
    """Return the score of a comparison and its qualities: natural logarithms of seconds and of following channels."""
    if match is None or match.score <= NO_MATCH:
        return NO_MATCH, (log(NO_OVERLAP_S), log(LEAST))
    return match.score, (log(match.seconds), log(max(match.following, LEAST)))


def find_llr(calibration: Calibration, match: MotionMatch | None) -> float | None:
    """Return the bounded log10 likelihood ratio; None for a face that hardly moves.

    Raises BAD_CALIBRATION for a calibration of another task or one that is not approved.
    """
    if calibration.task != Task.SOURCE or not calibration.is_approved or not set(calibration.qualities) <= set(NAMES):
        raise Code.BAD_CALIBRATION(
            f"The calibration {calibration.id[:12]} is {calibration.status}, for {calibration.task}.",
            f"Use an approved one for {Task.SOURCE}.",
        )
    if match is not None and match.channels < MIN_CHANNELS:
        return None
    score, measured = read_evidence(match)
    known = dict(zip(NAMES, measured, strict=True))
    qualities = np.array([[known[name] for name in calibration.qualities]])
    return float(calibration.llrs(np.array([score]), qualities)[0])
