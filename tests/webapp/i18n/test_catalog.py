"""Translations of the page: none missing, none unused, none that claims too much."""

import ast
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from string import Formatter
from types import ModuleType, SimpleNamespace

import pytest
from gradio.context import LocalContext
from jinja2 import nodes

from engine.calibration import verbal_scale
from engine.calibration.files import list_shipped
from engine.calibration.records import Task
from engine.consistency.methods import Method
from engine.reports.media import Head, Template
from engine.reports.text import PAPER_MODE, RESEARCH_ONLY
from engine.types import CalibrationNote, Mode, Model, Reason, Status, Window
from engine.weights.registry import WEIGHTS, WeightState
from gallery_db.records import SearchReason
from tests.fakes import make_analysis, make_curve, make_report
from webapp.analysis.examples import EXAMPLES
from webapp.analysis.signals import Gate
from webapp.i18n import LANGUAGES, say, speak
from webapp.i18n.catalog import choose_language, label, read_catalogues, translations
from webapp.templates import ENVIRONMENT
from webapp.views import analysis as views
from webapp.views import identification as who_views
from webapp.views import jobs as job_views
from webapp.views import speakers
from webapp.views.plots import plot_curve, plot_timeline

ROOT = Path(__file__).parents[3]
GERMAN = ROOT / "webapp" / "i18n" / "de.json"
ALL_TITLES = [
    Method(model, mode, second).title
    for model in Model
    for mode in Mode
    for second in (None, *Model)
    if second != model
]
ELSEWHERE: dict[str, Iterable[str]] = {  # texts of expressions that are not literals of the file
    "verbal.template": (verbal_scale.STRENGTH, verbal_scale.NO_STRENGTH),
    "verbal.likelier": [text for pair in verbal_scale.HYPOTHESES.values() for text in (pair.first, pair.second)],
    "verbal.other": [text for pair in verbal_scale.HYPOTHESES.values() for text in (pair.first, pair.second)],
    "verbal.band.value": [band.value for band in verbal_scale.Band],
    "note.author": [one.author for one in list_shipped()],
    "note.approver": [one.approver for one in list_shipped() if one.approver],
    "example.title": [one.title for one in EXAMPLES],
    "example.caption": [one.caption for one in EXAMPLES],
    "reason.text": [reason.text for reason in Reason],
    "reason.next_step": [reason.next_step for reason in Reason],
    "note": (PAPER_MODE, RESEARCH_ONLY),
    "word": [word for _, word in views.STATUS_WORDS.values()],
    "fact.head": list(Head),
    "fact.text": list(Template),
    "kind.value": [kind.value for kind in Gate],
    "check.state.value": [state.value for state in WeightState],
    "weight.purpose": [weight.purpose for weight in WEIGHTS],
    **dict.fromkeys(("method.title", "name_method(one)", "name_method(analysis)"), ALL_TITLES),
}
FORBIDDEN = re.compile(
    r"(%|prozent)\s*(gefälscht|fake|unecht)|fälschungswahrscheinlichkeit|\b(beweist|bewiesen|erwiesen|nachgewiesen)\b"
    r"|(?<!kein )\bbeweis\b|wahrscheinlichkeit[^.]*(gefälscht|fälschung|fake)|(?<!nicht die )wahrscheinlichkeit, dass",
    re.IGNORECASE,
)


def list_texts(value: object) -> set[str]:
    """Return every text in nested tables, without the keys of mappings."""
    if isinstance(value, str):
        return {str(value)}
    if isinstance(value, Mapping):
        value = list(value.values())
    return {text for one in value for text in list_texts(one)} if isinstance(value, tuple | list) else set()


