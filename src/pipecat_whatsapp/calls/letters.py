"""What processes of one deployment write to each other. Pure.

A letter is signed with the app secret, as a webhook is: who can write to the directory can still
not invent a call.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipecat_whatsapp.meta.reading import as_object, bounded_int, integer, text, token
from pipecat_whatsapp.meta.webhook import verify_signature


@dataclass(frozen=True)
class Forwarded:
    """A webhook, or a part of it, for whom it concerns.

    Parameters:
        body: The webhook, in UTF-8.
        hops: How often it was sent on.
        age: Seconds that its calls have been ringing, by the clock of whoever got it from Meta;
            None when that was not told.
    """

    body: bytes
    hops: int = 1
    age: float | None = None


@dataclass(frozen=True)
class HangUp:
    """The application wants a call to end.

    Parameters:
        call_id: The call.
    """

    call_id: str


Message = Forwarded | HangUp


def seal(message: Message, app_secret: str) -> str:
    """Write a letter.

    Args:
        message: What it says.
        app_secret: Signs it.
    """
    if isinstance(message, Forwarded):
        told: dict[str, Any] = {"webhook": message.body.decode(), "hops": message.hops}
        if message.age is not None:
            told["age_ms"] = round(message.age * 1000)
    else:
        told = {"hang_up": message.call_id}
    content = json.dumps(told)
    digest = hmac.digest(app_secret.encode(), content.encode(), "sha256").hex()
    return f"sha256={digest} {content}"


def unseal(letter: str, app_secrets: Sequence[str]) -> Message | None:
    """Read a letter.

    Args:
        letter: What came.
        app_secrets: The secrets that count.

    Returns:
        What it says; None when it is of a kind that this version does not know.

    Raises:
        WebhookError: It was not signed with one of the secrets.
    """
    signature, _, content = letter.partition(" ")
    verify_signature(content.encode(), signature, app_secrets)
    try:
        told = as_object(json.loads(content, parse_int=bounded_int))
    except (ValueError, RecursionError):
        return None
    # An excerpt may be longer than the longest webhook, since it writes out what is not ASCII.
    if (body := text(told, "webhook", len(content))) is not None:
        age = integer(told, "age_ms")
        hops = integer(told, "hops") or 1
        return Forwarded(body.encode(), hops, None if age is None else age / 1000)
    if (call_id := token(told, "hang_up")) is not None:
        return HangUp(call_id)
    return None
