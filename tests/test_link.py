from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from pipecat_whatsapp.commands.link import call_link
from pipecat_whatsapp.errors import ConfigError
from terminal import run

CLI = ("-m", "pipecat_whatsapp.cli")


def test_a_link_carries_its_payload_unchanged() -> None:
    link = urlsplit(call_link("15550001111", "a b/ü&x=1+2#3"))
    assert link[:3] == ("https", "wa.me", "/call/15550001111")
    assert parse_qs(link.query) == {"biz_payload": ["a b/ü&x=1+2#3"]}
    assert link.fragment == ""


def test_a_link_without_a_payload_has_no_query() -> None:
    assert call_link("15550001111") == "https://wa.me/call/15550001111"


def test_whatsapp_takes_payloads_of_512_characters() -> None:
    assert call_link("15550001111", "ü" * 512)
    with pytest.raises(ConfigError, match="513 characters"):
        call_link("15550001111", "ü" * 513)


async def test_link_prints_the_address_and_draws_it(tmp_path: Path) -> None:
    png, svg = tmp_path / "code.png", tmp_path / "code.svg"
    outcome = await run(
        *CLI, "link", "+1 (555) 000-1111", "--payload", "shop", "--png", png, "--svg", svg
    )
    assert outcome.code == 0, outcome
    lines = outcome.output.splitlines()
    assert lines[0] == "https://wa.me/call/15550001111?biz_payload=shop"
    assert any("█" in line for line in lines[1:])
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()


async def test_a_picture_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    outcome = await run(*CLI, "link", "15550001111", "--png", tmp_path / "nowhere" / "code.png")
    assert outcome.code == 1
    assert outcome.complaint.startswith("The QR code cannot be written: ")
    assert outcome.complaint.count("\n") == 1


async def test_a_link_cannot_call_a_user_id() -> None:
    outcome = await run(*CLI, "link", "DE.900000000000000001")
    assert outcome.code == 1
    assert "not a user id" in outcome.complaint


async def test_pipecats_own_command_line_has_ours() -> None:
    outcome = await run("-c", "from pipecat.cli.main import run; run()", "whatsapp", "--help")
    assert outcome.code == 0, outcome
    assert "link" in outcome.output
    assert "Warning" not in outcome.complaint


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    heavy = {"aiohttp", "aiortc", "fastapi", "numpy", "pipecat", "segno"}
    script = f"import sys, pipecat_whatsapp.cli; print({heavy!r} & set(sys.modules))"
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_a_traceback_shows_no_variables() -> None:
    script = (
        "import typer\nmade, make = [], typer.Typer\n"
        "typer.Typer = lambda **options: made.append(options) or make(**options)\n"
        "import pipecat_whatsapp.cli\n"
        "print([options.get('pretty_exceptions_show_locals') for options in made])"
    )
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[False, False]\n"


async def test_a_link_that_no_qr_code_can_hold_is_printed_all_the_same() -> None:
    outcome = await run(*CLI, "link", "15550001111", "--payload", "\u00fc" * 512)
    assert outcome.code == 1
    assert outcome.output == call_link("15550001111", "\u00fc" * 512) + "\n"
    assert "QR code" in outcome.complaint
    assert outcome.complaint.count("\n") == 1
