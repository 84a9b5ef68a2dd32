"""Hooks for `on_incoming_call`: who gets which bot, and when nobody does.

::

    on_incoming_call=screen(
        during(BusinessHours("Europe/Berlin", {Weekday.MONDAY: [Hours("09:00", "17:00")]})),
        route(lambda call: call.cta_payload, {"sales": sales_bot, "support": support_bot}),
    )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import IntEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipecat_whatsapp.calls.bot import Accept, Bot, Decision, HoldBack, IncomingCallHook, Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.errors import ConfigError

__all__ = ["BusinessHours", "Hours", "Weekday", "during", "route", "screen"]


class Weekday(IntEnum):
    """A day of the week, `MONDAY` to `SUNDAY`, numbered as `datetime.weekday()` does."""

    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


@dataclass(frozen=True)
class Hours:
    """A span of one day.

    Parameters:
        opens: "HH:MM".
        closes: "HH:MM", later than `opens`; "24:00" is midnight.

    Raises:
        ConfigError: They are no times, or in the wrong order.
    """

    opens: str
    closes: str

    def __post_init__(self) -> None:
        if not _minutes(self.opens) < _minutes(self.closes) <= 24 * 60:
            raise ConfigError(
                f"{self.opens!r} to {self.closes!r} is no span of a day: the end comes after "
                "the beginning; write a night as two spans."
            )

    def __contains__(self, at: time) -> bool:
        return _minutes(self.opens) <= at.hour * 60 + at.minute < _minutes(self.closes)


@dataclass(frozen=True)
class BusinessHours:
    """When calls are taken.

    Parameters:
        timezone: Name of the time zone, such as "Europe/Berlin".
        weekly: For each day the spans that are open; a day that is missing is closed.
        holidays: Dates that are closed whatever the day.

    Raises:
        ConfigError: There is no such time zone.
    """

    timezone: str
    weekly: Mapping[Weekday, Sequence[Hours]]
    holidays: frozenset[date] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError(
                f"{self.timezone!r} is no time zone that this machine knows: write it as "
                "Europe/Berlin, and install tzdata where the system has no time zones."
            ) from None

    def are_open(self, at: datetime) -> bool:
        """Whether calls are taken at a moment, which carries its time zone."""
        local = at.astimezone(ZoneInfo(self.timezone))
        if local.date() in self.holidays:
            return False
        spans = self.weekly.get(Weekday(local.weekday()), ())
        return any(local.time() in span for span in spans)


def screen(*hooks: IncomingCallHook) -> IncomingCallHook:
    """A hook that asks others in turn; the first that decides is obeyed."""

    async def ask(call: Call) -> Decision:
        for hook in hooks:
            if (decision := await hook(call)) is not None:
                return decision
        return None

    return ask


def during(
    hours: BusinessHours,
    *,
    otherwise: Reject | HoldBack | Accept | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> IncomingCallHook:
    """A hook that decides nothing during business hours, and declines outside.

    Args:
        hours: When calls are taken.
        otherwise: What to do with a call outside; declined by default.
        clock: Gives the time, with its time zone.
    """
    decision = otherwise or Reject("outside business hours")

    async def ask(_: Call) -> Decision:
        return None if hours.are_open(clock()) else decision

    return ask


def route(key: Callable[[Call], str | None], bots: Mapping[str, Bot | Accept]) -> IncomingCallHook:
    """A hook that picks the bot by something of the call.

    Args:
        key: What decides, such as `lambda call: call.business_phone`, `call.cta_payload`,
            `call.deeplink_payload` or `call.user.key`. Payloads can be forged: they may choose a
            bot, but prove nothing.
        bots: A bot, or terms, for each key. A call with another key is left to the next hook.
    """

    async def ask(call: Call) -> Decision:
        return bots.get(key(call) or "")

    return ask


def _minutes(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not (colon and len(hour) == len(minute) == 2 and (hour + minute).isdecimal()):
        raise ConfigError(f"{text!r} is no time of day: write it as 09:00.")
    if int(minute) > 59 or int(hour) * 60 + int(minute) > 24 * 60:
        raise ConfigError(f"{text!r} is no time of day: write it as 09:00.")
    return int(hour) * 60 + int(minute)