class Scope:
    """Scope of a function or module in which names are resolved to texts."""

    def __init__(self, node: ast.AST, module: ModuleType | SimpleNamespace):
        self.module = module
        self.bindings: list[tuple[ast.expr, ast.expr, bool]] = []  # target, source, whether it runs over the source
        for one in ast.walk(node):
            if isinstance(one, ast.comprehension | ast.For):
                self.bindings.append((one.target, one.iter, True))
            elif isinstance(one, ast.Assign):
                self.bindings += [(target, one.value, False) for target in one.targets]

    def resolve(self, node: ast.expr) -> set[str]:
        """Return all texts that an expression may evaluate to; empty if unknown."""
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.IfExp(body=body, orelse=orelse):
                return self.resolve(body) | self.resolve(orelse)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return {text for part in parts for text in self.resolve(part)}
            case ast.Starred(value=inner) | ast.Subscript(value=inner):
                return self.resolve(inner)
            case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[_, default]):
                return self.resolve(table) | self.resolve(default)
            case ast.Name(id=name):
                return self._resolve_name(name)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                return list_texts(getattr(getattr(self.module, owner, None), name, None))
        return set()

    def _resolve_name(self, name: str) -> set[str]:
        found: set[str] = set()
        for target, source, runs in self.bindings:
            if isinstance(target, ast.Name) and target.id == name:
                found |= self.resolve(source)
            elif runs and isinstance(target, ast.Tuple):
                places = [at for at, part in enumerate(target.elts) if isinstance(part, ast.Name) and part.id == name]
                found |= {text for at in places for text in self._resolve_column(source, at)}
        return found or list_texts(getattr(self.module, name, None))

    def _resolve_column(self, source: ast.expr, at: int) -> set[str]:
        """Return the texts in one column of a literal table."""
        if isinstance(source, ast.Name):
            source = next((value for target, value, _ in self.bindings if ast.unparse(target) == source.id), source)
        if isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute) and source.func.attr == "items":
            return self.resolve(source.func.value) if at == 1 else set()
        rows = [one for one in ast.walk(source) if isinstance(one, ast.Tuple) and len(one.elts) > at]
        return {text for row in rows for text in self.resolve(row.elts[at])}


def list_calls(tree: ast.AST, names: set[str]) -> list[ast.expr]:
    """Return the first argument of every call of these names."""
    calls = [one for one in ast.walk(tree) if isinstance(one, ast.Call) and one.args]
    return [one.args[0] for one in calls if isinstance(one.func, ast.Name) and one.func.id in names]


