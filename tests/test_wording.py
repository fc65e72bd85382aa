"""Texts never state a percentage or probability of manipulation, nor certainty."""

import re
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
