"""The checks see what they are for: a writer that escapes passes, one that forgets to does not."""

import csv
import io
from html import escape

import pytest

from engine.datasets.manifest import guard_cell
from tests.payloads import PAYLOADS, check_csv, check_html


def write_row(*cells: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue()


def test_there_are_fifteen_of_them():
    assert len(set(PAYLOADS)) == 15


def test_careful_writers_pass():
    check_csv(lambda text: write_row("name", guard_cell(text), "-0.2"))
    check_html(lambda text: f'<p title="{escape(text)}">{escape(text)}</p>')
    check_html(lambda text: "<p>no word of it</p>", has_payload=False)


@pytest.mark.parametrize(
    "write",
    [
        lambda text: write_row("name", text),
        lambda text: f"name,'{text}\r\n",
        lambda text: write_row("name", "'" + text.replace("=", "")),
    ],
    ids="unguarded unquoted changed".split(),
)
def test_careless_csv_is_seen(write):
    with pytest.raises((AssertionError, csv.Error)):
        check_csv(write)


@pytest.mark.parametrize(
    "write",
    [
        lambda text: f"<p>{text}</p>",
        lambda text: f"<p title='{escape(text, quote=False)}'></p>",
        lambda text: f'<a href="{escape(text)}">x</a>',
        lambda text: f"<script>name = {text!r}</script>",
        lambda text: f"<p>{escape(escape(text))}</p>",
        lambda text: "<p>no word of it</p>",
    ],
    ids="text attribute address script twice left-out".split(),
)
def test_careless_html_is_seen(write):
    with pytest.raises(AssertionError):
        check_html(write)
