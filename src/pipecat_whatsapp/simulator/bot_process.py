"""A bot in a process of its own, started as its author starts it: `python bot.py -t whatsapp`."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Self

from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.story import Echo

BOT_PORTS = range(20_000, 30_000)
"""Below what systems give away by themselves (RFC 6335 section 6 names 49152 to 65535)."""

STOP_PATIENCE = 10.0
"""Seconds that a bot gets to end its calls and itself before it is killed."""

_TAIL_LINES = 15
_LONGEST_LINE = 1 << 20


class BotProcess:
    """A running bot. Use it with `async with`: nothing of it is left afterwards.

    Args:
        script: The bot's file.
        account: The simulated account that it serves.
        graph_url: Where the simulated Graph API is.
        port: The port it serves its webhook at; 0 takes a free one.
        echo: Takes each line of its output; None keeps only the last ones.
    """

    def __init__(
        self,
        script: Path,
        *,
        account: Account,
        graph_url: str,
        port: int = 0,
        echo: Echo | None = None,
    ) -> None:
        self._script = script
        self._port = port or _free_port()
        self._environment = _environment(script, account, graph_url)
        self._echo = echo
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        command = ["-t", "whatsapp", "--host", "127.0.0.1", "--port", str(self._port)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self._script),
            *command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE,
            # Ctrl-C at the terminal is for us alone: the bot's last words need our Graph API.
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(self, *_: object) -> None:
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        try:
            with suppress(ProcessLookupError, TimeoutError):
                process.terminate()
                await asyncio.wait_for(process.wait(), STOP_PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            reading.cancel()
            await process.wait()

    @property
    def name(self) -> str:
        """The name of its file."""
        return self._script.name

    @property
    def webhook_urls(self) -> tuple[str, ...]:
        """Where its webhook is."""
        return (f"http://127.0.0.1:{self._port}/whatsapp",)

    @property
    def last_output(self) -> list[str]:
        """The last lines it printed."""
        return list(self._tail)

    async def death(self) -> str:
        """Wait until the bot ends by itself.

        Returns:
            One sentence on why.
        """
        assert self._process is not None  # noqa: S101 - it was started
        assert self._reading is not None  # noqa: S101
        code = await self._process.wait()
        # A child of the bot's may hold the pipe open.
        await asyncio.wait({self._reading}, timeout=1.0)
        name, output = self.name, "\n".join(self._tail)
        if code == 2 and "invalid choice: 'whatsapp'" in output:
            return f"{name} does not know -t whatsapp: import main from pipecat_whatsapp.runner."
        if code == 0:
            return f"{name} ended at once: does it call main() of pipecat_whatsapp.runner?"
        return f"{name} ended with exit code {code}."

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # A line without end; asyncio has dropped it.
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            if self._echo is not None:
                self._echo(text)


def _environment(script: Path, account: Account, graph_url: str) -> dict[str, str]:
    """The bot's environment: everybody's, its .env file's, and above both the simulation's."""
    settings = {
        "WHATSAPP_TOKEN": account.token,
        "WHATSAPP_PHONE_NUMBER_ID": account.phone_number_id,
        "WHATSAPP_APP_SECRET": account.app_secret,
        "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": account.verification_token,
        "WHATSAPP_GRAPH_URL": graph_url,
        "WHATSAPP_GRAPH_VERSION": "",
        # pipecat's runner, and most bots, call load_dotenv(override=True), which would put a real
        # account in the simulated one's place. So the file is read here, and not there.
        "PYTHON_DOTENV_DISABLED": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **_dotenv(script), **settings}


def _dotenv(script: Path) -> dict[str, str]:
    """The variables of the bot's .env file, sought as `load_dotenv` seeks it."""
    from dotenv import dotenv_values

    files = (folder / ".env" for folder in script.resolve().parents)
    file = next((file for file in files if file.is_file()), None)
    values = dotenv_values(file) if file else {}
    return {name: value for name, value in values.items() if value is not None}


def _free_port() -> int:
    """A port that is likely to be free still when the bot binds it.

    Those that the system gives to whoever asks for any are left out: one of them may be given away
    while the bot starts.
    """
    for port in random.sample(BOT_PORTS, len(BOT_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")  # pragma: no cover
