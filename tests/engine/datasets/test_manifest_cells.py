import pytest

from engine.datasets.manifest import guard_cell, read_cell
from tests.payloads import PAYLOADS

PLAIN = ["", "Ada Lovelace", "-0.2", "+1.5e3", "12", "a=b", "it's", "'quoted'", "…", "~/clip.mp4"]
FORMULAS = ["=1+1", "-x.mp4", "@here", "+49 30 1234", "--", "-", "\t=1", "'=1", "''-2+3", "＝1+1"]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_and_numbers_stay_as_they_are(text):
    assert guard_cell(text) == read_cell(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_is_text(text):
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", [*PLAIN, *FORMULAS, *PAYLOADS])
def test_what_was_written_is_read_back(text):
    assert read_cell(guard_cell(text)) == text
