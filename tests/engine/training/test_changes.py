"""Numbers deep in nested options are changed by name, and what makes no sense is refused by name."""

import pytest

from engine.errors import EngineError
from engine.training.avhubert import TRAININGS
from engine.training.changes import change_options

TINY = TRAININGS["tiny"]


def test_every_number_can_be_reached() -> None:
    changed = change_options(
        TINY,
        [
            "steps.learning_rate=1",
            "batches.masks.sound_span=7",
            "iterations.1.layer=2",
            "config.trunk=[1,2,3,4]",
            "batches.tract=null",
            "anew=true",
            "steps.precision=bfloat16",
        ],
    )
    assert changed.steps.learning_rate == 1.0 and isinstance(changed.steps.learning_rate, float)
    assert changed.batches.masks.sound_span == 7 and changed.batches.size == TINY.batches.size
    assert changed.iterations[1].layer == 2 and changed.iterations[0] == TINY.iterations[0]
    assert changed.config.trunk == (1, 2, 3, 4) and changed.batches.tract is None and changed.anew
    assert changed.steps.precision == "bfloat16"
    assert change_options(TINY, []) == TINY


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("steps.speed=1", "'speed' is not one of steps, micro_batches"),
        ("steps.steps=1.5", "1.5 is not of the kind of"),
        ("steps.steps=true", "true is not of the kind of"),
        ("steps=3", "3 is not of the kind of"),
        ("steps.steps", "no value is given"),
        ("steps.steps=many", '"many" is not of the kind of'),
        ("iterations.7.layer=1", "index out of range"),
        ("iterations.x.layer=1", "invalid literal"),
        ("seed.x=1", "it has no parts"),
        ("steps.precision=int8", "wanted one of float32"),
        ("batches.masks.picture_share=2", "shares from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(change: str, told: str) -> None:
    with pytest.raises(EngineError) as refused:
        change_options(TINY, [change])
    assert told in refused.value.message and change.partition("=")[0] in refused.value.message
