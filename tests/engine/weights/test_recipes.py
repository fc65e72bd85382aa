"""Digests of options equal those of the first calibrations, independent of names in the code."""

from dataclasses import dataclass, field, make_dataclass, replace
from math import inf

import pytest

from engine.calibration.files import list_shipped
from engine.calibration.records import Task
from engine.consistency.gates import GateOptions
from engine.consistency.offsets import PLAIN_MEAN, ConsistencyOptions
from engine.consistency.scorers import OpinionOptions
from engine.consistency.spans import SpanOptions
from engine.faces.tracking import FaceOptions
from engine.features.extractor import FACES_VERSION, MOUTHS_VERSION, ROWS_VERSION
from engine.motion.signature import SignatureOptions
from engine.pipeline import EngineOptions
from engine.speech.vad import VoiceOptions
from engine.style.embedder import VERSION, EmbeddingOptions
from engine.types import Status
from engine.weights import recipes
from engine.weights.recipes import FIELDS, IGNORED, hash_options

VOICE = VoiceOptions()
GATES = GateOptions(min_speech_s=4.0)  # of the first calibrations
FREE = ConsistencyOptions(offset_cost=0.0)
OPTIONS = (
    FaceOptions,
    VoiceOptions,
    ConsistencyOptions,
    GateOptions,
    OpinionOptions,
    EngineOptions,
    EmbeddingOptions,
    SpanOptions,
    SignatureOptions,
)
DIGESTS = {  # as hashed from `repr` in the releases before `recipes`
    "a15e442c": (FREE, VOICE, 2, 1),
    "868242a6": (PLAIN_MEAN, VOICE, 2, 1),
    "cc15f7c0": ((EngineOptions(consistency=FREE, gates=GATES), []), VOICE, 2, 1),
    "103a2d0f": ((EngineOptions(consistency=PLAIN_MEAN, gates=replace(GATES, clear_score=inf)), []), VOICE, 2, 1),
    "9165d729": ((EngineOptions(consistency=FREE, gates=GATES), [PLAIN_MEAN]), VOICE, 2, 1),
    "952fb655": (EmbeddingOptions(), 1, 1),
    "b2e1f6d3": (FaceOptions(), VOICE, 2),
    "b25fe29c": (FaceOptions(), 1),
    "74f49ced": (
        ConsistencyOptions(max_offset=20, overlap_power=0.25, offset_cost=0.0),
        VoiceOptions(threshold=0.4),
        2,
        1,
    ),
    "912953e2": (
        EngineOptions(
            FaceOptions(max_gap=13),
            FREE,
            gates=replace(GATES, silence_dbfs=-50.0, clear_score=inf),
            opinions=OpinionOptions(clear=3.5),
        ),
        [],
    ),
    "14e09503": (EmbeddingOptions(lowest=-1.5), 1, 1),
}


@pytest.mark.parametrize("digest", DIGESTS)
def test_digests_are_those_of_the_first_calibrations(digest):
    assert hash_options(DIGESTS[digest]) == digest


def test_shipped_calibrations_are_of_the_default_options():
    found = {one.task: one.recipe for one in list_shipped()}
    consistency = hash_options((ConsistencyOptions(), VOICE, ROWS_VERSION, MOUTHS_VERSION))
    assert found[Task.CONSISTENCY].endswith(f"+strict+options-{consistency}")
    style = hash_options((EmbeddingOptions(), VERSION, FACES_VERSION))
    assert found[Task.VERIFICATION].endswith(f"+options-{style}")
    assert found[Task.IDENTIFICATION].endswith(f"+options-{style}")


def test_every_option_is_pinned():
    assert {kind.recipe_name for kind in OPTIONS} == set(FIELDS)
    for kind in OPTIONS:
        hash_options(kind())


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_renamed_class_of_another_module_has_the_same_digest(kind):
    renamed = type("Renamed", (kind,), {"__module__": "elsewhere", "__slots__": ()})
    assert repr(renamed()) != repr(kind())
    assert hash_options((renamed(), VOICE)) == hash_options((kind(), VOICE))


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_changed_value_changes_the_digest(kind):
    plain = kind()
    digests = [hash_options(plain)]
    names = [name for name in FIELDS[kind.recipe_name] if name not in IGNORED.get(kind.recipe_name, {})]
    for name in names:
        value = getattr(plain, name)
        other = value + 1 if isinstance(value, int | float) else next(iter(_change(value)))
        digests.append(hash_options(replace(plain, **{name: other})))
    assert len(set(digests)) == len(names) + 1


def test_the_number_of_faces_changes_no_digest():
    assert (
        hash_options(FaceOptions(max_faces=8)) == hash_options(FaceOptions(max_faces=99)) == hash_options(FaceOptions())
    )


def _change(options):
    """Copies of options with one other value each."""
    return (replace(options, **{name: getattr(options, name) + 1}) for name in FIELDS[options.recipe_name])


def test_added_field_changes_the_digest_only_where_it_differs(monkeypatch):
    base = EmbeddingOptions
    grown = make_dataclass(
        "Grown", [("b", int, field(default=7)), ("a", int, field(default=0))], bases=(base,), frozen=True
    )
    monkeypatch.setattr(recipes, "ADDED_FIELDS", {"EmbeddingOptions": {"b": 7, "a": 0}})

    assert hash_options((grown(), 1, 1)) == "952fb655"
    digests = {hash_options((one, 1, 1)) for one in (grown(), grown(a=1), grown(b=1), grown(a=1, b=1))}
    assert len(digests) == 4


def test_a_later_default_of_an_added_field_changes_the_digest(monkeypatch):
    """What counts is the value that reproduces the behaviour before the field, not the default of the day."""
    grown = make_dataclass("Grown", [("added", int, field(default=8))], bases=(EmbeddingOptions,), frozen=True)
    monkeypatch.setattr(recipes, "ADDED_FIELDS", {"EmbeddingOptions": {"added": 7}})

    assert hash_options((grown(), 1, 1)) != "952fb655"
    assert hash_options((grown(added=7), 1, 1)) == "952fb655"


def test_what_is_not_pinned_is_refused():
    grown = make_dataclass("Grown", [("added", int, field(default=7))], bases=(EmbeddingOptions,), frozen=True)
    with pytest.raises(TypeError, match=r"pin the fields of Grown .*: lowest, added"):
        hash_options(grown())

    @dataclass
    class Unknown:
        value: int = 1

    with pytest.raises(TypeError, match="Unknown"):
        hash_options((Unknown(), 1))
    for value in ({"a": 1}, Status.LIMITED):
        with pytest.raises(TypeError, match="no pinned text"):
            hash_options(value)


def test_sequences_are_written_as_repr_does():
    for value in ((), (1,), (1, "a", None, b"x", 0.1, inf, True), [], [(1,), [2]]):
        assert recipes._describe(value) == repr(value)
