"""A network of one's own in which no UDP gets out, and the doctor in it.

Run as a script inside the namespace, it examines a healthy simulated business.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from terminal import Outcome
from whatsapp_world import whatsapp_world

STUN = "stun:10.0.0.9:3478"

SETUP = """
ip link set lo up
ip link add outer type bridge
ip address add 10.0.0.2/24 dev outer
ip link set outer up
ip rule add priority 0 ipproto udp prohibit
"""
"""TCP goes on over loopback, where Meta and the bot are; UDP to everywhere else is prohibited."""


def why_no_namespace() -> str | None:
    """Why this machine lets us have no such network; None if it does."""
    missing = [tool for tool in ("unshare", "ip") if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not installed"
    made = subprocess.run(  # noqa: S603
        in_namespace("true"), capture_output=True, text=True, check=False
    )
    return made.stderr.strip() or "unshare failed" if made.returncode else None


async def examine_in_namespace() -> Outcome:
    """Examine a business in such a network."""
    process = await asyncio.create_subprocess_exec(
        *in_namespace(f"exec {sys.executable} {__file__}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    assert process.returncode is not None
    return Outcome(process.returncode, output.decode(), complaint.decode())


def in_namespace(command: str, setup: str = SETUP) -> list[str]:
    """How to run a shell's command in a network of one's own."""
    # Who is not root may still be root in a user namespace of his own.
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *rights, "sh", "-ec", f"{setup}\n{command}"]


async def _examine() -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with whatsapp_world(Path(folder)) as world:
            await world.meta.subscribe(await world.start_bot())
            outcome = await world.command("doctor", "--stun", STUN, "--bot-url", world.bot_url)
    sys.stdout.write(outcome.output)
    return outcome.code


if __name__ == "__main__":
    sys.exit(asyncio.run(_examine()))
