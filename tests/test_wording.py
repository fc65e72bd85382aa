"""Texts state no percentage or probability of manipulation and no certainty; comments use the terms of the field."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = re.compile(
    r"%\s*fake|per\s?cent fake|fake[- ]probability|probability (of being|that it is|that the video is) fake"
    r"|probability of (a )?(fake|deepfake)|\bproves\b(?! nothing)|\bproven\b|\bproof that\b",
    re.IGNORECASE,
)
TEXTS = (".py", ".md", ".css", ".js", ".html", ".json", ".yaml", ".toml", ".ipynb")
ROOMS = ("engine", "webapp", "gallery_db", "docs", "notebooks")


def find_texts() -> list[Path]:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in TEXTS]
    return [ROOT / "README.md", *files]


@pytest.mark.parametrize(
    "text", ["87 % fake", "87% FAKE", "fake probability: 0.9", "This proves\nit", "the probability that it is fake"]
)
def test_check_detects_forbidden_examples(text: str) -> None:
    assert FORBIDDEN.search(text)


def test_what_must_be_said_is_allowed() -> None:
    allowed = "Mismatch is not proof of a deepfake. Match does not prove authenticity. It proves nothing. 5 % of fakes."
    assert not FORBIDDEN.search(allowed)


def test_texts_state_no_fake_percentage_or_proof() -> None:
    files = find_texts()
    assert len(files) > 100
    found = {}
    for path in files:
        hits = [match.group() for match in FORBIDDEN.finditer(path.read_text("utf-8"))]
        if hits:
            found[str(path.relative_to(ROOT))] = hits
    assert not found


VAGUE = re.compile(
    r"\b(whose|whoever|somebody|someone|nobody|strangers?|tells?|told|beside|looks? at|lays? out|laid out|sums? up"
    r"|h[eo]ld against|wished|anew|parted)\b",
    re.IGNORECASE,
)


def list_comments_and_docstrings(source: str) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [text for text in docstrings if text] + [one.string for one in tokens if one.type == tokenize.COMMENT]


def test_vague_words_are_detected_in_comments_and_docstrings() -> None:
    texts = list_comments_and_docstrings('def f():\n    """Whose face."""\n    g("told")  # told by nobody\n')
    assert [VAGUE.findall(text) for text in texts] == [["Whose"], ["told", "nobody"]]


def test_comments_and_docstrings_use_plain_technical_english() -> None:
    files = [path for room in ("engine", "gallery_db", "webapp", "benchmarks") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 200
    found = {
        str(path.relative_to(ROOT)): hits
        for path in files
        if (hits := [text for text in list_comments_and_docstrings(path.read_text("utf-8")) if VAGUE.search(text)])
    }
    assert not found