def find_said(source: str, module: ModuleType | SimpleNamespace, names: set[str]) -> dict[str, set[str]]:
    """Return the translated texts by expression."""
    tree = ast.parse(source)
    functions = [one for one in tree.body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    found: dict[str, set[str]] = {}
    for node in [*functions, *[one for one in tree.body if one not in functions]]:
        scope = Scope(node, module)
        for argument in list_calls(node, names):
            key = ast.unparse(argument)
            found.setdefault(key, set()).update(ELSEWHERE[key] if key in ELSEWHERE else scope.resolve(argument))
    return found


def find_all_said(names: set[str]) -> Iterator[tuple[str, str, set[str]]]:
    """Yield file, expression and texts of every call in webapp."""
    for path in sorted((ROOT / "webapp").rglob("*.py")):
        source = path.read_text("utf-8")
        if path.parent.name == "i18n" or not re.search(r"\b(say|label)\(", source):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for expression, texts in find_said(source, importlib.import_module(name), names).items():
            yield name, expression, texts
    for path in sorted((ROOT / "webapp" / "templates").iterdir()):
        for expression, texts in find_said_by_template(path.read_text("utf-8"), names).items():
            yield path.name, expression, texts


def find_said_by_template(source: str, names: set[str]) -> dict[str, set[str]]:
    """Return the texts of a template by argument; empty if it is not a literal."""
    calls = [one for one in ENVIRONMENT.parse(source).find_all(nodes.Call) if isinstance(one.node, nodes.Name)]
    said = [one.args[0] for one in calls if one.node.name in names]
    return {repr(one): {one.value} if isinstance(one, nodes.Const) else set() for one in said}


def name_fields(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.fixture(scope="module")
def said() -> list[tuple[str, str, set[str]]]:
    found = list(find_all_said({"say", "label"}))
    assert len(found) > 200
    return found


@pytest.fixture(scope="module")
def german() -> dict[str, str]:
    words: dict[str, str] = json.loads(GERMAN.read_text("utf-8"))
    return words


def test_collector_finds_every_way_of_translating() -> None:
    source = """
TITLES = ("g", "h")
def f(x, n):
    say("a", n=n), label("b") if x else say("c" if x else "d"), other("no")
    [say(text) for text in ("e", "f")], [say(text) for text in TITLES], say(TABLE[x]), say(far.WORDS[x])
    rows = [("no", "i"), *([("no", "j")] if x else [])]
    for name, text in rows:
        say(text)
    say(TABLE.get(x, "m")), [label(each) for key, each in TABLE.items()], say(unknown(x))
"""
    module = SimpleNamespace(
        TITLES=("g", "h"), TABLE={"no": "k"}, far=SimpleNamespace(WORDS={1: ("l",)}), __name__="room"
    )
    found = find_said(source, module, {"say", "label"})
    assert set().union(*found.values()) - set("efghij") == set("abcdklm")
    assert set("efghij") <= found["text"] and found["each"] == {"k"}
    assert found["unknown(x)"] == set()  # an unresolved call is reported


def test_the_collector_sees_what_a_template_says() -> None:
    found = find_said_by_template(
        '{% macro m(x) %}{{ say("a", n=x) | e }}{{ heads([say("b")]) }}{% endmacro %}', {"say"}
    )
    assert set().union(*found.values()) == {"a", "b"}
    assert list(find_said_by_template("{{ say(x) }}", {"say"}).values()) == [set()]


def test_everything_the_page_says_can_be_traced_to_its_words(said: list[tuple[str, str, set[str]]]) -> None:
    assert not [(file, expression) for file, expression, texts in said if not texts]


def test_each_text_of_the_page_is_there_in_german(
    said: list[tuple[str, str, set[str]]], german: dict[str, str]
) -> None:
    assert not {text: file for file, _, texts in said for text in texts if not german.get(text, "").strip()}


def test_german_fills_in_what_english_does(german: dict[str, str]) -> None:
    assert not {text for text, words in german.items() if name_fields(text) != name_fields(words)}
    assert sum(bool(name_fields(text)) for text in german) > 30


def test_unused_translations_are_absent(said: list[tuple[str, str, set[str]]], german: dict[str, str]) -> None:
    assert not set(german) - {text for _, _, texts in said for text in texts}


def test_german_texts_differ_from_english(german: dict[str, str]) -> None:
    same = {text for text, words in german.items() if text == words}
    assert same == set("Analyse Clip Clips Manifest Name Person Population Score Version Video Videos".split())


@pytest.mark.parametrize("text", ["87 % gefälscht", "Das beweist es.", "Der Beweis liegt vor.", "ist erwiesen"])
def test_the_check_of_claims_sees_what_it_is_for(text: str) -> None:
    assert FORBIDDEN.search(text)
    assert FORBIDDEN.search("Die Wahrscheinlichkeit, dass das Video gefälscht ist")


def test_german_claims_no_more_than_english(german: dict[str, str]) -> None:
    assert not FORBIDDEN.search("Er ist nicht die Wahrscheinlichkeit, dass ein Video manipuliert ist. Kein Beweis.")
    assert not [words for words in german.values() if FORBIDDEN.search(words)]
    assert "kein Beweis" in german[views.CAUTION[0]] and "kein Beleg" in german[views.CAUTION[1]]


def test_strengths_have_the_words_of_the_guideline_in_order(german: dict[str, str]) -> None:
    steps = ["schwache", "mäßige", "mäßig starke", "starke", "sehr starke", "äußerst starke"]
    assert [german[band.value] for band in list(verbal_scale.Band)[1:]] == [f"{step} Unterstützung" for step in steps]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("fr-CH, fr;q=0.9, de;q=0.7, *;q=0.5", "de"),
        ("DE-at", "de"),
        ("fr,it;q=0.5", "en"),
        ("deu", "en"),
        ("*", "en"),
        ("", "en"),
        (";;q=,,-;", "en"),
        ("../../de,{0.__class__}", "en"),
    ],
)
def test_the_first_language_spoken_here_is_taken(header: str, language: str) -> None:
    assert choose_language(header) == language


@pytest.mark.parametrize("header", ["x" * 10_000, "," * 10_000, ";q=1," * 2_000, "-" * 10_000, "\x00é" * 5_000])
def test_a_hostile_header_is_english_and_reads_no_file(header: str) -> None:
    assert choose_language(header) == "en"
    assert choose_language(f"{header},de") == "de"


def test_language_follows_browser_of_the_request() -> None:
    token = LocalContext.request.set(SimpleNamespace(headers={"accept-language": "de-DE,de;q=0.9"}))
    try:
        assert say("No video chosen") == "Kein Video gewählt"
        with speak("en"):
            assert say("No video chosen") == "No video chosen"
    finally:
        LocalContext.request.reset(token)
    assert say("No video chosen") == "No video chosen"


