"""Apply the calibration in force: bounded likelihood ratio, zone, verbal scale and conformal p-value.

The record in force is the newest approved one of the same task and recipe in the user's store, else the shipped one. A
record of another recipe is never applied: the score stays raw.

P-values are split conformal (Vovk, Gammerman and Shafer 2005): with n real clips and one more exchangeable with them,
P(p <= a) <= a for any score distribution and any n. They are Mondrian over the length of speech. Clips of one person
are not exchangeable with those of others, so each person contributes one score to a stratum.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from engine.calibration.files import list_shipped
from engine.calibration.lengths import EDGES_S, find_range, list_ranges, select
from engine.calibration.qualities import QUALITIES, SpeechQuality
from engine.calibration.records import Calibration, Conformal, Stratum, Task, choose_current
from engine.calibration.verbal_scale import Zone, find_band, find_zone
from engine.errors import Code
from engine.types import CalibrationNote, Reason


def fit_conformal(
    scores: np.ndarray, seconds: np.ndarray, people: np.ndarray, seed: int = 0, edges_s: Sequence[float] = EDGES_S
) -> Conformal:
    """Draw one score (N,) per person (N,) for each stratum of seconds (N,) of speech, by the seed."""
    rng = np.random.default_rng(seed)
    strata = []
    for start, end in list_ranges(edges_s):
        inside = select(seconds, start, end)
        chosen = [rng.choice(np.flatnonzero(inside & (people == name))) for name in np.unique(people[inside])]
        strata.append(Stratum(start, end, tuple(sorted(float(scores[row]) for row in chosen))))
    return Conformal(tuple(strata))


def p_value(conformal: Conformal, score: float, seconds: float) -> float | None:
    """Return the p-value of a score among real clips: P(score or lower); None below the first stratum.

    (1 + number of scores in the stratum that are no higher) / (n + 1): never below the stratum's `smallest_p`, and 1
    in a stratum without clips.
    """
    stratum = find_range(conformal.strata, seconds)
    if stratum is None:
        return None
    return (1 + sum(one <= score for one in stratum.scores)) / (len(stratum.scores) + 1)


def high_p_value(conformal: Conformal, score: float, seconds: float) -> float | None:
    """Return the p-value of a score among real clips on the other side: P(score or higher); None as in `p_value`.

    Small where face and voice fit better than real speech does, as many generated faces do.
    """
    stratum = find_range(conformal.strata, seconds)
    if stratum is None:
        return None
    return (1 + sum(one >= score for one in stratum.scores)) / (len(stratum.scores) + 1)


def find_calibration(task: Task, recipe: str, kept: Iterable[Calibration] = ()) -> Calibration | None:
    """Return the record in force for a task and the recipe of its scores; None where scores stay raw.

    `kept` are the user's records in any order: they precede the shipped ones, and one that retires a shipped record
    removes it from force.
    """
    own = list(kept)
    superseded = {one.supersedes for one in own}
    shipped = [one for one in list_shipped() if one.id not in superseded]
    return choose_current(own, task, recipe) or choose_current(shipped, task, recipe)


def check_consistency(calibration: Calibration, recipe: str) -> None:
    """Raise RECIPE_MISMATCH for another recipe, BAD_CALIBRATION for another task, status or unknown covariates."""
    calibration.check_recipe(recipe)
    unknown = sorted(set(calibration.qualities) - set(QUALITIES))
    if calibration.task != Task.CONSISTENCY or not calibration.is_approved or unknown:
        raise Code.BAD_CALIBRATION(
            f"The calibration {calibration.id[:12]} is {calibration.status}, for {calibration.task}"
            + (f", and needs {', '.join(unknown)}." if unknown else "."),
            f"Use an approved one for {Task.CONSISTENCY} with these covariates at most: {', '.join(QUALITIES)}.",
        )


def apply_calibration(
    calibration: Calibration, score: float, quality: SpeechQuality, reasons: Iterable[Reason]
) -> dict[str, Any]:
    """Return the fields of a ConsistencyReport from `llr` and `calibration` to `smallest_p`.

    Where a reason bars a likelihood ratio, there is neither ratio nor p-value and the zone is inconclusive.
    """
    fields: dict[str, Any] = {"calibration": to_note(calibration, quality.speech_s), "zone": str(Zone.INCONCLUSIVE)}
    if any(reason.bars_llr for reason in reasons):
        return fields
    qualities = np.array([[QUALITIES[name](quality) for name in calibration.qualities]])
    lengths_s = np.array([quality.speech_s])
    llr = float(calibration.llrs(np.array([score]), qualities, speech_s=lengths_s)[0])
    fields |= {"llr": llr, "zone": str(find_zone(llr, calibration.policy)), "band": str(find_band(llr))}
    stratum = find_range(calibration.conformal.strata, quality.speech_s) if calibration.conformal else None
    if calibration.conformal is not None and stratum is not None and stratum.scores:
        fields |= {"p_value": p_value(calibration.conformal, score, quality.speech_s), "smallest_p": stratum.smallest_p}
        fields["high_p_value"] = high_p_value(calibration.conformal, score, quality.speech_s)
    return fields


def to_note(calibration: Calibration, speech_s: float) -> CalibrationNote:
    """Return the provenance of a record for a report, with the LR bounds for this much speech."""
    return CalibrationNote(
        id=calibration.id,
        version=calibration.version,
        author=calibration.author,
        approver=calibration.approver,
        bounds_llr=calibration.bounds_at(speech_s),
        supported_llr=calibration.policy.supported_llr,
        against_llr=calibration.policy.against_llr,
    )
