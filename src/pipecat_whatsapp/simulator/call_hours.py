"""When a number takes calls: Meta's rules for `call_hours`, and whether it is open."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings_rules import check_keys, check_status, demand, objects

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MAX_SPANS_A_DAY = 2
MAX_HOLIDAYS = 20

_TIME = re.compile(r"([01][0-9]|2[0-3])[0-5][0-9]")
_Days = defaultdict[str, list[tuple[str, str]]]
_KEYS = {"status", "timezone_id", "weekly_operating_hours", "holiday_schedule"}


def check_call_hours(hours: Json, now: float) -> None:
    """Check `call_hours` as Meta does (Meta: call settings).

    Args:
        hours: What was sent.
        now: Unix seconds: a holiday must not be over.

    Raises:
        RefusalError: Something is missing, unknown, out of bounds, or overlaps.
    """
    check_keys("call_hours", hours, _KEYS)
    check_status("call_hours.status", hours.get("status"))
    if hours["status"] == "DISABLED" and hours.keys() == {"status"}:
        return
    zone = _zone(hours)
    if zone is None:
        raise RefusalError("call_hours.timezone_id is not a time zone")
    weekly = objects("call_hours.weekly_operating_hours", hours.get("weekly_operating_hours"))
    if hours["status"] == "ENABLED":
        demand(bool(weekly), "call_hours.weekly_operating_hours is missing")
    _check_week(weekly)
    holidays = objects("call_hours.holiday_schedule", hours.get("holiday_schedule", []))
    _check_holidays(holidays, f"{datetime.fromtimestamp(now, zone):%Y-%m-%d}")


def is_open(hours: Json, now: float) -> bool:
    """Whether calls are taken.

    Args:
        hours: Checked `call_hours`; without them a number is always open.
        now: Unix seconds.
    """
    zone = _zone(hours)
    if hours.get("status") != "ENABLED" or zone is None:
        return True
    local = datetime.fromtimestamp(now, zone)
    time, today, weekday = f"{local:%H%M}", f"{local:%Y-%m-%d}", DAYS[local.weekday()]
    if any(
        holiday["date"] == today and holiday["start_time"] <= time <= holiday["end_time"]
        for holiday in hours.get("holiday_schedule", ())
    ):
        return False
    return any(
        span["day_of_week"] == weekday and span["open_time"] <= time < span["close_time"]
        for span in hours["weekly_operating_hours"]
    )


def _check_week(weekly: list[Json]) -> None:
    days = _Days(list)
    for span in weekly:
        check_keys("weekly_operating_hours", span, {"day_of_week", "open_time", "close_time"})
        demand(span.get("day_of_week") in DAYS, f"day_of_week must be one of {', '.join(DAYS)}")
        days[span["day_of_week"]].append(_span(span, "open_time", "close_time"))
    _check_spans(days)


def _check_holidays(holidays: list[Json], today: str) -> None:
    demand(len(holidays) <= MAX_HOLIDAYS, f"There may be at most {MAX_HOLIDAYS} holidays")
    days = _Days(list)
    for holiday in holidays:
        check_keys("holiday_schedule", holiday, {"date", "start_time", "end_time"})
        demand(_is_date(holiday.get("date")), "The date of a holiday must be YYYY-MM-DD")
        demand(holiday["date"] >= today, "A holiday must not be over")
        days[holiday["date"]].append(_span(holiday, "start_time", "end_time"))
    _check_spans(days)


def _check_spans(days: _Days) -> None:
    for spans in map(sorted, days.values()):
        demand(len(spans) <= MAX_SPANS_A_DAY, f"A day has at most {MAX_SPANS_A_DAY} spans")
        apart = all(one[1] <= later[0] for one, later in pairwise(spans))
        demand(apart, "The spans of a day must not overlap")


def _span(given: Json, start: str, end: str) -> tuple[str, str]:
    opens, closes = str(given.get(start)), str(given.get(end))
    for time in (opens, closes):
        demand(_TIME.fullmatch(time) is not None, f'{start} and {end} must be "HHMM"')
    demand(opens < closes, f"{start} must be before {end}")
    return opens, closes


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _zone(hours: Json) -> ZoneInfo | None:
    try:
        return ZoneInfo(str(hours.get("timezone_id", "")))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
