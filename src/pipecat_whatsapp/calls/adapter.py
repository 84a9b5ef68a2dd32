"""Webhooks in, calls out: one pipeline for every accepted call.

`handle()` is free of any web framework. It checks the signature over the raw bytes, answers 200,
and only then parses and acts, so that Meta never waits for a call to be set up.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from loguru import logger

from pipecat_whatsapp.calls.background import Background
from pipecat_whatsapp.calls.bot import Bot, IncomingCallHook, RegionHook
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.dial_door import DialDoor
from pipecat_whatsapp.calls.dial_order import DialOrder
from pipecat_whatsapp.calls.dialler import DialResult
from pipecat_whatsapp.calls.directory import CallDirectory, Delivery
from pipecat_whatsapp.calls.hooks import (
    CallEndedHook,
    Hooks,
    MissedCallHook,
    WebhookEventHook,
    guarded,
)
from pipecat_whatsapp.calls.letters import HangUp
from pipecat_whatsapp.calls.memory import MemoryDirectory
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.calls.office import Office
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.permission import PermissionTemplate
from pipecat_whatsapp.calls.response import WebhookResponse, plain
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import DirectoryError, WebhookError
from pipecat_whatsapp.meta.address import read_user
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES, verify_signature, verify_subscription

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
        region: Asked, where there are several processes, for the region (see
            `WhatsAppConfig.region`) that a user's call shall be served in; None for any.
        observers: Told what happens, for metrics, traces and logs.
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
        region: RegionHook | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._office = Office(
            config,
            bot,
            directory=directory or MemoryDirectory(),
            hooks=Hooks(
                on_incoming_call=on_incoming_call,
                on_missed_call=on_missed_call,
                on_webhook_event=on_webhook_event,
                on_call_ended=on_call_ended,
                region=region,
            ),
            cli_args=cli_args,
            observers=observers,
        )
        self._door = DialDoor(self._office.claims.first)
        self._beside = Background()
        self._refusals: set[str] = set()

    async def __aenter__(self) -> WebhookAdapter:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def config(self) -> WhatsAppConfig:
        """The settings; see `configure`."""
        return self._office.config

    @property
    def cli_args(self) -> argparse.Namespace | None:
        """What every bot is given as `runner_args.cli_args`."""
        return self._office.cli_args

    @property
    def graph(self) -> GraphClient:
        """The client of Meta's Graph API."""
        return self._office.graph

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
                self._office.start()
                self._office.tasks(self._office.take(body))
                return plain(200, "")
        except WebhookError as error:
            self._log_refusal(f"Refused a webhook request: {error}")
            self._office.observers.webhook("request", str(error.status))
            return plain(error.status, str(error))
        return plain(405, "Only GET and POST are served here.", allow="GET, POST")

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
            self._log_refusal(f"Refused a request to place a call: {error}")
            return plain(error.status, str(error))

    def _log_refusal(self, words: str) -> None:
        """Warn of it once: strangers shall not fill the log."""
        logger.log("DEBUG" if words in self._refusals else "WARNING", "{}", words)
        self._refusals.add(words)

    def _check(self, headers: Mapping[str, str], body: bytes) -> None:
        if len(body) > MAX_BODY_BYTES:
            raise WebhookError(f"The body is over {MAX_BODY_BYTES} bytes.", status=413)
        signature = next(
            (v for k, v in headers.items() if k.lower() == "x-hub-signature-256"), None
        )
        verify_signature(body, signature, self.config.app_secrets)

    # The application

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are not over."""
        return self._office.calls

    def hindrance(self) -> str | None:
        """Why no further call can be taken by this process or another of this machine; or None."""
        return self._office.hindrance()

    def configure(self, **changes: Any) -> None:
        """Change settings while calls run; the next call, webhook or request uses them.

        Args:
            **changes: Fields of `WhatsAppConfig`: `token`, `app_secrets`, `verification_token`,
                `phone_number_ids`, `ice_servers`, `max_calls`, `max_call_duration` or `timing`.
                Where Graph is (`graph_url`, `graph_version`) stays as it was at the start.

        Raises:
            ConfigError: A value cannot be used; nothing is changed.
        """
        self._office.config = config = replace(self.config, **changes)
        self.graph.token = config.token
        self._office.observers.capacity(config.max_calls)

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
            phone_number_id=self._office.dialler.number(phone_number_id),
            bot=bot or self._office.bot,
            ring_timeout=ring_timeout,
            biz_opaque_callback_data=biz_opaque_callback_data,
            recording=recording,
            transcription=transcription,
        )
        self._office.start()
        return await self._office.dialler.call(order, ask_permission, permission_timeout)

    def contact(self, to: str | User, *, phone_number_id: str | None = None) -> Contact:
        """Somebody to send messages to, whether or not they call; arguments as for `call`.

        Raises:
            ConfigError: The arguments cannot be used.
        """
        return self._office.contact(_user(to), phone_number_id)

    async def terminate(self, call_id: str) -> bool:
        """End one call, at Meta and here, or in the process that has it.

        Returns:
            Whether it was running.
        """
        session = self._office.switchboard.find(call_id)
        if session is None:
            return await self._terminate_elsewhere(call_id)
        session.hang_up(Cause.APP_HUNG_UP)
        await session.settled()
        return True

    async def _terminate_elsewhere(self, call_id: str) -> bool:
        try:
            told = await self._office.post.deliver(
                call_id, HangUp(call_id), otherwise=Delivery.DROPPED
            )
        except DirectoryError as error:
            logger.warning("Call {} was not ended: {}", call_id, error)
            return False
        return told is Delivery.SENT

    async def terminate_all(self) -> int:
        """End all calls of this process at once, at Meta and here. Returns how many there were."""
        sessions = [s for s in self._office.switchboard.sessions if not s.call.is_over]
        for session in sessions:
            session.hang_up(Cause.APP_HUNG_UP)
        await asyncio.gather(*(session.settled() for session in sessions))
        return len(sessions)

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something of the application's beside the calls; it is cancelled by `close()`."""
        self._beside(guarded(lambda: work, "the application's own work"))

    # Beginning and end

    async def start(self) -> None:
        """Join the other processes of the deployment, if there are any. Safe to repeat.

        Without it that happens with the first webhook, or the first call that is placed.
        """
        # From the first call on it is known who else has room.
        await self._office.pulse.beat()
        self._office.start()

    def node_died(self, node: str) -> None:
        """Another process is known to be dead: end its calls at Meta now."""
        self._office.pulse.node_died(node)

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Take and place no further call, and wait for the running ones.

        Users' calls that come meanwhile go to other processes, or are rejected if there is none.

        Args:
            timeout: Seconds to wait, None for as long as it takes.

        Returns:
            Whether all calls have ended.
        """
        self._take_no_more()
        await self._office.tasks.wait(timeout)
        return not self.calls

    async def say_goodbye(self, seconds: float) -> bool:
        """Tell the bots by `on_goodbye` that their calls are about to end, and wait for them.

        Args:
            seconds: How long they get to say it.

        Returns:
            Whether all calls have ended.
        """
        sessions = self._office.switchboard.sessions
        await asyncio.gather(*(session.say_goodbye() for session in sessions))
        await self._office.tasks.wait(seconds)
        return not self.calls

    async def close(self) -> None:
        """End everything: calls at Meta first, then their bots. Safe to repeat."""
        self._take_no_more()
        tasks, sessions = self._office.tasks, self._office.switchboard.sessions
        for session in sessions:
            session.hang_up(Cause.SHUTDOWN)
        await tasks.wait(self.config.timing.shutdown_grace)
        for session in sessions:
            session.cancel_bot()
        await tasks.wait(CLOSE_TIMEOUT)
        for session in sessions:
            session.give_up()
        # The application's own work may be what closes the adapter.
        await self._beside.cancel()
        await self._office.close()

    def _take_no_more(self) -> None:
        self._office.is_draining = True
        self._office.dialler.permissions.close()


def _user(to: str | User) -> User:
    return read_user(to) if isinstance(to, str) else to
