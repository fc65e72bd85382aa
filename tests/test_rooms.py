"""Imports run one way: engine knows nothing of ours, the gallery knows the engine, the page knows both."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"engine": set(), "gallery_db": {"engine"}, "webapp": {"engine", "gallery_db"}}


def imported_names(source: str) -> set[str]:
    """Top names of every import in the source, also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"no file found in {room}"
    ours = set(MAY_IMPORT) | {"tests", "benchmarks"}
    for file in files:
        strangers = imported_names(file.read_text("utf-8")) & (ours - {room} - MAY_IMPORT[room])
        assert not strangers, f"{file.relative_to(ROOT)} imports {sorted(strangers)}"


def test_the_check_sees_imports_inside_functions() -> None:
    assert imported_names("def f():\n    from webapp.pages.app import x\n    import os.path") == {"webapp", "os"}


def test_importing_a_record_imports_no_torch() -> None:
    for name in ("types.py", "errors.py", "settings.py", "__init__.py"):
        assert "torch" not in imported_names((ROOT / "engine" / name).read_text("utf-8"))


def test_the_command_line_is_in_one_place() -> None:
    for room in ("engine", "gallery_db"):
        for file in sorted((ROOT / room).rglob("*.py")):
            assert "typer" not in imported_names(file.read_text("utf-8")), file.relative_to(ROOT)
