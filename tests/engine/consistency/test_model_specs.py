"""Table of consistency models: one row each, and no property that follows from not being the default."""

from math import inf
from pathlib import Path

from engine.consistency import methods
from engine.consistency.gates import GateOptions
from engine.consistency.methods import Method, choose_method, list_lacking, list_methods
from engine.consistency.model_specs import SPECS, ModelSpec
from engine.consistency.offsets import PLAIN_MEAN, ConsistencyOptions
from engine.types import Mode, Model
from engine.weights.registry import COMPACT, WEIGHTS

OTHERS = {Model.AVHUBERT_BASE, Model.AVHUBERT_LARGE}


def test_every_model_has_a_row_and_weights_of_its_own():
    assert set(SPECS) == set(Model)
    assert len({spec.title for spec in SPECS.values()}) == len(Model)
    assert len({spec.weight.file for spec in SPECS.values()}) == len(Model)
    assert all(spec.weight in WEIGHTS for spec in SPECS.values())
    assert all(bool(spec.weight.licence) == spec.research_only for spec in SPECS.values())


def test_rows_are_those_of_the_models():
    for of_avhubert in ("needs_mouths", "research_only", "in_paper_mode"):
        assert {model for model, spec in SPECS.items() if getattr(spec, of_avhubert)} == OTHERS
    for of_compact in ("names_sources", "names_speaker"):
        assert {model for model, spec in SPECS.items() if getattr(spec, of_compact)} == {Model.COMPACT}
    assert (SPECS[Model.COMPACT].options, SPECS[Model.COMPACT].gates) == (ConsistencyOptions(), GateOptions())
    for model in OTHERS:
        assert (SPECS[model].options, SPECS[model].gates) == (PLAIN_MEAN, GateOptions(clear_score=inf))


def test_another_model_is_of_no_research_licence_and_in_no_paper_mode(monkeypatch, tmp_path: Path):
    """A third model needs no licence, no mouth crops and no paper mode."""
    third = ModelSpec(title="Third", weight=COMPACT, load=SPECS[Model.COMPACT].load)
    assert not (third.research_only or third.needs_mouths or third.in_paper_mode or third.names_speaker)

    monkeypatch.setattr(methods, "SPECS", {**SPECS, Model.AVHUBERT_LARGE: third})
    assert [*list_lacking(tmp_path)] == [Model.AVHUBERT_BASE]
    monkeypatch.setattr(methods, "_find_optional", lambda data_dir: (Model.AVHUBERT_LARGE, Model.AVHUBERT_BASE))
    assert choose_method(None, Mode.PAPER, None, tmp_path).model == Model.AVHUBERT_BASE
    assert Method(Model.AVHUBERT_LARGE, Mode.PAPER) not in list_methods(tmp_path)
