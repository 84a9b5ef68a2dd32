"""What an application may hook into, and how it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from loguru import logger

from pipecat_whatsapp.calls.bot import IncomingCallHook, RegionHook
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.meta.events import ErrorNotice, Event, MetaErrorInfo, UnknownEvent
from pipecat_whatsapp.meta.graph_errors import advice_for, masked

WebhookEventHook: TypeAlias = Callable[[Event], Awaitable[None]]
"""Given every event that is no call's business."""

CallEndedHook: TypeAlias = Callable[[CallReport], Awaitable[None]]
"""Given the report of every call."""

MissedCallHook: TypeAlias = Callable[[Call, Contact], Awaitable[None]]
"""Told of every user's call that was not answered, unless it was held back."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """An application's hooks; see `WebhookAdapter`."""

    on_incoming_call: IncomingCallHook | None = None
    on_missed_call: MissedCallHook | None = None
    on_webhook_event: WebhookEventHook | None = None
    on_call_ended: CallEndedHook | None = None
    region: RegionHook | None = None


async def guarded(hook: Callable[[], Awaitable[None]], name: str) -> None:
    """Call an application's hook; what it raises is its own affair."""
    try:
        await hook()
    # An exit would end the calls of all others.
    except (Exception, SystemExit):  # noqa: BLE001 - an application's hook may raise anything
        logger.exception("{} raised", name)


def log_report(report: CallReport) -> None:
    """Log how a call ended."""
    log = logger.warning if report.cause.is_failure else logger.info
    log(
        "{} call {} with {} ended after {:.1f} s: {}{}",
        report.direction.value.capitalize(),
        report.call_id or "without an id",
        report.user,
        report.duration,
        report.cause.value,
        f" ({masked(report.detail)})" if report.detail else "",
    )


def log_event(event: Event) -> None:
    """Log what the application should know of even without a hook."""
    if isinstance(event, UnknownEvent):
        logger.info("Webhook of unknown kind {} {}", event.kind, event.reason)
    elif isinstance(event, ErrorNotice):
        logger.warning("Meta reports: {}", "; ".join(map(words_of, event.errors)))


def words_of(error: MetaErrorInfo) -> str:
    """An error of a webhook in words, with what usually helps."""
    words = masked(f"{error.code or ''} {error.title or error.message or ''}")
    advice = advice_for(error.code)
    return f"{words}: {advice}" if advice else words
