"""Several processes of one deployment within a test: adapters that share a directory.

Webhooks go to all of them, as a load balancer sends them: each to one, or as a test wants it.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import fields
from typing import Any, Self, cast

import pytest
from aiohttp import web
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bots import PlainBot
from conftest import Reports, until
from pipecat_whatsapp.calls import exchange, neighbours, pulse
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.directory import CallDirectory, Letter, News
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.calls.redis import RedisDirectory
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import DirectoryError
from pipecat_whatsapp.meta.events import Event
from pipecat_whatsapp.server import PATH
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer

Join = Callable[[str], CallDirectory]

_SETTINGS = {field.name for field in fields(WhatsAppConfig)} - {"region"}


class Line:
    """A `CallDirectory` whose line to the others a test may hold up, or cut.

    Args:
        directory: The directory.

    Attributes:
        news: What the process was told at each of its beats.
        asked: How often the process was answered each of its questions.
        failed: How often it got no answer.
        deaf: Whether letters are kept from the process.
        unanswered: The questions that are acted on, and whose answers are lost.
    """

    def __init__(self, directory: CallDirectory) -> None:
        self.news: list[News] = []
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.deaf = False
        self.unanswered: set[str] = set()
        self._directory = directory
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut = False

    def hold(self) -> None:
        """Let nothing through, as if the process stood still."""
        self._open.clear()

    def resume(self) -> None:
        """Go on after `hold`."""
        self._open.set()

    def cut(self) -> None:
        """Let nothing through any more: whatever is asked for fails."""
        self._is_cut = True
        self._open.set()

    async def receive(self) -> list[Letter]:
        """Wait for letters."""
        letters: list[Letter] = await self.__getattr__("receive")()
        if self.deaf:
            await asyncio.Event().wait()
        return letters

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._directory, name)
        if name == "close" or not inspect.iscoroutinefunction(found):
            return found

        async def ask(*args: Any, **options: Any) -> Any:
            try:
                await self._pass()
                answer = await found(*args, **options)
                await self._pass()
                if name in self.unanswered:
                    raise DirectoryError("The answer is lost.")
            except DirectoryError:
                self.failed[name] += 1
                raise
            self.asked[name] += 1
            if isinstance(answer, News):
                self.news.append(answer)
            return answer

        return ask

    async def _pass(self) -> None:
        await self._open.wait()
        if self._is_cut:
            raise DirectoryError("The line is cut.")


class Log(Observer):
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.webhooks: list[tuple[str, str]] = []

    def webhook(self, kind: str, result: str) -> None:
        self.webhooks.append((kind, result))

    def call_began(self, call: Call) -> None:
        self.began.append(call.id)

    def call_ended(self, report: Any) -> None:
        self.ended.append(report.call_id)


class Member:
    """One process.

    Attributes:
        adapter: Its adapter.
        bot: Its bot.
        reports: What became of its calls.
        missed: The calls that its application was told it had missed.
        offered: The events that its application was offered.
        log: What its observer was told.
        line: Its line to the directory.
        node: Its name.
    """

    def __init__(self, whatsapp: WhatsApp, directory: CallDirectory, **options: Any) -> None:
        self.bot = options.pop("bot", None) or PlainBot()
        self.reports = Reports()
        self.missed: list[str] = []
        self.offered: list[Event] = []
        self.log = Log()
        self.line = Line(directory)
        self.node = directory.node
        settings = {name: options.pop(name) for name in _SETTINGS & options.keys()}
        settings["region"] = options.pop("region", "")
        self.adapter = WebhookAdapter(
            whatsapp.config(**settings),
            self.bot,
            directory=cast(CallDirectory, self.line),
            on_call_ended=self.reports,
            on_missed_call=self._missed,
            on_webhook_event=self._offered,
            region=options.pop("region_of", None),
            observers=(self.log, *options.pop("observers", ())),
            **options,
        )

    @property
    def calls(self) -> list[str]:
        """The ids of its calls."""
        return [call.id for call in self.adapter.calls]

    async def _missed(self, call: Call, _: Contact) -> None:
        self.missed.append(call.id)

    async def _offered(self, event: Event) -> None:
        self.offered.append(event)


class Deployment:
    """Several processes behind one webhook address. Use it with `async with`.

    Args:
        whatsapp: The simulated WhatsApp.
        join: Gives each process its directory; in memory by default.

    Attributes:
        members: The processes.
        choose: Which of them gets a webhook; each in turn by default.
    """

    def __init__(self, whatsapp: WhatsApp, join: Join | None = None) -> None:
        board = Board()
        self._whatsapp = whatsapp
        self._join = join or (lambda node: MemoryDirectory(node, board))
        self._stack = AsyncExitStack()
        self._turns = itertools.count()
        self._names = itertools.count()
        self.members: list[Member] = []
        self.choose: Callable[[bytes], Member] = self._next

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 23)
        app.router.add_route("*", PATH, self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address: tuple[str, int] = runner.addresses[0]
        self._url = f"http://127.0.0.1:{address[1]}{PATH}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(member.adapter.close() for member in self.members))
        await self._stack.aclose()

    async def add(self, **options: Any) -> Member:
        """Start one more process; arguments as for `WebhookAdapter` and `WhatsAppConfig`.

        But `region` is the place, and `region_of` the hook.
        """
        member = Member(self._whatsapp, self._join(f"node{next(self._names)}"), **options)
        self.members.append(member)
        await member.adapter.start()
        if not self._whatsapp.meta.business.subscriptions.has_address:
            await self._whatsapp.meta.subscribe(self._url)
        return member

    async def acquainted(self) -> None:
        """Wait until every process has told how it stands, and heard of all the others."""
        before = [len(member.line.news) for member in self.members]
        await until(
            lambda: all(
                len(member.line.news) >= count + 3
                for member, count in zip(self.members, before, strict=True)
            )
        )

    def route(self, otherwise: Member, **members: Member) -> None:
        """Send webhooks to one process, and those of some kinds to others.

        Args:
            otherwise: Gets the rest.
            **members: For each kind, such as `terminate` or `ringing`, the process that gets it.
        """

        def choose(body: bytes) -> Member:
            return next((members[kind] for kind in _kinds(body) if kind in members), otherwise)

        self.choose = choose

    async def die(self, member: Member) -> None:
        """Let a process die: from now on neither Meta nor the other processes hear of it."""
        self.members.remove(member)
        member.line.cut()
        await member.adapter.graph.close()
        await member.adapter.close()

    def _next(self, _: bytes) -> Member:
        return self.members[next(self._turns) % len(self.members)]

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        adapter = self.choose(body).adapter
        answer = await adapter.handle(request.method, request.query, request.headers, body)
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)


def _kinds(body: bytes) -> list[str]:
    if not body:
        return []
    changes = [c for entry in json.loads(body)["entry"] for c in entry["changes"]]
    told = [change["value"] for change in changes]
    calls = [call["event"] for value in told for call in value.get("calls", ())]
    statuses = [s["status"].lower() for value in told for s in value.get("statuses", ())]
    return [*calls, *statuses, *(change["field"] for change in changes)]


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes tell of themselves more often, so that a test need not wait."""
    for module in (pulse, exchange):
        monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not been heard of for some seconds still gets calls, and is not dead."""
    for name in ("FRESH_SECONDS", "DEAD_SECONDS"):
        monkeypatch.setattr(neighbours, name, 30.0)


@pytest.fixture(params=["memory", "redis"])
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join | None]:
    """Gives each process of a deployment its directory: in memory, or over a real Redis."""
    if request.param == "memory":
        yield None
        return
    async with RedisServer() as server:
        yield over(server)


def over(server: RedisServer) -> Join:
    """Processes that share a Redis, which need not have known them for long."""

    def join(node: str) -> CallDirectory:
        client = Redis.from_url(server.url, decode_responses=True, retry=Retry(NoBackoff(), 1))
        return RedisDirectory(client, node=node, settle_seconds=0.0)

    return join
