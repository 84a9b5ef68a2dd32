"""The Graph API over HTTP: reads each request, shows the faults asked for, keeps what happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from pipecat_whatsapp.simulator import payloads
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.question import MAX_UPLOAD, Download, GraphRequest, Question, read
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Faults

Answer = Json | Download


class GraphServer:
    """An HTTP server that has every request answered by somebody else.

    Args:
        faults: Latency, failures and losses; read with each request.
        answer: Does what a request asks for; raises `RefusalError` where Meta refuses.
        on_request: Awaited before each response, and when a request will never have one.
    """

    def __init__(
        self,
        faults: Faults,
        *,
        answer: Callable[[Question], Awaitable[Answer]],
        on_request: Callable[[GraphRequest], Awaitable[None]],
    ) -> None:
        self._faults = faults
        self._answer = answer
        self._on_request = on_request
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    async def start(self, port: int) -> None:
        """Serve on 127.0.0.1; port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_UPLOAD)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def close(self) -> None:
        """Stop serving at once; what is not answered yet never is."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """Where it serves, without a version.

        Raises:
            RuntimeError: It does not.
        """
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("The simulator is not running: call start() first.")
        host, port = self._runner.addresses[0]
        return f"http://{host}:{port}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        question = await read(request)
        hangs = question.action in self._faults.hang
        if hangs:
            await self._on_request(question.record(at=at, status=None, error_code=None))
        await self._linger(None if hangs else self._faults.latency)
        if self._closing.is_set():
            return _drop(request)
        status, code, answer = await self._ask(question)
        await self._linger(self._faults.late_responses.get(question.action, 0.0))
        dropped = self._closing.is_set() or self._faults.drops(question.action)
        record = question.record(
            at=at,
            status=None if dropped else status,
            error_code=code,
            answer=None if isinstance(answer, Download) else answer,
        )
        await self._on_request(record)
        return _drop(request) if dropped else _response(status, answer)

    async def _ask(self, question: Question) -> tuple[int, int | None, Answer]:
        try:
            failure = self._faults.next_failure(question.action)
            if failure is not None:
                status, code = failure
                raise RefusalError("This failure was asked for", code=code, status=status)
            return 200, None, await self._answer(question)
        except RefusalError as refusal:
            return refusal.status, refusal.code, payloads.graph_error(refusal)

    async def _linger(self, seconds: float | None) -> None:
        if seconds != 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)


def _response(status: int, answer: Answer) -> web.Response:
    if isinstance(answer, Download):
        return web.Response(body=answer.data, headers={"Content-Type": answer.mime_type})
    return web.json_response(answer, status=status)


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()
