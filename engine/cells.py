"""Text in the cells of a CSV that a spreadsheet may open: none is taken for a formula.

A cell that begins like a formula is one to spreadsheets, whatever quotes stand around it, and the words of a stranger
(a file's name, a title) may begin so. An apostrophe before it makes it text (OWASP, CSV injection).
"""

FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
GUARD = "'"


def guard_cell(text: str) -> str:
    """The text as it is to be written; `read_cell` gives it back. A plain number stays one."""
    return f"{GUARD}{text}" if _is_formula(text.lstrip(GUARD)) and not _is_number(text) else text


def read_cell(text: str) -> str:
    """What was meant by a cell that `guard_cell` wrote."""
    return text[1:] if text.startswith(GUARD) and _is_formula(text.lstrip(GUARD)) else text


def _is_formula(text: str) -> bool:
    return text[:1] in FORMULA_STARTS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text
