"""What is checked before anything is sent: Meta would refuse it, and say less."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from pipecat_whatsapp.errors import ConfigError, InvalidRequestError
from pipecat_whatsapp.meta.events import User

MAX_PAYLOAD_CHARS = 512
"""Of what we give and Meta gives back. Source: Meta, call button messages and deep links."""

_TOKEN = re.compile(r"[!-~]+")
_VERSION = re.compile(r"v[0-9]{1,3}\.[0-9]{1,3}")


def checked_url(url: str) -> str:
    """The base address of the Graph API, without a slash at its end.

    Raises:
        ConfigError: It is not a plain https address, or on loopback a plain http one.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "The Graph URL cannot be used, because it is not a plain address: "
            "write it as https://graph.facebook.com."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigError(
            "The Graph URL must begin with https://, because the access token travels with every "
            "request; plain http is for this machine only."
        )
    return url.strip().rstrip("/")


def checked_version(version: str) -> str:
    """A version of the Graph API.

    Raises:
        ConfigError: It is not written like one.
    """
    if not _VERSION.fullmatch(version):
        raise ConfigError("The Graph version cannot be used: write it as v25.0.")
    return version


def checked_token(token: str) -> str:
    """An access token, without white space around it.

    Raises:
        ConfigError: It is empty, or has characters that no token has.
    """
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            "The access token cannot be used, because it is empty or has unusual characters: "
            "copy it again from Meta."
        )
    return token


def checked_id(name: str, value: str) -> str:
    """An id of Meta's that becomes part of an address.

    Raises:
        ConfigError: It is not made of digits.
    """
    if not (value.isascii() and value.isdigit()):
        raise ConfigError(
            f"The request was not sent, because its {name} is not made of digits: "
            "copy it from Meta's app dashboard."
        )
    return value


def address(user: User) -> dict[str, str]:
    """Who a request is for: `to` with the phone number where it is known, else `recipient`.

    Source: Meta, business-scoped user ids.

    Raises:
        InvalidRequestError: The user has neither a phone number nor a user id.
    """
    if user.phone:
        return {"to": user.phone}
    if user.user_id:
        return {"recipient": user.user_id}
    raise invalid(
        "the user has neither a phone number nor a user id",
        "write the number with its country code, in digits",
    )


def check_length(name: str, value: str, most: int, *, least: int = 0) -> None:
    """Check the length of a text.

    Raises:
        InvalidRequestError: It is too long or too short.
    """
    if len(value) > most:
        raise invalid(f"the {name} has {len(value)} characters", f"{most} are the most")
    if len(value) < least:
        raise invalid(f"the {name} is empty", "write one")


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Check a number.

    Raises:
        InvalidRequestError: It is too large or too small.
    """
    if not least <= value <= most:
        raise invalid(f"the {name} is {value}", f"{least} to {most} is allowed")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check a word out of Meta's own vocabulary.

    Raises:
        InvalidRequestError: It is none of them.
    """
    if value not in choices:
        raise invalid(f"{value!r} is not a known {name}", f"use one of {', '.join(choices)}")


def invalid(why: str, advice: str) -> InvalidRequestError:
    """The error for a request that is not sent, because Meta would refuse it."""
    return InvalidRequestError(
        f"The request was not sent, because {why}: {advice}.",
        status=0,
        code=0,
        meta_message="",
        advice=advice,
        retryable=False,
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
