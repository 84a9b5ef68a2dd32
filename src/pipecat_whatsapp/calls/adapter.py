"""Webhooks in, calls out: one pipeline for every accepted call.

`handle()` is free of any web framework. It checks the signature over the raw bytes, answers 200,
and only then parses and acts, so that Meta never waits for a call to be set up.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from loguru import logger

from pipecat_whatsapp.calls.bot import Bot, IncomingCallHook
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.dial_door import DialDoor
from pipecat_whatsapp.calls.dialler import Dialler, DialResult
from pipecat_whatsapp.calls.directory import CallDirectory
from pipecat_whatsapp.calls.hooks import (
    CallEndedHook,
    MissedCallHook,
    WebhookEventHook,
    guarded,
    log_event,
    log_report,
)
from pipecat_whatsapp.calls.memory import MemoryDirectory
from pipecat_whatsapp.calls.outbound import DialOrder
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.permission import PermissionTemplate
from pipecat_whatsapp.calls.response import WebhookResponse, plain
from pipecat_whatsapp.calls.session import CallSession
from pipecat_whatsapp.calls.switchboard import Switchboard
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.meta.address import read_user
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.events import (
    CallEvent,
    CallPermissionReply,
    Direction,
    Event,
    User,
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


class WebhookAdapter:
    """Serves the webhooks of one or more WhatsApp numbers.

    Args:
        config: Settings; `configure()` changes them while calls run.
        bot: `async def bot(runner_args)`, run once for every accepted call.
        directory: Who owns which call; in memory by default, for a single process.
        cli_args: Given to every bot as `runner_args.cli_args`.
        on_incoming_call: Asked for every call before it is answered: may return another bot,
            `Accept()` with terms, `Reject()`, `HoldBack()`, or None for the usual bot.
        on_missed_call: Told of every user's call that was not answered, whatever the reason
            (`call.cause`), unless it was held back; may send the caller a message, or ask for
            permission to call back.
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
        cli_args: argparse.Namespace | None = None,
        on_incoming_call: IncomingCallHook | None = None,
        on_missed_call: MissedCallHook | None = None,
        on_webhook_event: WebhookEventHook | None = None,
        on_call_ended: CallEndedHook | None = None,
    ) -> None:
        self.config = config
        self.bot = bot
        self.directory: CallDirectory = directory or MemoryDirectory()
        self.cli_args = cli_args
        self.on_incoming_call = on_incoming_call
        self.on_missed_call = on_missed_call
        self.on_webhook_event = on_webhook_event
        self.on_call_ended = on_call_ended
        self.graph = GraphClient(
            token=config.token, url=config.graph_url, version=config.graph_version
        )
        self._switchboard = Switchboard(self, self._in_background)
        self._dialler = Dialler(self, self._switchboard)
        self._door = DialDoor()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beside: set[asyncio.Task[None]] = set()
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
                return plain(200, challenge)
            if method == "POST":
                self._check(headers, body)
                self._in_background(self._process(body))
                return plain(200, "")
        except WebhookError as error:
            logger.warning("Refused a webhook request: {}", error)
            return plain(error.status, str(error))
        return plain(405, "Only GET and POST are served here.")

    async def handle_dial(self, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        """Answer one HTTP request to place a call, which is signed as webhooks are.

        Args:
            headers: Request headers, in any case.
            body: The raw body, untouched; see `calls/dial_door.py`.
        """
        try:
            self._check(headers, body)
            return await self._door.serve(body, self.call)
        except WebhookError as error:
            logger.warning("Refused a request to place a call: {}", error)
            return plain(error.status, str(error))

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
        if isinstance(event, CallPermissionReply):
            self._dialler.permissions.take(event)
        return isinstance(event, CallEvent) and self._switchboard.take(event)

    def _serves(self, event: CallEvent) -> bool:
        return event.phone_number_id in self.config.phone_number_ids

    async def call_ended(self, session: CallSession, report: CallReport) -> None:
        """Tell the application what became of a call."""
        call = session.call
        log_report(report)
        if self.on_call_ended is not None:
            await guarded(self.on_call_ended(report), "on_call_ended")
        if self.on_missed_call is not None and _is_missed(report):
            await guarded(self.on_missed_call(call, session.contact), "on_missed_call")

    async def _offer(self, event: Event) -> None:
        log_event(event)
        if self.on_webhook_event is not None:
            await guarded(self.on_webhook_event(event), "on_webhook_event")

    # The application

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are not over."""
        return self._switchboard.calls

    def refusal(self, call: Call | None = None) -> Cause | None:
        """Why a further call, or this one of those that run, is not taken now; or None."""
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
                `phone_number_ids`, `ice_servers`, `max_calls`, `max_call_duration` or `timing`.
                Where Graph is (`graph_url`, `graph_version`) stays as it was at the start.

        Raises:
            ConfigError: A value cannot be used; nothing is changed.
        """
        self.config = replace(self.config, **changes)
        self.graph.token = self.config.token

    async def call(
        self,
        to: str | User,
        *,
        bot: Bot | None = None,
        phone_number_id: str | None = None,
        ask_permission: str | PermissionTemplate | None = None,
        permission_timeout: float = 300.0,
        ring_timeout: float = 60.0,
        biz_opaque_callback_data: str | None = None,
        recording: Capture | None = None,
        transcription: Capture | None = None,
    ) -> DialResult:
        """Call a WhatsApp user, and run one pipeline for the call.

        Args:
            to: A phone number with its country code, a business-scoped user id, or a `User`.
            bot: The bot that talks; the adapter's own by default.
            phone_number_id: The business number that calls; needed when several are served.
            ask_permission: What to ask a user with who does not allow calls yet: a text, which
                Meta takes while a conversation is open, or a template. Without it Meta refuses
                the call of such a user.
            permission_timeout: Seconds to wait for the answer.
            ring_timeout: Seconds until a call that nobody picks up is ended.
            biz_opaque_callback_data: Comes back with every webhook of the call; 512 characters
                at most.
            recording: Let Meta record the call; it announces so to both sides.
            transcription: Let Meta transcribe the call; it announces so to both sides.

        Returns:
            What the attempt came to, as soon as the user has picked up, or is known not to.
            When this is cancelled before, the attempt ends.

        Raises:
            ConfigError: The arguments cannot be used.
        """
        order = DialOrder(
            user=_user(to),
            phone_number_id=self._dialler.number(phone_number_id),
            bot=bot or self.bot,
            ring_timeout=ring_timeout,
            biz_opaque_callback_data=biz_opaque_callback_data,
            recording=recording,
            transcription=transcription,
        )
        return await self._dialler.call(order, ask_permission, permission_timeout)

    def contact(self, to: str | User, *, phone_number_id: str | None = None) -> Contact:
        """Somebody to send messages to, whether or not they call; arguments as for `call`.

        Raises:
            ConfigError: The arguments cannot be used.
        """
        return Contact(self.graph, self._dialler.number(phone_number_id), _user(to))

    async def terminate(self, call_id: str) -> bool:
        """End one call, at Meta and here. Returns whether it was running."""
        session = self._switchboard.find(call_id)
        if session is None:
            return False
        session.hang_up(Cause.APP_HUNG_UP)
        await session.settled()
        return True

    async def terminate_all(self) -> int:
        """End all calls at once, at Meta and here. Returns how many there were."""
        sessions = [s for s in self._switchboard.sessions if not s.call.is_over]
        for session in sessions:
            session.hang_up(Cause.APP_HUNG_UP)
        await asyncio.gather(*(session.settled() for session in sessions))
        return len(sessions)

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something of the application's beside the calls; it is cancelled by `close()`."""
        self._watch(guarded(work, "the application's own work"), self._beside)

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Take and place no further call, and wait for the running ones.

        Args:
            timeout: Seconds to wait, None for as long as it takes.

        Returns:
            Whether all calls have ended.
        """
        self._take_no_more()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        return not self.calls

    async def close(self) -> None:
        """End everything: calls at Meta first, then their bots. Safe to repeat."""
        self._take_no_more()
        sessions = self._switchboard.sessions
        for session in sessions:
            session.hang_up(Cause.SHUTDOWN)
        await self._wait(self.config.timing.shutdown_grace)
        for session in sessions:
            session.cancel_bot()
        await self._wait(CLOSE_TIMEOUT)
        for session in sessions:
            session.give_up()
        # The application's own work may be what closes the adapter.
        left = (self._tasks | self._beside) - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.graph.close()

    def _take_no_more(self) -> None:
        self._draining = True
        self._dialler.permissions.close()

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._watch(coroutine, self._tasks)

    def _watch(self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_log_failure)


def _user(to: str | User) -> User:
    return read_user(to) if isinstance(to, str) else to


def _is_missed(report: CallReport) -> bool:
    """Whether a user called for nothing. Who was held back still hears it ring."""
    is_theirs = report.direction is Direction.INBOUND
    return is_theirs and not report.answered and report.cause is not Cause.HELD_BACK


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.opt(exception=error).error("A call could not be served")
