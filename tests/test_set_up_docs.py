"""docs/set-up.md prints what the commands print."""

from __future__ import annotations

from pathlib import Path

from dotenv import dotenv_values

import markdown_pages
from ports import free_port
from stun_server import stun_server
from whatsapp_world import whatsapp_world

PAGE = (Path(__file__).parent.parent / "docs" / "set-up.md").read_text(encoding="utf-8")
SETUP, DOCTOR = (box.splitlines() for box in markdown_pages.blocks(PAGE, "text"))

HERE = ("Python", "pipecat-ai", "aiortc", "variables", "UDP", "NAT", "candidates", "sound")
"""Findings that tell of this machine, or of the simulated WhatsApp."""


async def test_setup_and_doctor_print_what_the_page_shows(tmp_path: Path) -> None:
    port = free_port()
    async with whatsapp_world(tmp_path) as world, stun_server() as stun:
        account = world.meta.account
        for name in ("PHONE_NUMBER_ID", "WEBHOOK_VERIFICATION_TOKEN", "TOKEN", "APP_SECRET"):
            world.environ[f"WHATSAPP_{name}"] = ""
        url = f"http://127.0.0.1:{port}/whatsapp"
        setup = await world.command(
            "setup", "--token", account.token, "--app-secret", account.app_secret,
            "--port", port, "--url", url,
        )  # fmt: skip
        assert shown(setup.output, port) == SETUP
        token = dotenv_values(world.env_file)["WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"]
        await world.start_bot(port, verification_token=token)
        doctor = await world.command("doctor", "--stun", stun, "--bot-url", url)
    printed = shown(doctor.output, port)
    assert [name_of(line) for line in printed] == [name_of(line) for line in DOCTOR]
    assert [line for line in printed if name_of(line) not in HERE] == [
        line for line in DOCTOR if name_of(line) not in HERE
    ]


def shown(output: str, port: int) -> list[str]:
    """What a command printed, with the page's address and port."""
    public = output.replace(f"http://127.0.0.1:{port}/", "https://bot.example.com/")
    return public.replace(str(port), "7860").splitlines()


def name_of(line: str) -> str:
    """What a line of the doctor's is about."""
    return line[9:30].strip()
