"""Calling settings as words of a command line, both ways.

::

    status=ENABLED  restrict_to_user_countries=DE,AT  call_hours.monday=0900-1200,1300-1700
    call_hours.holidays=2026-12-25,2026-12-31@1200-2359  voicemail.timeout_seconds=30
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, time
from typing import Any

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.calling_settings import (
    DAYS,
    CallHours,
    CallingSettings,
    Holiday,
    OpeningSpan,
    hours_are_whole,
    read_time,
)

_WHOLE_DAY = time(0, 0), time(23, 59)


def words_of(settings: CallingSettings) -> dict[str, str]:
    """Every setting that can be shown, by its key, in words."""
    hours, sip, voicemail = settings.call_hours, settings.sip, settings.voicemail
    timeout = voicemail.timeout_seconds
    return {
        "status": settings.status,
        "call_icon_visibility": settings.call_icon_visibility,
        "restrict_to_user_countries": ",".join(settings.restrict_to_user_countries),
        "callback_permission_status": settings.callback_permission_status,
        "srtp_key_exchange_protocol": settings.srtp_key_exchange_protocol,
        "additional_codecs": ",".join(settings.additional_codecs),
        "call_hours.status": hours.status,
        "call_hours.timezone_id": hours.timezone_id,
        **{f"call_hours.{day.lower()}": _spans_of(hours, day) for day in DAYS},
        "call_hours.holidays": ",".join(map(_holiday_words, hours.holiday_schedule)),
        "sip.status": sip.status,
        "sip.webhook_delivery": sip.webhook_delivery,
        "voicemail.status": voicemail.status,
        "voicemail.triggers": ",".join(voicemail.triggers),
        "voicemail.timeout_seconds": "" if timeout is None else str(timeout),
        "voicemail.announcement_media_id": voicemail.announcement_media_id or "",
    }


def changed(settings: CallingSettings, changes: Iterable[str]) -> CallingSettings:
    """Settings with changes applied.

    Args:
        settings: The settings as they are.
        changes: Such as "status=ENABLED".

    Raises:
        ConfigError: A change cannot be read, or would lose call hours that could not be read.
    """
    whole = hours_are_whole(settings)
    for change in changes:
        key, equals, words = change.partition("=")
        read = READERS.get(key)
        if not equals or read is None:
            raise ConfigError(
                f"{change!r} changes nothing: write KEY=VALUE with one of the keys "
                f"{', '.join(READERS)}."
            )
        if key.startswith("call_hours.") and not whole:
            raise ConfigError(
                "The call hours cannot be changed here, because some of them could not be read and "
                "would be lost: change them in WhatsApp Manager."
            )
        try:
            settings = _put(settings, key, read(words.strip()))
        except ValueError as error:
            raise ConfigError(f"{change!r} cannot be read: {error}.") from error
    return settings


def difference(before: CallingSettings, after: CallingSettings) -> dict[str, Any]:
    """The arguments of `SettingsApi.write` that lead from one to the other."""
    return {
        name: getattr(after, name)
        for name in (
            "status",
            "call_icon_visibility",
            "restrict_to_user_countries",
            "call_hours",
            "callback_permission_status",
            "srtp_key_exchange_protocol",
            "additional_codecs",
            "sip",
            "voicemail",
        )
        if getattr(after, name) != getattr(before, name)
    }


def _put(settings: CallingSettings, key: str, value: Any) -> CallingSettings:
    group, dot, name = key.partition(".")
    if not dot:
        return replace(settings, **{group: value})
    part = getattr(settings, group)
    if (day := name.upper()) in DAYS:
        spans = _of_other_days(settings.call_hours, day) + _on(day, value)
        part = replace(part, weekly_operating_hours=spans)
    else:
        part = replace(part, **{_FIELDS.get(name, name): value})
    return replace(settings, **{group: part})


def _of_other_days(hours: CallHours, day: str) -> tuple[OpeningSpan, ...]:
    spans = hours.weekly_operating_hours
    return tuple(span for span in spans if span.day_of_week != day)


def _on(day: str, spans: Iterable[tuple[time, time]]) -> tuple[OpeningSpan, ...]:
    return tuple(OpeningSpan(day, begin, end) for begin, end in spans)


def _spans_of(hours: CallHours, day: str) -> str:
    return ",".join(
        _span_words(span.open_time, span.close_time)
        for span in hours.weekly_operating_hours
        if span.day_of_week == day
    )


def _holiday_words(holiday: Holiday) -> str:
    if (holiday.start_time, holiday.end_time) == _WHOLE_DAY:
        return holiday.date.isoformat()
    return f"{holiday.date.isoformat()}@{_span_words(holiday.start_time, holiday.end_time)}"


def _span_words(begin: time, end: time) -> str:
    return f"{begin:%H%M}-{end:%H%M}"


def _name(words: str) -> str:
    return words.upper()


def _names(words: str) -> tuple[str, ...]:
    return tuple(word.strip().upper() for word in words.split(",") if word.strip())


def _text(words: str) -> str:
    return words


def _seconds(words: str) -> int:
    if not (words.isascii() and words.isdigit()):
        raise ValueError("write whole seconds, as 30")
    return int(words)


def _spans(words: str) -> list[tuple[time, time]]:
    return [_span(word.strip()) for word in words.split(",") if word.strip()]


def _span(words: str) -> tuple[time, time]:
    begin, _, end = (part.strip() for part in words.partition("-"))
    open_time, close_time = read_time(begin), read_time(end)
    if open_time is None or close_time is None:
        raise ValueError("write spans as 0900-1200,1300-1700")
    return open_time, close_time


def _holidays(words: str) -> tuple[Holiday, ...]:
    return tuple(_holiday(word.strip()) for word in words.split(",") if word.strip())


def _holiday(words: str) -> Holiday:
    day, at, span = words.partition("@")
    begin, end = _span(span) if at else _WHOLE_DAY
    return Holiday(_day(day), begin, end)


def _day(words: str) -> date:
    try:
        return date.fromisoformat(words)
    except ValueError:
        raise ValueError("write days as 2026-12-25") from None


READERS: Mapping[str, Callable[[str], Any]] = {
    "status": _name,
    "call_icon_visibility": _name,
    "restrict_to_user_countries": _names,
    "callback_permission_status": _name,
    "srtp_key_exchange_protocol": _name,
    "additional_codecs": _names,
    "call_hours.status": _name,
    "call_hours.timezone_id": _text,
    **{f"call_hours.{day.lower()}": _spans for day in DAYS},
    "call_hours.holidays": _holidays,
    "sip.status": _name,
    "sip.webhook_delivery": _name,
    "voicemail.status": _name,
    "voicemail.triggers": _names,
    "voicemail.timeout_seconds": _seconds,
    "voicemail.announcement_media_id": _text,
}
"""By key, what reads its value. Raises ValueError for what cannot be read."""

_FIELDS = {"holidays": "holiday_schedule"}
