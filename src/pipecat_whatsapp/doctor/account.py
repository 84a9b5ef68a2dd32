"""The token, the business number, and the number's settings that make calls vanish."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipecat_whatsapp.doctor.finding import Finding, broken, ok, skipped, warning, what_and_cure
from pipecat_whatsapp.errors import ConfigError, GraphError, GraphRequestError
from pipecat_whatsapp.meta.account import PhoneNumber, TokenInfo
from pipecat_whatsapp.meta.calling_settings import DAYS, CallHours, CallingSettings
from pipecat_whatsapp.meta.graph import GraphClient

SCOPES = ("whatsapp_business_messaging", "whatsapp_business_management")
EXPIRY_WARNING = 7 * 86_400
"""Seconds before a token's end from which on it is worth a warning."""

SET = "pipecat-whatsapp settings set"

SYSTEM_USER_ADVICE = (
    "make a token of a system user that never expires, with whatsapp_business_messaging and "
    "whatsapp_business_management (Business settings > System users), as WHATSAPP_TOKEN"
)


def check_token(info: TokenInfo, now: float) -> Finding:
    """Is the token valid, for long enough, and may it do what calls need?"""
    if info.expires_at is not None and info.expires_at <= now:
        return broken("token", f"expired on {_date(info.expires_at)}", SYSTEM_USER_ADVICE)
    if not info.is_valid:
        return broken(
            "token", f"is not valid: {info.problem or 'Meta does not say why'}", SYSTEM_USER_ADVICE
        )
    missing = [scope for scope in SCOPES if scope not in info.scopes]
    if missing:
        return broken("token", f"lacks {' and '.join(missing)}", SYSTEM_USER_ADVICE)
    if info.expires_at is not None and info.expires_at - now < EXPIRY_WARNING:
        return warning("token", f"expires on {_date(info.expires_at)}", SYSTEM_USER_ADVICE)
    until = "never expires" if info.expires_at is None else f"expires on {_date(info.expires_at)}"
    return ok("token", f"is valid and {until}")


async def check_app_secret(graph: GraphClient, app_id: str, app_secret: str) -> Finding:
    """Is it the secret of the token's app, so that we can tell Meta's webhooks from others?"""
    try:
        await graph.account.inspect_token(app_id, app_secret)
    except GraphError as error:
        if error.retryable or not isinstance(error, GraphRequestError):
            return skipped("app secret", str(error))
        return broken(
            "app secret",
            f"WHATSAPP_APP_SECRET is not that of app {app_id} ({error.meta_message or 'refused'}): "
            "every webhook would be refused",
            "copy it from App settings > Basic of that app",
        )
    except ConfigError as error:
        return broken("app secret", *what_and_cure(error))
    return ok("app secret", f"is that of app {app_id}")


def check_number(number: PhoneNumber) -> Finding:
    """Is it a number of the Cloud API?"""
    name = number.display_phone_number or number.id
    if number.platform_type not in (None, "CLOUD_API"):
        return broken(
            "number",
            f"{name} is not on the Cloud API ({number.platform_type})",
            "register it for the Cloud API: numbers of the WhatsApp Business app cannot be called "
            "through it",
        )
    return ok("number", f"{name} is {number.verified_name or 'without a name'}")


def judge_settings(settings: CallingSettings, now: float, answer_time: float) -> list[Finding]:
    """Which of a number's settings keep calls away?

    Args:
        settings: The settings.
        now: Unix seconds.
        answer_time: Seconds that the bot needs to answer a call.
    """
    return [
        check_calling(settings),
        check_restrictions(settings),
        check_sip(settings),
        check_key_exchange(settings),
        check_hours(settings.call_hours, now),
        check_voicemail(settings, answer_time),
    ]


def check_calling(settings: CallingSettings) -> Finding:
    """Is calling switched on?"""
    if settings.status != "ENABLED":
        return broken("calling", "is switched off", f"run `{SET} status=ENABLED`")
    if settings.call_icon_visibility != "DEFAULT":
        return warning(
            "calling",
            f"is on, but users see no call icon ({settings.call_icon_visibility})",
            f"run `{SET} call_icon_visibility=DEFAULT`",
        )
    return ok("calling", "is switched on")


def check_restrictions(settings: CallingSettings) -> Finding:
    """Has Meta taken calls away?"""
    if not settings.restrictions:
        return ok("restrictions", "there are none")
    told = "; ".join(
        f"{restriction.type} until {_date(restriction.expires_at)}"
        if restriction.expires_at
        else restriction.type
        for restriction in settings.restrictions
    )
    return broken(
        "restrictions",
        f"Meta restricts the number: {told}",
        "wait for its end, answer every call, and call only who expects it; "
        "WhatsApp Manager says more",
    )


def check_sip(settings: CallingSettings) -> Finding:
    """Do calls go over SIP instead of webhooks?"""
    if settings.sip.status == "ENABLED":
        return broken(
            "SIP",
            "is on: calls go to a SIP server, no webhook comes, and Graph refuses calls (131055)",
            f"run `{SET} sip.status=DISABLED`",
        )
    return ok("SIP", "is off")


def check_key_exchange(settings: CallingSettings) -> Finding:
    """Are keys exchanged by DTLS, as WebRTC does?"""
    if settings.srtp_key_exchange_protocol != "DTLS":
        return broken(
            "key exchange",
            f"is {settings.srtp_key_exchange_protocol}, which WebRTC does not speak: "
            "every call is rejected",
            f"run `{SET} srtp_key_exchange_protocol=DTLS`",
        )
    return ok("key exchange", "is DTLS")


def check_hours(hours: CallHours, now: float) -> Finding:
    """Can the number be called at this hour?"""
    if hours.status != "ENABLED":
        return ok("call hours", "calls are taken at any hour")
    try:
        here = datetime.fromtimestamp(now, ZoneInfo(hours.timezone_id))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return skipped(
            "call hours", f"this machine does not know the time zone {hours.timezone_id!r}"
        )
    if is_open(hours, here):
        return ok("call hours", f"are now ({here:%A %H:%M} {hours.timezone_id})")
    return warning(
        "call hours",
        f"are closed now ({here:%A %H:%M} {hours.timezone_id}): no call comes",
        f"wait, or run `{SET} call_hours.status=DISABLED`",
    )


def is_open(hours: CallHours, here: datetime) -> bool:
    """Whether the number can be called at a local time."""
    clock = here.time()
    if any(
        holiday.date == here.date() and holiday.start_time <= clock <= holiday.end_time
        for holiday in hours.holiday_schedule
    ):
        return False
    weekday = DAYS[here.weekday()]
    return any(
        span.day_of_week == weekday and span.open_time <= clock < span.close_time
        for span in hours.weekly_operating_hours
    )


def check_voicemail(settings: CallingSettings, answer_time: float) -> Finding:
    """Does voicemail take calls before the bot does?"""
    voicemail = settings.voicemail
    timeout = voicemail.timeout_seconds
    if voicemail.status != "ENABLED" or "TIMEOUT" not in voicemail.triggers or timeout is None:
        return ok("voicemail", "does not take calls while they ring")
    if timeout <= answer_time:
        return broken(
            "voicemail",
            f"takes calls after {timeout} s, but the bot needs up to {answer_time:g} s to answer",
            f"run `{SET} voicemail.timeout_seconds=30`, or make the bot "
            "faster and tell --answer-time",
        )
    return ok("voicemail", f"waits {timeout} s, longer than the bot needs ({answer_time:g} s)")


def _date(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"
