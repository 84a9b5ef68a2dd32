"""The webhook's door: who may come in, and what was said.

::

    MAX_BODY_BYTES -> verify_signature -> parse_webhook -> events

The caller refuses what is larger than `MAX_BODY_BYTES`, with status 413. Not a byte is parsed
before the signature over the raw bytes has been checked. What comes after that is Meta's, but
still not trusted: parsing never raises.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.meta.events import Event, UnknownEvent
from pipecat_whatsapp.meta.parsing import parse_change
from pipecat_whatsapp.meta.reading import (
    as_object,
    bounded_int,
    items,
    name_of,
    timestamp,
    unknown,
)

MAX_BODY_BYTES = 3 * 1024 * 1024
"""Size of the largest webhook that Meta sends."""

MAX_EVENTS = 10_000
"""Events read from one webhook. Meta sends at most 1000."""

REFUSED_VERIFICATION = (
    "The webhook verification was refused, because its token is not ours: type the same "
    "verification token into Meta's webhook form and into the settings here."
)
"""What an address of ours answers who does not know its verification token."""

_OBJECT = "whatsapp_business_account"
_SIGNATURE = re.compile(r"sha256=([0-9a-fA-F]{64})")


def verify_subscription(query: Mapping[str, str], verification_token: str) -> str:
    """Answer the GET request with which Meta checks a webhook address.

    Source: Meta, webhooks, verification request.

    Args:
        query: The query parameters of the request.
        verification_token: The string that was typed into Meta's webhook form.

    Returns:
        The challenge, unchanged: the body of the answer, as plain text.

    Raises:
        WebhookError: The request does not know the token (status 403).
    """
    challenge = query.get("hub.challenge")
    known = bool(verification_token) and hmac.compare_digest(
        _encoded(query.get("hub.verify_token", "")), _encoded(verification_token)
    )
    if not known or challenge is None or query.get("hub.mode") != "subscribe":
        raise WebhookError(REFUSED_VERIFICATION, status=403)
    return challenge


def verify_signature(body: bytes, header: str | None, app_secrets: Sequence[str]) -> None:
    """Check that a webhook was signed with one of our app secrets.

    Source: Meta, webhooks, X-Hub-Signature-256.

    Args:
        body: The raw bytes of the request, as they came.
        header: The value of `X-Hub-Signature-256`.
        app_secrets: The app secrets that count; two while one replaces the other.

    Raises:
        WebhookError: The signature is missing, malformed or wrong (status 401).
    """
    # A lone string is a sequence too, and each of its letters would be a guessable secret.
    secrets = (app_secrets,) if isinstance(app_secrets, str) else app_secrets
    match = _SIGNATURE.fullmatch(header or "")
    if match is None:
        raise WebhookError(
            "The webhook was refused, because its X-Hub-Signature-256 header is missing or "
            "malformed: only Meta, and who knows the app secret, may call this address.",
            status=401,
        )
    given = bytes.fromhex(match[1])
    digests = [hmac.digest(_encoded(secret), body, "sha256") for secret in secrets if secret]
    if not any(hmac.compare_digest(digest, given) for digest in digests):
        raise WebhookError(
            "The webhook was refused, because its signature is wrong: check that the app secret "
            "is the one of the app that is subscribed.",
            status=401,
        )


def parse_webhook(body: bytes) -> list[Event]:
    """Read every event of every entry and change of a webhook.

    Never raises: what is unknown or broken becomes an `UnknownEvent`, and spoils nothing else.

    Source: Meta, webhooks of the WhatsApp Business Platform.

    Args:
        body: The raw bytes of the request, with a signature that was checked.

    Returns:
        The events in the order in which they came.
    """
    try:
        payload = json.loads(body, parse_int=bounded_int)
    except (ValueError, RecursionError) as exc:
        return [UnknownEvent(kind="webhook", reason=f"not readable as JSON ({type(exc).__name__})")]
    events = list(islice(_events(payload), MAX_EVENTS + 1))
    if len(events) > MAX_EVENTS:
        events[-1] = UnknownEvent(kind="webhook", reason=f"more than {MAX_EVENTS} events")
    return events


def _events(payload: Any) -> Iterator[Event]:
    if not isinstance(payload, dict):
        yield unknown("webhook", payload, "not an object")
    elif payload.get("object", _OBJECT) != _OBJECT:
        yield unknown(name_of(payload, "object") or "webhook", payload, "not WhatsApp's")
    elif not isinstance(payload.get("entry"), list):
        yield unknown("webhook", payload, "without a list of entries")
    else:
        for entry in payload["entry"]:
            yield from _entry_events(entry)


def _entry_events(entry: Any) -> Iterator[Event]:
    changes = items(as_object(entry), "changes")
    if not changes:
        yield unknown("webhook", entry, "an entry without changes")
    for change in changes:
        field = name_of(as_object(change), "field")
        if field is None:
            yield unknown("webhook", change, "a change without a field")
        else:
            yield from parse_change(field, change.get("value"), timestamp(entry, "time"))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
