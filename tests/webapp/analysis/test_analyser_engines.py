"""One engine besides the default is held, and never two of them."""

import gc
import weakref

import pytest

from engine.consistency.methods import Method
from engine.errors import WeightsMissing
from engine.types import Mode, Model
from tests.fakes import FakeEngine
from webapp.analysis.analyser import Engines

LARGE, PAPER = Method(Model.AVHUBERT_LARGE), Method(Model.AVHUBERT_LARGE, Mode.PAPER)


def test_the_default_is_never_loaded_anew() -> None:
    default = FakeEngine()
    engines = Engines(default, lambda method: pytest.fail("loaded"))
    assert engines.get(Method()) is default


def test_each_is_loaded_when_first_asked_for_and_kept_until_another_is() -> None:
    loaded: list[Method] = []
    engines = Engines(FakeEngine(), lambda method: loaded.append(method) or FakeEngine())
    for method in (LARGE, LARGE, Method(), LARGE, PAPER, LARGE):
        engines.get(method)
    assert loaded == [LARGE, PAPER, LARGE]


def test_the_last_is_let_go_before_the_next_is_loaded() -> None:
    alive: list[weakref.ref[FakeEngine]] = []

    def load(method: Method) -> FakeEngine:
        gc.collect()
        assert not [engine for engine in alive if engine() is not None]
        engine = FakeEngine()
        alive.append(weakref.ref(engine))
        return engine

    engines = Engines(FakeEngine(), load)
    engines.get(LARGE)
    engines.get(PAPER)
    assert len(alive) == 2


def test_one_that_cannot_be_loaded_leaves_the_default_at_work() -> None:
    def fail(method: Method) -> FakeEngine:
        raise WeightsMissing("gone", "bring it")

    engines = Engines(FakeEngine(), fail)
    for _ in range(2):
        with pytest.raises(WeightsMissing):
            engines.get(LARGE)
    assert engines.get(Method())
