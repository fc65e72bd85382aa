"""What the calibration in force says of a face and its voice: a bounded ratio, its words, or that nothing may be said.

The record in force is the newest approved one of the same task and recipe that its users keep; where they keep none,
the one that comes with the program. A record of another recipe is never applied: the score stays raw.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from engine.calibration.bands import Zone, find_band, find_zone
from engine.calibration.conformal import find_stratum, tell_p
from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, Task, choose_current
from engine.errors import Code
from engine.types import CalibrationNote, Reason

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
