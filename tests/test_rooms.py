"""Imports between rooms run in one direction: each table names, per room, the rooms that it may import."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES: dict[str, set[str]] = {"engine": set(), "gallery_db": {"engine"}, "webapp": {"engine", "gallery_db"}}
ENGINE = (
    "json_fields types errors settings metrics devices media.sandbox media fetch datasets weights faces speech models "
    "features consistency calibration long_recordings span_reports track_reports pipeline reports style motion "
    "synthesis forging "
    "evaluation.trials evaluation.results evaluation.speakers evaluation training doctor"
).split()
"""The rooms and flat modules of the engine from bottom to top; each may import those before it."""
WEBAPP = {
    "errors": "",
    "i18n": "",
    "migrations": "database",  # Alembic's environment; the versions import column types only
    "templates": "i18n",
    "database": "errors migrations",  # the folder of the versions
    "analysis": "errors",
    "jobs": "errors database analysis",
    "gallery": "database jobs",
    "batch": "errors analysis jobs",
    "accounts": "errors templates database",
    "views": "i18n templates analysis jobs",
    "bundle": "errors templates analysis jobs views",
    "context": "errors gallery jobs accounts bundle",
    "pages": "errors i18n templates analysis jobs batch accounts views bundle context",
    "api": "errors analysis jobs accounts bundle context",
    "server": "accounts api context pages",
    "progress": "",
    "notebook": "analysis progress",
    "cli": "progress analysis jobs gallery batch accounts bundle context pages server",
    "__main__": "cli",
}
"""The rooms and flat modules of webapp from bottom to top, each with those that it imports."""


@cache
def list_imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether it does so at import time rather than in a function or for types."""
    return list(_walk(ast.parse(path.read_text("utf-8")), is_direct=True))


def _walk(node: ast.AST, is_direct: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, is_direct) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module, "relative imports hide the room"
            yield from ((find_module(f"{child.module}.{alias.name}"), is_direct) for alias in child.names)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, False)
        else:
            yield from _walk(
                child, is_direct and not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
            )


def find_module(name: str) -> str:
    """Drop the last name unless it is a module of ours: `from a import b` imports a module or a symbol."""
    path = ROOT.joinpath(*name.split("."))
    return name if path.is_dir() or path.with_suffix(".py").is_file() else name.rpartition(".")[0]


def find_room(module: str) -> str:
    """Return the deepest room with the module: `engine.media.sandbox.ipc` is in `engine.media.sandbox`."""
    package, *names = module.split(".")
    rooms = {"engine": ENGINE, "webapp": WEBAPP}.get(package, ())
    return next((f"{package}.{room}" for n in (2, 1) if (room := ".".join(names[:n])) in rooms), package)


def list_modules(package: str) -> dict[str, Path]:
    """Return every module of a package but its migrations' versions, by name."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def list_edges(package: str) -> dict[tuple[str, str], list[str]]:
    """Return the imports between rooms of a package as (importing room, imported room), with the importing modules."""
    edges: dict[tuple[str, str], list[str]] = {}
    for module, path in list_modules(package).items():
        for name, _ in list_imports(path):
            pair = find_room(module), find_room(name)
            if pair[0] != pair[1] and name.split(".")[0] == package:
                edges.setdefault(pair, []).append(module)
    return edges


def list_cycle(imports: dict[str, set[str]]) -> list[str]:
    """Return one circle of imports; empty if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    others = {*PACKAGES, "tests", "benchmarks"} - {package} - PACKAGES[package]
    for module, path in list_modules(package).items():
        assert not (found := {name for name, _ in list_imports(path) if name.split(".")[0] in others}), (module, found)


def test_every_module_is_in_a_listed_room() -> None:
    for package, rooms in (("engine", ENGINE), ("webapp", WEBAPP)):
        unlisted = {module for module in list_modules(package) if find_room(module) == package} - {package}
        assert not unlisted, unlisted
        assert {find_room(module) for module in list_modules(package)} - {package} == {
            f"{package}.{one}" for one in rooms
        }


def test_engine_rooms_import_only_rooms_before_them() -> None:
    place = {f"engine.{room}": number for number, room in enumerate(ENGINE)} | {"engine": -1}
    assert {pair: by for pair, by in list_edges("engine").items() if place[pair[1]] > place[pair[0]] > -1} == {}


def test_webapp_rooms_import_only_what_their_row_lists() -> None:
    allowed = {(f"webapp.{room}", f"webapp.{one}") for room, listed in WEBAPP.items() for one in listed.split()}
    edges = list_edges("webapp")
    assert {pair: by for pair, by in edges.items() if pair not in allowed} == {}
    assert allowed <= set(edges), "a row lists an import that does not exist"


def test_webapp_rows_list_only_rows_above_them() -> None:
    rooms = list(WEBAPP)
    back = {(room, one) for room in rooms for one in WEBAPP[room].split() if rooms.index(one) >= rooms.index(room)}
    assert back == {("migrations", "database")}  # both ways: the environment needs the tables' metadata


def test_imports_have_no_cycle() -> None:
    paths = {module: path for package in PACKAGES for module, path in list_modules(package).items()}
    direct = {module: {name for name, is_direct in list_imports(path) if is_direct} for module, path in paths.items()}
    assert list_cycle({module: (names & set(paths)) - {module} for module, names in direct.items()}) == []


def test_no_two_classes_of_a_package_share_a_name() -> None:
    for package in PACKAGES:
        places: dict[str, list[str]] = {}
        for module, path in list_modules(package).items():
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(module)
        assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_imports_in_functions_and_for_types_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import os.path\nif TYPE_CHECKING:\n    import ast\ndef f():\n    from webapp.pages import app, x\n"
    )
    assert list_imports(path) == [
        ("os.path", True),
        ("ast", False),
        ("webapp.pages.app", False),
        ("webapp.pages", False),
    ]
    assert (
        find_room("engine.media.sandbox.ipc") == "engine.media.sandbox" and find_room("engine.media") == "engine.media"
    )
    assert list_cycle({"a": {"b"}, "b": {"a"}}) and not list_cycle({"a": {"b"}})


def test_records_import_no_torch() -> None:
    for name in ("types.py", "errors.py", "settings.py", "__init__.py"):
        assert "torch" not in {found.split(".")[0] for found, _ in list_imports(ROOT / "engine" / name)}


def test_only_webapp_has_a_command_line() -> None:
    for package in ("engine", "gallery_db"):
        for module, path in list_modules(package).items():
            assert "typer" not in {name.split(".")[0] for name, _ in list_imports(path)}, module
