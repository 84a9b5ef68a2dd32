"""What the calling settings of a number are, and how they are read.

Names are Meta's. What Meta leaves out was never set and has Meta's default; what cannot be read
counts as left out, and stays in `CallingSettings.raw`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from pipecat_whatsapp.meta.events import Raw, Restriction
from pipecat_whatsapp.meta.reading import (
    as_object,
    child,
    integer,
    items,
    name_of,
    restrictions,
    text,
    token,
)

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")

_TIME = re.compile(r"([0-9]{1,2}):?([0-9]{2})(?::?[0-9]{2})?")


@dataclass(frozen=True)
class OpeningSpan:
    """A span of one day of the week in which the number can be called.

    Parameters:
        day_of_week: In English and upper case, such as "MONDAY".
        open_time: Its begin.
        close_time: Its end.
    """

    day_of_week: str
    open_time: time
    close_time: time


@dataclass(frozen=True)
class Holiday:
    """A span of one date in which the number cannot be called.

    Parameters:
        date: The date.
        start_time: Its begin.
        end_time: Its end.
    """

    date: date
    start_time: time
    end_time: time


@dataclass(frozen=True)
class CallHours:
    """When the number can be called.

    Parameters:
        status: "ENABLED" or "DISABLED".
        timezone_id: Time zone of all times, such as "Europe/Berlin".
        weekly_operating_hours: At most two spans a day, which do not overlap.
        holiday_schedule: At most 20.
    """

    status: str = "DISABLED"
    timezone_id: str = ""
    weekly_operating_hours: tuple[OpeningSpan, ...] = ()
    holiday_schedule: tuple[Holiday, ...] = ()


@dataclass(frozen=True)
class SipServer:
    """Where Meta sends calls over SIP.

    Parameters:
        hostname: Its name.
        port: Its port.
        request_uri_user_params: Parameters of the request's address.
        sip_user_password: Our password at Meta, where it was asked for.
    """

    hostname: str
    port: int | None = None
    request_uri_user_params: Mapping[str, str] = field(default_factory=dict)
    sip_user_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SipSettings:
    """Calls over SIP. With it, Meta refuses calls through the Graph API.

    Parameters:
        status: "ENABLED" or "DISABLED".
        webhook_delivery: "ENABLED" when webhooks tell of calls all the same.
        servers: Where calls go.
    """

    status: str = "DISABLED"
    webhook_delivery: str = "DISABLED"
    servers: tuple[SipServer, ...] = ()


@dataclass(frozen=True)
class VoicemailSettings:
    """What happens to calls that nobody takes.

    Parameters:
        status: "ENABLED" or "DISABLED".
        triggers: "REJECT" and "TIMEOUT": which calls go to voicemail.
        announcement_media_id: What the caller hears; from `MediaApi.upload`.
        timeout_seconds: Seconds of ringing after which a call goes there, 0 to 30.
    """

    status: str = "DISABLED"
    triggers: tuple[str, ...] = ()
    announcement_media_id: str | None = None
    timeout_seconds: int | None = None


@dataclass(frozen=True)
class CallingSettings:
    """The calling settings of a number.

    Parameters:
        status: "ENABLED" or "DISABLED": whether the number can be called at all.
        call_icon_visibility: "DEFAULT", "DISABLE_ALL" or "HIDE_IN_CHAT".
        restrict_to_user_countries: Where the icon is shown; empty for everywhere.
        call_hours: When the number can be called.
        callback_permission_status: "ENABLED" when who calls may also be called back.
        srtp_key_exchange_protocol: "DTLS" or "SDES".
        additional_codecs: "PCMA" and "PCMU", beside Opus.
        sip: Calls over SIP instead.
        voicemail: What happens to calls that nobody takes.
        restrictions: What Meta has taken away for now.
        raw: The JSON object that the settings were read from.
    """

    status: str = "DISABLED"
    call_icon_visibility: str = "DEFAULT"
    restrict_to_user_countries: tuple[str, ...] = ()
    call_hours: CallHours = field(default_factory=CallHours)
    callback_permission_status: str = "DISABLED"
    srtp_key_exchange_protocol: str = "DTLS"
    additional_codecs: tuple[str, ...] = ()
    sip: SipSettings = field(default_factory=SipSettings)
    voicemail: VoicemailSettings = field(default_factory=VoicemailSettings)
    restrictions: tuple[Restriction, ...] = ()
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


def read_calling_settings(calling: Any) -> CallingSettings:
    """Read calling settings, as GET /settings and `SettingsUpdate.calling` have them."""
    calling = as_object(calling)
    return CallingSettings(
        status=_name(calling, "status", "DISABLED"),
        call_icon_visibility=_name(calling, "call_icon_visibility", "DEFAULT"),
        restrict_to_user_countries=_names(
            child(calling, "call_icons"), "restrict_to_user_countries"
        ),
        call_hours=_call_hours(child(calling, "call_hours")),
        callback_permission_status=_name(calling, "callback_permission_status", "DISABLED"),
        srtp_key_exchange_protocol=_name(calling, "srtp_key_exchange_protocol", "DTLS"),
        additional_codecs=_names(child(calling, "audio"), "additional_codecs"),
        sip=_sip(child(calling, "sip")),
        voicemail=_voicemail(child(calling, "voicemail")),
        restrictions=restrictions(
            child(calling, "restrictions"), "restrictions_list", type_key="type"
        ),
        raw=calling,
    )


def hours_are_whole(settings: CallingSettings) -> bool:
    """Whether every span and holiday of the call hours could be read."""
    raw, hours = child(settings.raw, "call_hours"), settings.call_hours
    return len(items(raw, "weekly_operating_hours")) <= len(hours.weekly_operating_hours) and len(
        items(raw, "holiday_schedule")
    ) <= len(hours.holiday_schedule)


def _call_hours(hours: Raw) -> CallHours:
    spans = (_opening_span(item) for item in items(hours, "weekly_operating_hours"))
    holidays = (_holiday(item) for item in items(hours, "holiday_schedule"))
    return CallHours(
        status=_name(hours, "status", "DISABLED"),
        timezone_id=token(hours, "timezone_id") or "",
        weekly_operating_hours=tuple(span for span in spans if span),
        holiday_schedule=tuple(holiday for holiday in holidays if holiday),
    )


def _opening_span(item: Any) -> OpeningSpan | None:
    day = name_of(item, "day_of_week")
    begin, end = _time(item, "open_time"), _time(item, "close_time")
    if day is None or begin is None or end is None:
        return None
    return OpeningSpan(day.upper(), begin, end)


def _holiday(item: Any) -> Holiday | None:
    try:
        day = date.fromisoformat(token(item, "date") or "")
    except ValueError:
        return None
    begin, end = _time(item, "start_time"), _time(item, "end_time")
    return None if begin is None or end is None else Holiday(day, begin, end)


def _sip(sip: Raw) -> SipSettings:
    return SipSettings(
        status=_name(sip, "status", "DISABLED"),
        webhook_delivery=_name(sip, "webhook_delivery", "DISABLED"),
        servers=tuple(
            SipServer(
                hostname=hostname,
                port=integer(item, "port"),
                request_uri_user_params=child(item, "request_uri_user_params"),
                sip_user_password=token(item, "sip_user_password"),
            )
            for item in items(sip, "servers")
            if (hostname := token(item, "hostname")) is not None
        ),
    )


def _voicemail(voicemail: Raw) -> VoicemailSettings:
    audio = child(child(voicemail, "audio"), "default")
    return VoicemailSettings(
        status=_name(voicemail, "status", "DISABLED"),
        triggers=_names(voicemail, "triggers"),
        announcement_media_id=text(audio, "announcement_media_id"),
        timeout_seconds=integer(audio, "timeout_seconds"),
    )


def _name(obj: Raw, key: str, default: str) -> str:
    return (name_of(obj, key) or default).upper()


def _names(obj: Raw, key: str) -> tuple[str, ...]:
    return tuple(item.upper() for item in items(obj, key) if isinstance(item, str))


def read_time(words: str) -> time | None:
    """A time of day, written "0900", "900" or "09:00"; the end of the day may be "2400"."""
    match = _TIME.fullmatch(words)
    if match is None:
        return None
    hour, minute = int(match[1]), int(match[2])
    if (hour, minute) == (24, 0):
        return time(23, 59)
    return time(hour, minute) if hour < 24 and minute < 60 else None


def _time(item: Any, key: str) -> time | None:
    return read_time(token(item, key) or "")
