"""A second terminal asks a running simulation for one more call.

The simulation listens on loopback, at a port and with a secret that it writes to a file of the
user's own. The answer to a request is the call's story, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

import aiohttp
from aiohttp import web

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.story import Echo

PlaceCall = Callable[[Path, Path | None, Echo], Awaitable[str | None]]
"""Places a call with a question, a recording's path and an echo; returns why it failed, or None."""


class NoSimulationError(SimulatorError):
    """No simulation is running, or it ended during the call."""


def state_file() -> Path:
    """Where a running simulation leaves its address and secret."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or Path.home() / ".cache"
    return Path(folder) / "pipecat-whatsapp" / "simulator.json"


class ControlServer:
    """Takes requests for calls. Use it with `async with`.

    Args:
        place_call: Places one call.

    Attributes:
        url: Where it takes them; empty until it runs.
    """

    def __init__(self, place_call: PlaceCall) -> None:
        self._place_call = place_call
        self._secret = secrets.token_urlsafe(32)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/calls", self._serve)
        # A second terminal that goes away hangs up.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/calls"
        self._write_state()
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(OSError, ValueError, KeyError):
            # A younger simulation may have put its own in place.
            if _read_state()["secret"] == self._secret:
                state_file().unlink()
        if self._runner is not None:
            await self._runner.cleanup()

    def _write_state(self) -> None:
        file = state_file()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another simulation may write its own at the same time: there is always one, and all of it.
        with NamedTemporaryFile("w", dir=file.parent, delete=False) as state:
            json.dump({"url": self.url, "secret": self._secret}, state)
        Path(state.name).replace(file)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._secret}".encode()):
            raise web.HTTPUnauthorized
        try:
            order = await request.json()
            question, record = Path(order["question"]), order["record"] and Path(order["record"])
        except (ValueError, KeyError, TypeError) as error:
            raise web.HTTPBadRequest from error
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await self._tell(response, question, record)
        return response

    async def _tell(
        self, response: web.StreamResponse, question: Path, record: Path | None
    ) -> None:
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def place() -> None:
            failure: str | None = "The simulation broke down."
            try:
                failure = await self._place_call(
                    question, record, lambda line: lines.put_nowait({"line": line})
                )
            finally:
                lines.put_nowait({"failure": failure})

        async with asyncio.TaskGroup() as group:
            group.create_task(place())
            said: dict[str, Any] = {}
            while "failure" not in said:
                said = await lines.get()
                await response.write(json.dumps(said).encode() + b"\n")


async def request_call(question: Path, record: Path | None, echo: Echo) -> str | None:
    """Ask the running simulation for a call, and tell its story.

    Args:
        question: A WAV file with what the caller says.
        record: Where to write what the caller hears.
        echo: Takes each line of the story.

    Returns:
        Why the call failed; None when the bot was heard.

    Raises:
        NoSimulationError: No simulation is running, or it ended during the call.
    """
    nobody = "No simulation is running: start one with `pipecat-whatsapp demo --stay`."
    try:
        state = _read_state()
        url, headers = state["url"], {"Authorization": f"Bearer {state['secret']}"}
    except (OSError, ValueError, KeyError) as error:
        raise NoSimulationError(nobody) from error
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=5)) as client,
            client.post(url, json=_order(question, record), headers=headers) as response,
        ):
            if response.status != 200:
                raise NoSimulationError(nobody)
            async for line in response.content:
                said = json.loads(line)
                if "failure" in said:
                    failure: str | None = said["failure"]
                    return failure
                echo(said["line"])
    except aiohttp.ClientConnectorError as error:
        raise NoSimulationError(nobody) from error
    except aiohttp.ClientError as error:
        raise NoSimulationError("The simulation ended during the call.") from error
    raise NoSimulationError("The simulation ended during the call.")


def _order(question: Path, record: Path | None) -> dict[str, str | None]:
    # The simulation may run in another folder.
    return {
        "question": str(question.absolute()),
        "record": str(record.absolute()) if record else None,
    }


def _read_state() -> dict[str, Any]:
    state: dict[str, Any] = json.loads(state_file().read_text())
    return state
