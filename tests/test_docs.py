"""Paths, links, commands and options named in the documentation exist."""

import re
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup

from webapp.cli.main import COMMANDS, load_command

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted((ROOT / "docs").glob("*.md"))
FOLDERS = "engine|webapp|gallery_db|benchmarks|tests|notebooks|docs|docker|constraints"
NAMED_PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*\w/?")
MODULE = re.compile(rf"-m\s((?:{FOLDERS})[\w.]*)")
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"```[^\n]*\n(.*?)```|`([^`]+)`", re.DOTALL)
CALL = re.compile(r"^(?:.*&& |torchrun .* -m webapp\.cli )?wayspeak (.*)$")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def read_calls(text: str) -> list[str]:
    """Return what follows `wayspeak` in code, a line each."""
    lines = [line for block, span in CODE.findall(text) for line in (block or span.replace("\n", " ")).splitlines()]
    return [found[1].partition("  #")[0] for line in lines if (found := CALL.match(line.strip()))]


def find_commands(call: str) -> list[TyperCommand | TyperGroup]:
    """Return the command of a call, or each of `gallery list|stats`; AssertionError where there is none."""
    verb, *rest = call.replace("\\|", "|").split()
    assert verb in COMMANDS, f"wayspeak {verb}"
    found = [load_command(verb)]
    for word in rest:
        if not isinstance(found[0], TyperGroup):
            break
        missing = set(word.split("|")) - set(found[0].commands)
        assert not missing, f"wayspeak {verb} {missing}"
        found = [found[0].commands[name] for name in word.split("|")]
    return found


def slug(heading: str) -> str:
    """Return the anchor that a heading has on the web."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [name for name in NAMED_PATH.findall(text) if not (ROOT / name).exists()]
    modules = [name.replace(".", "/") for name in MODULE.findall(text)]
    missing += [
        name for name in modules if not any((ROOT / f"{name}{end}").exists() for end in (".py", "/__main__.py"))
    ]
    assert not missing


def test_each_name_of_the_architecture_is_in_the_code() -> None:
    names = set(re.findall(r"`([A-Z]\w+)`", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    files = [file for folder in ("engine", "gallery_db", "webapp") for file in (ROOT / folder).rglob("*.py")]
    defined = set(re.findall(r"^(?:class )?([A-Z]\w+)", "\n".join(map(Path.read_text, files)), re.MULTILINE))
    assert len(names) > 10 and names <= defined


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_the_documentation_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    for call in read_calls(page.read_text("utf-8")):
        if call in ("--help", "COMMAND --help"):
            continue
        commands = find_commands(call)
        known = {name for one in commands for option in one.params for name in (*option.opts, *option.secondary_opts)}
        assert set(OPTION.findall(call)) <= known | {"--help"}, f"wayspeak {call}"


def test_the_documentation_names_enough_to_check() -> None:
    texts = [page.read_text("utf-8") for page in PAGES]
    assert len(PAGES) > 15
    assert sum(len(NAMED_PATH.findall(text)) for text in texts) > 40
    assert sum(len(read_calls(text)) for text in texts) > 40


def test_a_command_that_is_not_there_is_seen() -> None:
    assert read_calls("`wayspeak fly --far`, ```\nwayspeak fetch URL  # now\n```") == ["fly --far", "fetch URL"]
    with pytest.raises(AssertionError, match="wayspeak fly"):
        find_commands("fly --far")
    with pytest.raises(AssertionError, match=r"gallery .*lost"):
        find_commands("gallery list|lost")


def test_each_page_of_the_documentation_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert len(names) > 10
    assert {name for name in names if f"({name})" not in index} == set()


def test_the_readme_fits_on_a_page_and_says_what_it_must() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert "Mismatch is not proof of a deepfake" in text and "Match does not prove authenticity" in text
    assert "Forged clips are not covered" in text
