"""What the calibration in force says of a face and its voice: a bounded ratio, its words, or that nothing may be said.

The record in force is the newest approved one of the same task and recipe that its users keep; where they keep none,
the one that comes with the program. A record of another recipe is never applied: the score stays raw.

How strange a clip is beside real ones: p-values that hold for any number of real clips, and need no others.

Split conformal (Vovk, Gammerman and Shafer 2005): of n real clips and one more that is exchangeable with them, the
chance that its p-value is at most a is at most a, whatever scores are like. Mondrian: among clips of about one length.
Clips of one person are not exchangeable with those of others, so each person gives one score to a stratum.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, Conformal, Stratum, Task, choose_current
from engine.calibration.verbal_scale import Zone, find_band, find_zone
from engine.errors import Code
from engine.types import CalibrationNote, Reason

EDGES_S = (4.0, 6.0, 10.0)  # seconds of speech at which strata begin; the last has no end


def fit_conformal(
    scores: np.ndarray, seconds: np.ndarray, people: np.ndarray, seed: int = 0, edges_s: Sequence[float] = EDGES_S
) -> Conformal:
    """Keep for each stratum one score (N,) of each person (N,), drawn by the seed, by seconds (N,) of speech."""
    if not edges_s or any(later <= earlier for earlier, later in pairwise(edges_s)):
        raise ValueError(f"strata from {edges_s} seconds, wanted rising numbers")
    ends: list[float | None] = [*edges_s[1:], None]
    rng = np.random.default_rng(seed)
    strata = []
    for start, end in zip(edges_s, ends, strict=True):
        inside = (seconds >= start) & (seconds < (np.inf if end is None else end))
        chosen = [rng.choice(np.flatnonzero(inside & (people == name))) for name in np.unique(people[inside])]
        strata.append(Stratum(start, end, tuple(sorted(float(scores[row]) for row in chosen))))
    return Conformal(tuple(strata))


def tell_p(conformal: Conformal, score: float, seconds: float) -> float | None:
    """Chance of so low a score or a lower one from a real clip; None below the first stratum.

    It is (1 + the scores of the stratum that are no higher) / (n + 1), never less than the stratum's `smallest_p`;
    1 in a stratum without a clip.
    """
    stratum = find_stratum(conformal, seconds)
    if stratum is None:
        return None
    return (1 + sum(one <= score for one in stratum.scores)) / (len(stratum.scores) + 1)


def find_stratum(conformal: Conformal, seconds: float) -> Stratum | None:
    """Give the stratum of a clip with so many seconds of speech."""
    for stratum in conformal.strata:
        if seconds >= stratum.from_s and (stratum.to_s is None or seconds < stratum.to_s):
            return stratum
    return None


LEAST = 0.04  # of a quality: a frame, so that its logarithm is there
QUALITIES: Mapping[str, Callable[[float, float], float]] = {
    "log speech seconds": lambda speech_s, face_px: float(np.log(max(speech_s, LEAST))),
    "log face size": lambda speech_s, face_px: float(np.log(max(face_px, LEAST))),
}
"""What a calibration for consistency may ask beside the score; natural logarithms, as `wayspeak calibrate` has them."""


def find_calibration(task: Task, recipe: str, kept: Iterable[Calibration] = ()) -> Calibration | None:
    """Give the record in force for a task and the recipe of its scores; None: there is none, and scores stay raw.

    `kept` are the users' own, in any order; they win over what comes with the program, and one that retires it puts it
    out of force.
    """
    own = list(kept)
    superseded = {one.supersedes for one in own}
    shipped = [one for one in list_shipped() if one.id not in superseded]
    return choose_current(own, task, recipe) or choose_current(shipped, task, recipe)


def check_consistency(calibration: Calibration, recipe: str) -> None:
    """Raise RECIPE_MISMATCH for scores of another recipe, BAD_CALIBRATION for what cannot judge face and voice."""
    calibration.check_recipe(recipe)
    unknown = sorted(set(calibration.qualities) - set(QUALITIES))
    if calibration.task != Task.CONSISTENCY or not calibration.is_approved or unknown:
        raise Code.BAD_CALIBRATION(
            f"The calibration {calibration.id[:12]} is {calibration.status}, for {calibration.task}"
            + (f", and asks for {', '.join(unknown)}." if unknown else "."),
            f"Wanted an approved one for {Task.CONSISTENCY} that asks for these at most: {', '.join(QUALITIES)}.",
        )


def judge_consistency(
    calibration: Calibration, score: float, speech_s: float, face_px: float, reasons: Iterable[Reason]
) -> dict[str, Any]:
    """Give the fields of a ConsistencyReport from `llr` and `calibration` to `smallest_p`.

    Where a reason bars a ratio, there is no ratio and no p-value: the zone is inconclusive.
    """
    told: dict[str, Any] = {"calibration": write_note(calibration), "zone": str(Zone.INCONCLUSIVE)}
    if any(reason.bars_llr for reason in reasons):
        return told
    qualities = np.array([[QUALITIES[name](speech_s, face_px) for name in calibration.qualities]])
    llr = float(calibration.llrs(np.array([score]), qualities)[0])
    told |= {"llr": llr, "zone": str(find_zone(llr, calibration.policy)), "band": str(find_band(llr))}
    stratum = find_stratum(calibration.conformal, speech_s) if calibration.conformal else None
    if calibration.conformal is not None and stratum is not None and stratum.scores:
        told |= {"p_value": tell_p(calibration.conformal, score, speech_s), "smallest_p": stratum.smallest_p}
    return told


def write_note(calibration: Calibration) -> CalibrationNote:
    """Name the record in a result."""
    return CalibrationNote(
        id=calibration.id,
        version=calibration.version,
        author=calibration.author,
        approver=calibration.approver,
        bounds_llr=(calibration.bounds.lower_llr, calibration.bounds.upper_llr),
        supported_llr=calibration.policy.supported_llr,
        against_llr=calibration.policy.against_llr,
    )
