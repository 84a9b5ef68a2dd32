"""docs/how-to/troubleshooting.md quotes what the code says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import markdown_pages

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "docs" / "how-to" / f"{name}.md" for name in ("troubleshooting", "turn-and-nat")]
SHORTEST = 8
"""Shorter pieces are in every program."""


@cache
def said() -> list[str]:
    """Every string of the code; what is put into it stands as an ellipsis."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    strings = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [re.sub(r"\{[^}]*\}", "…", text) for text in strings if isinstance(text, str)]


_APART = re.compile(
    # What is put together when the program runs: a name of the doctor's, or what was asked of Meta.
    r"^(?:account subscription|sound|NAT|UDP|candidates|Inbound call) |Meta refused \w+|/whatsapp"
    r"|HTTP \d+|, code \d+|turns?:|…|\.\.\.|: | \(| {2,}|[`.)]|, but |, and | instead of | and "
)


def pieces(line: str) -> list[str]:
    """What of a quoted line is constant."""
    return [piece for part in _APART.split(line) if len(piece := part.strip()) >= SHORTEST]


def quoted() -> list[str]:
    boxes = [box for page in PAGES for box in markdown_pages.blocks(page.read_text(), "text")]
    return [line for box in boxes for line in box.splitlines()]


def inline() -> list[str]:
    """Quotes of the log within the text, known by what is left out of them."""
    return [
        quote for page in PAGES for quote in re.findall(r"`([^`\n]*…[^`\n]*)`", page.read_text())
    ]


@pytest.mark.parametrize("line", [*quoted(), *inline()])
def test_the_code_says_so(line: str) -> None:
    for piece in pieces(line):
        assert any(piece in text for text in said()), piece


def test_nothing_else_counts_as_said() -> None:
    assert len(quoted()) > 30
    assert not any("the moon is full" in text for text in said())
    assert pieces("ended after … s: no media (the moon is full)")[-1] == "the moon is full"
