"""What the pages say can be found, followed and run."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import draw_life
import list_commands
import markdown_pages
from command_line import commands_in, parsed
from pipecat_whatsapp.calls.law import State

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
}
SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}


def each_block(kind: str) -> list[Any]:
    """Every block of a kind, on all pages."""
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, block in enumerate(markdown_pages.blocks(text, kind), 1)
    ]


# What pages say


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in markdown_pages.links(PAGES[page]):
        path, _, place = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}, which is not there"
        if place:
            text = target.read_text(encoding="utf-8")
            assert place in markdown_pages.places(text), f"{page}: {link} has no such heading"


@pytest.mark.parametrize("page", PAGES)
def test_what_belongs_to_a_list_is_read_so_everywhere(page: str) -> None:
    """Python's Markdown wants four spaces, where GitHub does with fewer."""
    text = markdown_pages.FENCED.sub(r"\g<indent>```", PAGES[page])
    assert not re.findall(r"^ {1,3}(?:[-*] |\d+\. |```).*|(?<=\n\n) {1,3}\S.*", text, re.MULTILINE)


@pytest.mark.parametrize("block", each_block("python"))
def test_python_is_python_and_finds_what_it_imports(block: str) -> None:
    code = ast.parse(block)
    compile(code, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipecat_whatsapp"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("block", each_block("toml"))
def test_toml_is_toml(block: str) -> None:
    tomllib.loads(block)


@pytest.mark.parametrize("block", each_block("yaml"))
def test_yaml_is_yaml(block: str) -> None:
    assert list(yaml.safe_load_all(block))


@pytest.mark.parametrize("block", [*each_block("sh"), *each_block("bash")])
def test_commands_are_understood(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands_in(block):
        for file in (word for word in words if word.endswith((".py", ".wav", ".json"))):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch()
        parsed(words)


@pytest.mark.parametrize("block", [*each_block("sh"), *each_block("bash")])
def test_make_has_the_targets(block: str) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", block, re.MULTILINE)) <= set(targets)


def test_variables_are_read_by_the_code_and_listed() -> None:
    variable = re.compile(r"WHATSAPP_[A-Z_0-9]*[A-Z0-9]")
    read = {name for text in SOURCES.values() for name in variable.findall(text)}
    for page, text in PAGES.items():
        assert set(variable.findall(text)) <= read, page
    listed = re.findall(r"^\| `(\w+)`", PAGES["docs/reference/variables.md"], re.MULTILINE)
    assert set(listed) == read


class _Lenient(yaml.SafeLoader):  # type: ignore[misc]
    """Reads mkdocs.yml without what its tags stand for."""


_Lenient.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def test_every_page_is_in_the_navigation() -> None:
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Lenient)  # noqa: S506
    named = re.findall(r"[\w./-]+\.md", str(settings["nav"]))
    assert len(named) == len(set(named))
    made = {name.removeprefix("project/") for name in named if name.startswith("project/")}
    kept = {f"docs/{name}" for name in named if not name.startswith("project/")}
    assert kept == {page for page in PAGES if page.startswith("docs/")}
    assert made == {page for page in PAGES if "/" not in page} - {"README.md"}


# What is made of the code


@pytest.mark.parametrize("life", draw_life.LIVES, ids=lambda life: life.name)
def test_the_pictures_show_the_law(life: draw_life.Life) -> None:
    assert life.path.read_text(encoding="utf-8") == draw_life.draw(life), "run `make docs`"
    assert life.path.name in PAGES["docs/life-of-a-call.md"]


def test_the_pictures_show_every_state() -> None:
    assert {state for life in draw_life.LIVES for state in life.states} == {*State} - {State.ENDED}


def test_the_page_of_the_commands_is_up_to_date() -> None:
    assert PAGES["docs/reference/commands.md"] == list_commands.page(), "run `make docs`"
