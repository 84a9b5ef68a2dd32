"""A public address for a port of this machine, by cloudflared or ngrok."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pipecat_whatsapp.errors import ConfigError

START_PATIENCE = 30.0
"""Seconds that a tunnel may take to tell its address."""

STOP_PATIENCE = 5.0

# A failure names the service's own address, which is no tunnel.
_CLOUDFLARED_URL = re.compile(r"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com")


@dataclass(frozen=True)
class _Program:
    """A program that opens tunnels.

    Parameters:
        name: Its name on the PATH.
        arguments: What follows it; `{port}` is the port.
        read_url: Finds the public address in a line that it prints.
    """

    name: str
    arguments: tuple[str, ...]
    read_url: Callable[[str], str | None]


@dataclass(frozen=True)
class Tunnel:
    """A tunnel that is open.

    Parameters:
        name: The program.
        url: The public address of the port.
        process: The program, running.
    """

    name: str
    url: str
    process: Process


@asynccontextmanager
async def open_tunnel(port: int) -> AsyncIterator[Tunnel]:
    """Open a tunnel with the first program that is there; it closes in the end.

    Raises:
        ConfigError: No program is there, or it opens no tunnel.
    """
    program = next((program for program in PROGRAMS if shutil.which(program.name)), None)
    if program is None:
        raise ConfigError(
            "There is no public address to give to Meta: name yours with --url, or install "
            "cloudflared or ngrok."
        )
    arguments = [argument.format(port=port) for argument in program.arguments]
    process = await asyncio.create_subprocess_exec(
        program.name, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    reading: asyncio.Task[None] | None = None
    try:
        url = await _wait_for_url(program, process)
        # Its output is read on, or it would stand still once the pipe is full.
        reading = asyncio.create_task(_read_on(process))
        yield Tunnel(program.name, url, process)
    finally:
        await _stop(process)
        if reading is not None:
            # Something that the program started may still hold the pipe.
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _wait_for_url(program: _Program, process: Process) -> str:
    last = ""
    try:
        async with asyncio.timeout(START_PATIENCE):
            async for line in _lines(process):
                url = program.read_url(line)
                if url is not None:
                    return url
                last = line or last
    except TimeoutError:
        last = f"it told no address in {START_PATIENCE:.0f} s"
    raise ConfigError(
        f"{program.name} opened no tunnel ({last[:200] or 'it ended'}): set it up, or name a "
        "public address with --url."
    )


async def _lines(process: Process) -> AsyncIterator[str]:
    line = None
    while process.stdout is not None and line != b"":
        try:
            line = await process.stdout.readline()
        except ValueError:
            # Longer than any line that is looked for.
            continue
        yield line.decode(errors="replace").strip()


async def _read_on(process: Process) -> None:
    async for _ in _lines(process):
        pass


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()


def _cloudflared_url(line: str) -> str | None:
    match = _CLOUDFLARED_URL.search(line)
    return match[0] if match else None


def _ngrok_url(line: str) -> str | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    url = told.get("url") if isinstance(told, dict) else None
    return url if isinstance(url, str) and told.get("msg") == "started tunnel" else None


PROGRAMS = (
    _Program(
        "cloudflared",
        ("tunnel", "--no-autoupdate", "--url", "http://127.0.0.1:{port}"),
        _cloudflared_url,
    ),
    _Program("ngrok", ("http", "{port}", "--log=stdout", "--log-format=json"), _ngrok_url),
)
"""In the order in which they are looked for: the first needs no account."""
