"""The programs that pages of the documentation show, as a test runs them."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import markdown_pages
from bots import PlainBot
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from whatsapp_world import variables

DOCS = Path(__file__).parent.parent / "docs"

Program = Callable[..., Any]
"""Runs a program with the names that it lacks; what it defines."""


def programs_of(page: str) -> list[str]:
    """The blocks of Python of a page, such as "how-to/own-app.md"."""
    return markdown_pages.blocks((DOCS / page).read_text(), "python")


@pytest.fixture
def bot(monkeypatch: pytest.MonkeyPatch) -> PlainBot:
    """The pages' `from bot import bot`."""
    made = PlainBot()
    monkeypatch.setitem(sys.modules, "bot", SimpleNamespace(bot=made))
    return made


@pytest.fixture
def program(
    tmp_path: Path, whatsapp: WhatsApp, bot: PlainBot, monkeypatch: pytest.MonkeyPatch
) -> Program:
    """Runs programs in the environment of the simulated business."""
    for name, value in variables(whatsapp.meta.account, whatsapp.meta.graph_url).items():
        monkeypatch.setenv(name, value)

    def run(code: str, **names: object) -> SimpleNamespace:
        file = tmp_path / "program.py"
        file.write_text(code)
        return SimpleNamespace(**runpy.run_path(str(file), names))

    return run
