"""An approved calibration record of the task `source` that maps a score of 3 to an LR of 1."""

from dataclasses import replace

from engine.calibration.calibrators import Logistic
from engine.calibration.records import Bounds, Calibration, Policy, Task, seal
from engine.motion.evidence import NAMES, name_recipe
from tests.engine.calibration.drawn import CREATED, make_record

RECIPE = name_recipe("rows")


def make_calibration(recipe: str = RECIPE) -> Calibration:
    """Return a record with log10 LR = score - 3 between -2 and 4, supported from 1."""
    n = len(NAMES)
    line = Logistic(-3.0, 1.0, (0.0,) * n, (0.0,) * n, (0.0,) * (n + 1), (1.0,) * (n + 1), (-9.0,) * n, (9.0,) * n)
    draft = replace(
        make_record(),
        id="",
        task=Task.SOURCE,
        recipe=recipe,
        parameters=line,
        qualities=NAMES,
        bounds=Bounds(-2.0, 4.0, "by hand"),
        bounds_by_length=(),
        policy=Policy(1.0, -1.0, 0.05, 0.05),
        conformal=None,
    )
    return seal(draft).approve("Grace", CREATED)
