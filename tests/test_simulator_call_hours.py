from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipecat_whatsapp.simulator.call_hours import check_call_hours, is_open
from simulated_account import refused

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 25, 12, tzinfo=BERLIN).timestamp()


def span(day: str, opens: str, closes: str) -> dict[str, str]:
    return {"day_of_week": day, "open_time": opens, "close_time": closes}


def holiday(date: str, start: str = "0000", end: str = "2359") -> dict[str, str]:
    return {"date": date, "start_time": start, "end_time": end}


def hours(*spans: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "status": "ENABLED",
        "timezone_id": "Europe/Berlin",
        "weekly_operating_hours": list(spans or [span("MONDAY", "0900", "1700")]),
        **changes,
    }


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    "given",
    [
        {"status": "DISABLED"},
        hours(),
        hours(span("MONDAY", "0900", "1200"), span("MONDAY", "1200", "1700")),
        hours(span("MONDAY", "1300", "1700"), span("MONDAY", "0900", "1200")),
        hours(holiday_schedule=[holiday("2026-11-25"), holiday("2027-02-28")]),
        hours(holiday_schedule=[holiday(f"2027-01-{day:02}") for day in range(1, 21)]),
        hours(status="DISABLED", weekly_operating_hours=[]),
    ],
)
def test_hours_that_meta_takes(given: dict[str, Any]) -> None:
    check_call_hours(given, NOW)


@pytest.mark.parametrize(
    ("given", "details"),
    [
        ({}, "call_hours.status"),
        (hours(status="enabled"), "call_hours.status"),
        (hours(timezone_id="Europe/Atlantis"), "not a time zone"),
        (hours(timezone_id=None), "not a time zone"),
        (hours(timezone_id="../etc/passwd"), "not a time zone"),
        (hours(timezone_id=""), "not a time zone"),
        (hours(weekly_operating_hours=[]), "weekly_operating_hours is missing"),
        (hours(weekly_operating_hours="MONDAY"), "list of objects"),
        (hours(days=[]), "does not know days"),
        (hours(span("Monday", "0900", "1700")), "day_of_week"),
        (hours(span("MONDAY", "09:00", "17:00")), "HHMM"),
        (hours(span("MONDAY", "900", "1700")), "HHMM"),
        (hours(span("MONDAY", "0900", "2400")), "HHMM"),
        (hours(span("MONDAY", "0900", "0900")), "must be before"),
        (hours(span("MONDAY", "1700", "0900")), "must be before"),
        (hours({**span("MONDAY", "0900", "1700"), "note": "x"}), "does not know note"),
        (hours(*[span("MONDAY", f"0{n}00", f"0{n}30") for n in range(3)]), "at most 2"),
        (hours(span("MONDAY", "0900", "1200"), span("MONDAY", "1100", "1300")), "overlap"),
        (hours(holiday_schedule=[holiday("25.12.2026")]), "YYYY-MM-DD"),
        (hours(holiday_schedule=[holiday("20261225")]), "YYYY-MM-DD"),
        (hours(holiday_schedule=[holiday("2027-02-29")]), "YYYY-MM-DD"),
        (hours(holiday_schedule=[holiday("2026-11-24")]), "must not be over"),
        (hours(holiday_schedule=[holiday("2026-12-25", "1200", "1100")]), "must be before"),
        (hours(holiday_schedule=[holiday("2026-12-25")] * 2), "overlap"),
        (hours(holiday_schedule=[holiday(f"2027-01-{day:02}") for day in range(1, 22)]), "most 20"),
    ],
)
def test_hours_that_meta_refuses(given: dict[str, Any], details: str) -> None:
    assert details in refused(lambda: check_call_hours(given, NOW)).details


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-23T08:59", False),
        ("2026-11-23T09:00", True),
        ("2026-11-23T16:59", True),
        ("2026-11-23T17:00", False),
        ("2026-11-24T12:00", False),
        ("2026-11-30T10:59", True),
        ("2026-11-30T11:30", False),
    ],
)
def test_when_the_number_is_open(now: str, expected: bool) -> None:
    given = hours(holiday_schedule=[holiday("2026-11-30", "1100", "2359")])
    assert is_open(given, at(now)) is expected


def test_a_number_without_hours_is_always_open() -> None:
    assert is_open({}, at("2026-11-24T12:00"))
    assert is_open(hours(status="DISABLED"), at("2026-11-24T12:00"))
