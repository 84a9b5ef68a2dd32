"""Webhooks in, calls out: one pipeline for every accepted call.

`handle()` is free of any web framework. It checks the signature over the raw bytes, answers 200,
and only then parses and acts, so that Meta never waits for a call to be set up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from loguru import logger

from pipecat_whatsapp.calls.bot import Bot, IncomingCallHook
from pipecat_whatsapp.calls.call import Call, CallReport, Cause
from pipecat_whatsapp.calls.directory import CallDirectory, MemoryDirectory
from pipecat_whatsapp.calls.session import CallSession, age_of
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallEvent,
    CallTerminate,
    Direction,
    Event,
    UnknownEvent,
)
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.webhook import (
    MAX_BODY_BYTES,
    parse_webhook,
    verify_signature,
    verify_subscription,
)

CLOSE_TIMEOUT = 5.0
"""Seconds that cancelled bots, and the last words to Meta, get when the adapter closes."""

WebhookEventHook = Callable[[Event], Awaitable[None]]
CallEndedHook = Callable[[CallReport], Awaitable[None]]


class WebhookResponse(NamedTuple):
    """What to answer to an HTTP request.

    Parameters:
        status: HTTP status.
        headers: Response headers.
        body: Response body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class WebhookAdapter:
    """Serves the webhooks of one or more WhatsApp numbers.

    Args:
        config: Settings; `configure()` changes them while calls run.
        bot: `async def bot(runner_args)`, run once for every accepted call.
        directory: Who owns which call; in memory by default, for a single process.
        on_incoming_call: Asked for every call before it is answered: may return `Reject()`,
            another bot, or None for the usual one.
        on_webhook_event: Given every event that is no call's business: messages, permission
            replies, settings, and what this package does not know.
        on_call_ended: Given the report of every call.
    """

    def __init__(
        self,
        config: WhatsAppConfig,
        bot: Bot,
        *,
        directory: CallDirectory | None = None,
        on_incoming_call: IncomingCallHook | None = None,
        on_webhook_event: WebhookEventHook | None = None,
        on_call_ended: CallEndedHook | None = None,
    ) -> None:
        self.config = config
        self.bot = bot
        self.directory: CallDirectory = directory or MemoryDirectory()
        self.on_incoming_call = on_incoming_call
        self.on_webhook_event = on_webhook_event
        self.on_call_ended = on_call_ended
        self.graph = GraphClient(
            token=config.token, url=config.graph_url, version=config.graph_version
        )
        self._sessions: dict[str, CallSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def __aenter__(self) -> WebhookAdapter:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The web

    async def handle(
        self, method: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> WebhookResponse:
        """Answer one HTTP request to the webhook's address.

        Args:
            method: "GET" (Meta verifies the address) or "POST" (Meta tells something).
            query: Query parameters.
            headers: Request headers, in any case.
            body: The raw body, untouched.
        """
        try:
            if method == "GET":
                challenge = verify_subscription(query, self.config.verification_token)
                return _response(200, challenge)
            if method == "POST":
                self._check(headers, body)
                self._in_background(self._process(body))
                return _response(200, "")
        except WebhookError as error:
            logger.warning("Refused a webhook request: {}", error)
            return _response(error.status, str(error))
        return _response(405, "Only GET and POST are served here.")

    def _check(self, headers: Mapping[str, str], body: bytes) -> None:
        if len(body) > MAX_BODY_BYTES:
            raise WebhookError(f"The body is over {MAX_BODY_BYTES} bytes.", status=413)
        signature = next(
            (v for k, v in headers.items() if k.lower() == "x-hub-signature-256"), None
        )
        verify_signature(body, signature, self.config.app_secrets)

    async def _process(self, body: bytes) -> None:
        others = [event for event in parse_webhook(body) if not self._taken(event)]
        for event in others:
            await self._offer(event)

    # Events

    def _taken(self, event: Event) -> bool:
        """Serve an event of a call, so that no other suffers. Returns whether it was one."""
        try:
            return self._take(event)
        except Exception:  # noqa: BLE001 - the rest of the batch must be served whatever happens
            logger.exception("{} could not be served", type(event).__name__)
            return True

    def _take(self, event: Event) -> bool:
        if isinstance(event, CallEvent) and not self._serves(event):
            logger.debug("Left {} of another number alone", type(event).__name__)
            return True
        if isinstance(event, CallConnect) and event.direction is Direction.INBOUND:
            self._connect(event)
        elif isinstance(event, CallTerminate):
            self._terminate(event)
        else:
            return False
        return True

    def _serves(self, event: CallEvent) -> bool:
        return event.phone_number_id in self.config.phone_number_ids

    def _connect(self, event: CallConnect) -> None:
        if event.call_id in self._sessions:
            logger.debug("Call {} was announced again", event.call_id)
            return
        if (age := age_of(event)) >= self.config.timing.accept_deadline:
            logger.warning(
                "Dropped the connect of call {}: it is {:.0f} s old. "
                "Is this a late delivery, or is this machine's clock wrong?",
                event.call_id,
                age,
            )
            return
        assert event.phone_number_id is not None  # noqa: S101 - `_serves` has found it
        session = CallSession(event, self, phone_number_id=event.phone_number_id)
        # Known from here on, so that a terminate that follows closely finds it.
        self._sessions[event.call_id] = session
        self._in_background(self._serve(session))

    def _terminate(self, event: CallTerminate) -> None:
        session = self._sessions.get(event.call_id)
        if session is not None:
            session.terminated(event)
        else:
            self._in_background(self.directory.bury(event.call_id))

    async def _serve(self, session: CallSession) -> None:
        call = session.call
        try:
            report = await session.run()
        finally:
            del self._sessions[call.id]
        if report is not None:
            _log_report(call, report)
            if self.on_call_ended is not None:
                await _guarded(self.on_call_ended(report), "on_call_ended")
            await session.settled()

    async def _offer(self, event: Event) -> None:
        if isinstance(event, UnknownEvent):
            logger.info("Webhook of unknown kind {} {}", event.kind, event.reason)
        if self.on_webhook_event is not None:
            await _guarded(self.on_webhook_event(event), "on_webhook_event")

    # The application

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are not over."""
        return tuple(s.call for s in self._sessions.values() if not s.call.is_over)

    def refusal(self, call: Call) -> Cause | None:
        """Why a call is not taken now, or None."""
        if self._draining:
            return Cause.SHUTDOWN
        limit = self.config.max_calls
        if limit is not None and len([c for c in self.calls if c is not call]) >= limit:
            return Cause.BUSY
        return None

    def configure(self, **changes: Any) -> None:
        """Change settings while calls run; the next call, webhook or request uses them.

        Args:
            **changes: Fields of `WhatsAppConfig`: `token`, `app_secrets`, `verification_token`,
                `phone_number_ids`, `ice_servers`, `max_calls` or `timing`. Where Graph is
                (`graph_url`, `graph_version`) stays as it was at the start.

        Raises:
            ConfigError: A value cannot be used; nothing is changed.
        """
        self.config = replace(self.config, **changes)
        self.graph.token = self.config.token

    async def terminate(self, call_id: str) -> bool:
        """End one call, at Meta and here. Returns whether it was running."""
        session = self._sessions.get(call_id)
        if session is None or session.call.is_over:
            return False
        session.hang_up(Cause.APP_HUNG_UP)
        await session.settled()
        return True

    async def terminate_all(self) -> int:
        """End all calls at once, at Meta and here. Returns how many there were."""
        ended = await asyncio.gather(*(self.terminate(call.id) for call in self.calls))
        return sum(ended)

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Take no further call, and wait for the running ones.

        Args:
            timeout: Seconds to wait, None for as long as it takes.

        Returns:
            Whether all calls have ended.
        """
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        return not self.calls

    async def close(self) -> None:
        """End everything: calls at Meta first, then their bots. Safe to repeat."""
        self._draining = True
        sessions = list(self._sessions.values())
        for session in sessions:
            session.hang_up(Cause.SHUTDOWN)
        await self._wait(self.config.timing.shutdown_grace)
        for session in sessions:
            session.cancel_bot()
        await self._wait(CLOSE_TIMEOUT)
        for session in sessions:
            session.give_up()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.graph.close()

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error("A call could not be served")


def _response(status: int, text: str) -> WebhookResponse:
    return WebhookResponse(status, {"content-type": "text/plain; charset=utf-8"}, text.encode())


async def _guarded(hook: Awaitable[None], name: str) -> None:
    """Await an application's hook; what it raises is its own affair."""
    try:
        await hook
    except Exception:  # noqa: BLE001 - an application's hook may raise anything
        logger.exception("{} raised", name)


def _log_report(call: Call, report: CallReport) -> None:
    log = logger.warning if report.cause.is_failure else logger.info
    log(
        "Call {} from {} ended after {:.1f} s: {}{}",
        call.id,
        call.caller,
        report.duration,
        report.cause.value,
        f" ({report.detail})" if report.detail else "",
    )
