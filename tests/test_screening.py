"""Hooks that decide on incoming calls, alone and over real calls."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from bots import PlainBot
from conftest import Reports
from pipecat_whatsapp.calls.bot import Accept, Decision, HoldBack, Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.screening import BusinessHours, Hours, Weekday, during, route, screen
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

BERLIN = BusinessHours(
    "Europe/Berlin",
    {
        Weekday.MONDAY: [Hours("09:00", "12:30"), Hours("14:00", "17:00")],
        Weekday.FRIDAY: [Hours("22:00", "24:00")],
        Weekday.SATURDAY: [Hours("00:00", "02:00")],
        Weekday.SUNDAY: [Hours("02:00", "03:00")],
    },
    holidays=frozenset({date(2026, 12, 21)}),
)


def call(cta_payload: str | None = None) -> Call:
    return Call(
        call_id="wacid.A",
        phone_number_id="200",
        direction=Direction.INBOUND,
        user=User(user_id="DE.5"),
        cta_payload=cta_payload,
    )


def utc(year: int, month: int, day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


# Business hours


@pytest.mark.parametrize(
    ("at", "are_open"),
    [
        # A Monday in winter, one hour ahead of UTC, and one in summer, two hours ahead.
        (utc(2026, 1, 5, 7, 59, 59), False),
        (utc(2026, 1, 5, 8), True),
        (utc(2026, 7, 6, 6, 59, 59), False),
        (utc(2026, 7, 6, 7), True),
        # The end of a span does not belong to it, its last second does.
        (utc(2026, 1, 5, 11, 29, 59), True),
        (utc(2026, 1, 5, 11, 30), False),
        # Two spans, and a break between them.
        (utc(2026, 1, 5, 12, 59), False),
        (utc(2026, 1, 5, 13), True),
        (utc(2026, 1, 5, 16), False),
        # The same hours of a day that is closed.
        (utc(2026, 1, 6, 8), False),
        # A night, written as two spans: Friday, midnight, Saturday.
        (utc(2026, 1, 9, 20, 59), False),
        (utc(2026, 1, 9, 22, 59, 59), True),
        (utc(2026, 1, 9, 23), True),
        (utc(2026, 1, 10, 1), False),
        # Monday in Berlin is Sunday evening in UTC: the day is that of the time zone.
        (utc(2026, 1, 4, 23, 30), False),
        # The clocks go forward from 2:00 to 3:00, and back: then 2:30 comes twice.
        (utc(2026, 3, 29, 0, 59), False),
        (utc(2026, 3, 29, 1, 0), False),
        (utc(2026, 10, 25, 0, 30), True),
        (utc(2026, 10, 25, 1, 30), True),
        (utc(2026, 10, 25, 2, 0), False),
        # A holiday on a Monday.
        (utc(2026, 12, 21, 9), False),
        (utc(2026, 12, 28, 9), True),
    ],
    ids=str,
)
def test_when_calls_are_taken(at: datetime, *, are_open: bool) -> None:
    assert BERLIN.are_open(at) is are_open


def test_a_moment_may_be_told_in_any_time_zone() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert BERLIN.are_open(datetime(2026, 1, 5, 17, 0, tzinfo=tokyo))
    assert not BERLIN.are_open(datetime(2026, 1, 5, 16, 59, tzinfo=tokyo))


def test_a_holiday_is_one_of_the_time_zone() -> None:
    always = {day: [Hours("00:00", "24:00")] for day in Weekday}
    hours = BusinessHours("Asia/Tokyo", always, holidays=frozenset({date(2026, 1, 1)}))
    assert hours.are_open(utc(2025, 12, 31, 14, 59))
    assert not hours.are_open(utc(2025, 12, 31, 15, 0))
    assert not hours.are_open(utc(2026, 1, 1, 14, 59))
    assert hours.are_open(utc(2026, 1, 1, 15, 0))


def test_a_day_may_be_open_from_midnight_to_midnight() -> None:
    hours = BusinessHours("UTC", {Weekday.MONDAY: [Hours("00:00", "24:00")]})
    opened = [hours.are_open(utc(2026, 1, 5, 0) + timedelta(minutes=m)) for m in range(-1, 1441)]
    assert opened == [False, *[True] * 1440, False]


@pytest.mark.parametrize("timezone", ["", "Europe", "Mars/Base", "../etc/passwd", "UTC\0"])
def test_an_unknown_time_zone_is_named_at_once(timezone: str) -> None:
    with pytest.raises(ConfigError, match="time zone"):
        BusinessHours(timezone, {})


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("17:00", "09:00"),
        ("09:00", "09:00"),
        ("24:00", "24:00"),
        ("9:00", "17:00"),
        ("09.00", "17:00"),
        ("09:00", "17:60"),
        ("09:00", "24:01"),
        ("09:00", "25:00"),
        ("-1:00", "17:00"),
        ("09:00:00", "17:00"),
        ("", "17:00"),
        ("nine", "five"),
    ],
)
def test_what_is_no_span_of_a_day_is_refused(opens: str, closes: str) -> None:
    with pytest.raises(ConfigError):
        Hours(opens, closes)


# Hooks


async def test_during_business_hours_nothing_is_decided() -> None:
    hook = during(BERLIN, clock=lambda: utc(2026, 1, 5, 8))
    assert await hook(call()) is None


@pytest.mark.parametrize("otherwise", [Reject("closed"), HoldBack("closed"), Accept()])
async def test_outside_business_hours_it_is_as_ordered(
    otherwise: Reject | HoldBack | Accept,
) -> None:
    hook = during(BERLIN, otherwise=otherwise, clock=lambda: utc(2026, 1, 6, 8))
    assert await hook(call()) is otherwise


async def test_outside_business_hours_calls_are_declined_by_default() -> None:
    hook = during(BERLIN, clock=lambda: utc(2026, 1, 6, 8))
    assert await hook(call()) == Reject("outside business hours")


async def test_the_clock_is_asked_for_each_call() -> None:
    now = utc(2026, 1, 5, 7, 59)
    hook = during(BERLIN, clock=lambda: now)
    assert isinstance(await hook(call()), Reject)
    now = utc(2026, 1, 5, 8)
    assert await hook(call()) is None


async def test_the_usual_clock_is_the_time_of_this_machine() -> None:
    always = {day: [Hours("00:00", "24:00")] for day in Weekday}
    assert await during(BusinessHours("Asia/Tokyo", always))(call()) is None
    assert isinstance(await during(BusinessHours("Asia/Tokyo", {}))(call()), Reject)


async def test_a_route_picks_by_what_the_call_brings() -> None:
    sales, terms = PlainBot(), Accept(biz_opaque_callback_data="support")
    hook = route(lambda call: call.cta_payload, {"sales": sales, "support": terms})
    assert await hook(call(cta_payload="sales")) is sales
    assert await hook(call(cta_payload="support")) is terms
    assert await hook(call(cta_payload="forged")) is None
    assert await hook(call()) is None


async def test_the_first_hook_that_decides_is_obeyed() -> None:
    asked: list[str] = []

    def hook(name: str, decision: Decision) -> object:
        async def ask(_: Call) -> Decision:
            asked.append(name)
            return decision

        return ask

    reject = Reject("no")
    hooks = [hook("a", None), hook("b", reject), hook("c", HoldBack())]
    assert await screen(*hooks)(call()) is reject  # type: ignore[arg-type]
    assert asked == ["a", "b"]


async def test_when_no_hook_decides_the_usual_bot_takes_the_call() -> None:
    hook = screen(route(lambda call: call.cta_payload, {}), during(BERLIN, clock=_open))
    assert await hook(call()) is None
    assert await screen()(call()) is None


def _open() -> datetime:
    return utc(2026, 1, 5, 8)


# Over real calls


async def test_a_call_outside_business_hours_is_rejected_with_the_reason(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    hook = during(BusinessHours("Europe/Berlin", {}))
    await whatsapp.serve(bot, on_incoming_call=hook, on_call_ended=reports)
    ringing = await phone.dial()
    assert await ringing.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.detail) == (Cause.REJECTED, "outside business hours")
    assert bot.started == []


async def test_each_call_gets_the_bot_of_its_button(whatsapp: WhatsApp, phone: Phone) -> None:
    usual, sales = PlainBot(), PlainBot()
    hook = screen(
        during(BERLIN, clock=_open),
        route(lambda call: call.cta_payload, {"sales": sales}),
    )
    await whatsapp.serve(usual, on_incoming_call=hook)
    first = await phone.dial(cta_payload="sales")
    await first.answered()
    await first.hang_up()
    second = await phone.dial(cta_payload="forged")
    await second.answered()
    assert [args.call.id for args in sales.started] == [first.id]
    assert [args.call.id for args in usual.started] == [second.id]