def test_a_text_without_a_translation_stays_english() -> None:
    with speak("de"):
        assert say("Nobody translated {this}.", this="me") == "Nobody translated me."


@pytest.mark.parametrize("mean", ["{n}", "{0.__class__}", "{{x}}", "{name.__init__}", "%s"])
def test_braces_in_a_name_are_shown_not_filled_in(mean: str) -> None:
    with speak("de"):
        assert say("Supported: {name}.", name=mean) == f"Gestützt: {mean}."
        assert say("{n} clips of {name} were enrolled; {all} in all.", n=2, name=mean, all=3).startswith("2 Clips von")


def test_analysis_text_is_german_including_ratio() -> None:
    note = CalibrationNote("c" * 64, "1.0.0", "Ada", "Grace", (-1.3, 2.4), 0.3, -0.5)
    weighed = replace(make_report(0.5, 2, Reason.EDITED), calibration=note, llr=1.4, zone="supported")
    analysis = make_analysis(weighed)
    with speak("de"):
        html = views.describe_analysis(analysis) + views.describe_face(analysis.tracks[0])
    assert "Ein Gesicht wurde verfolgt" in html and "Gesicht 1" in html and "Gestützt: Gesicht und Stimme" in html
    assert "25-mal wahrscheinlicher" in html and "mäßige Unterstützung" in html
    assert "Der Clip hat Schnitte; jede Einstellung" in html and "als um 0.08 s verspätet" in html
    assert "Er ist nicht die Wahrscheinlichkeit, dass ein Video manipuliert ist" in html
    assert not re.search(r"\b(the|sound|lips|face|speech|score is)\b", re.sub(r"<[^>]*>", " ", html))


def test_speaker_text_is_german_with_capitals() -> None:
    with speak("de"):
        reasons = who_views._list_reasons((SearchReason.UNCALIBRATED,))
        strength = views.describe_strength(2.5, Task.IDENTIFICATION)
    assert "Die Ähnlichkeiten sind roh" in reasons and "Als Nächstes:" in reasons
    assert strength.startswith("Die Befunde sind") and "der erste Treffer ist die Person" in strength


def test_singular_and_plural_texts_differ() -> None:
    assert speakers.count_clips(1, 4) == "one clip, 4.0 s of speech"
    with speak("de"):
        assert [speakers.count_clips(n, 4).split(",")[0] for n in (0, 1, 2)] == ["0 Clips", "ein Clip", "2 Clips"]
        assert "ein Auftrag ist vorher" in job_views._wait(1) and "2 Aufträge sind vorher" in job_views._wait(2)


@pytest.mark.parametrize("status", Status)
def test_each_status_has_a_word_of_its_own_in_german(status: Status) -> None:
    with speak("de"):
        words = {one: views.show_status(one) for one in Status}
    assert words[status] != views.show_status(status) and len(set(words.values())) == len(Status)


def test_figures_are_labelled_in_german() -> None:
    with speak("de"):
        timeline = plot_timeline([Window(0.0, 4.0, 0.4, 0.0)], 10.0, [(0.0, 4.0, Gate.COMPARED)])
        curve = plot_curve(make_curve(2, 0.6))
    assert timeline.layout.xaxis.title.text == "Zeit im Video, s"
    assert timeline.data[1].name == "Sprache zu hören, Gesicht zu sehen"
    assert curve.layout.title.text == "Ähnlichkeit über den Versatz" and curve.data[1].text[0].startswith("am besten")


def test_the_browser_is_given_every_label_in_every_language(german: dict[str, str]) -> None:
    words = translations().translations_dict
    assert set(words) == set(LANGUAGES) and set(words["en"]) == set(words["de"])
    labels = {text for _, _, texts in find_all_said({"label"}) for text in texts}
    assert len(labels) > 60 and labels <= set(words["en"])
    assert all(words["en"][text] == text and words["de"][text] == german[text] for text in labels)
    assert label("Name").to_dict() == {"__type__": "translation_metadata", "key": "Name"}


def test_labels_carry_nothing_that_the_browser_would_read_as_a_pattern() -> None:
    labels = {text for _, _, texts in find_all_said({"label"}) for text in texts}
    words = [each for text in labels for each in (text, read_catalogues()["de"][text])]
    assert not [each for each in words if set("{}<>#'") & set(each)]
