"""Who may come in through the webhook, and what no body can break."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.meta.events import Event, UnknownEvent
from pipecat_whatsapp.meta.webhook import (
    MAX_BODY_BYTES,
    MAX_EVENTS,
    parse_webhook,
    verify_signature,
    verify_subscription,
)

SECRET = "not-a-real-app-secret"
COMPACT = b'{"object":"whatsapp_business_account","entry":[]}'
SPACED = b'{"object": "whatsapp_business_account", "entry": []}'
ESCAPED = rb'{"n":"J\u00fcrgen","u":"https:\/\/x.test"}'
COMPACT_DIGEST = "cd5d65a84819290c3980fc8e3e272ebabcf783a2c937ac9211cedd74b3812725"
ESCAPED_DIGEST = "32f55f33aeeeb4c0b22e52d32d6fb74258b609193d5375a730b91b2bd24a1536"


def subscription(**changed: str) -> dict[str, str]:
    query = {"mode": "subscribe", "challenge": "0123", "verify_token": "sesame"} | changed
    return {f"hub.{key}": value for key, value in query.items()}


def test_challenge_comes_back_as_the_string_it_was() -> None:
    assert verify_subscription(subscription(), "sesame") == "0123"


def test_verification_tokens_may_be_any_text() -> None:
    assert verify_subscription(subscription(verify_token="öffne ☂"), "öffne ☂") == "0123"


@pytest.mark.parametrize(
    ("query", "token"),
    [
        (subscription(verify_token="wrong"), "sesame"),
        (subscription(verify_token="ö"), "sesame"),
        (subscription(verify_token="\udcff"), "sesame"),
        (subscription(verify_token=""), ""),
        (subscription(mode="unsubscribe"), "sesame"),
        ({"hub.mode": "subscribe", "hub.verify_token": "sesame"}, "sesame"),
        ({}, "sesame"),
    ],
)
def test_other_verifications_are_refused(query: dict[str, str], token: str) -> None:
    with pytest.raises(WebhookError) as refused:
        verify_subscription(query, token)
    assert refused.value.status == 403


@pytest.mark.parametrize(("body", "digest"), [(COMPACT, COMPACT_DIGEST), (ESCAPED, ESCAPED_DIGEST)])
def test_signatures_count_over_the_raw_bytes(body: bytes, digest: str) -> None:
    verify_signature(body, f"sha256={digest}", [SECRET])
    verify_signature(body, f"sha256={digest.upper()}", [SECRET])


def test_old_and_new_secret_count_side_by_side() -> None:
    verify_signature(COMPACT, f"sha256={COMPACT_DIGEST}", ["a-newer-secret", SECRET])


def signed_with(secret: str, body: bytes = COMPACT) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("body", "header", "secrets"),
    [
        (COMPACT, None, [SECRET]),
        (COMPACT, "", [SECRET]),
        (COMPACT, COMPACT_DIGEST, [SECRET]),
        (COMPACT, f"sha1={COMPACT_DIGEST}", [SECRET]),
        (COMPACT, f"sha256={COMPACT_DIGEST[:-2]}", [SECRET]),
        (COMPACT, f"sha256={COMPACT_DIGEST}\n", [SECRET]),
        (COMPACT, f"sha256={'ü' * 64}", [SECRET]),
        (SPACED, f"sha256={COMPACT_DIGEST}", [SECRET]),
        (json.dumps(json.loads(ESCAPED)).encode(), f"sha256={ESCAPED_DIGEST}", [SECRET]),
        (COMPACT, f"sha256={COMPACT_DIGEST}", ["another-secret"]),
        (COMPACT, f"sha256={COMPACT_DIGEST}", []),
        (COMPACT, signed_with(""), [""]),
        (COMPACT, signed_with("n"), SECRET),
    ],
)
def test_other_signatures_are_refused(body: bytes, header: str | None, secrets: Any) -> None:
    with pytest.raises(WebhookError) as refused:
        verify_signature(body, header, secrets)
    assert refused.value.status == 401


def test_a_secret_given_as_one_string_counts_whole() -> None:
    verify_signature(COMPACT, f"sha256={COMPACT_DIGEST}", SECRET)


def test_the_largest_body_is_3_mb() -> None:
    assert MAX_BODY_BYTES == 3 * 1024 * 1024


UNREADABLE = [
    b"",
    b"{",
    b"\xff\xfe\xfa",
    b"null",
    b"42",
    b"[]",
    b'"text"',
    b"NaN",
    b"{}",
    b'{"entry": null}',
    b'{"entry": {}}',
    b'{"entry": [null]}',
    b'{"entry": [{}]}',
    b'{"entry": [{"changes": [null]}]}',
    b'{"entry": [{"changes": [{}]}]}',
    b'{"entry": [{"changes": [{"field": 7, "value": {}}]}]}',
    b'{"entry": [{"changes": [{"field": "calls"}]}]}',
    b'{"entry": [{"changes": [{"field": "calls", "value": {}}]}]}',
    b'{"object": "page", "entry": [{"changes": [{"field": "calls", "value": {}}]}]}',
    b'{"object": {"a": 1}, "entry": []}',
    b'{"entry": ' + b"[" * 200_000,
    b"[" * 200_000 + b"]" * 200_000,
    b'{"entry": [{"changes": [' + b'{"field": "calls", "value": {"calls": ' * 5 + b"1" * 9_000,
]


@pytest.mark.parametrize("body", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_is_not_a_webhook_becomes_one_unknown_event(body: bytes) -> None:
    (event,) = parse_webhook(body)
    assert isinstance(event, UnknownEvent)
    assert event.kind
    assert event.reason


def test_an_empty_webhook_tells_nothing() -> None:
    assert parse_webhook(COMPACT) == []


def webhook(*calls: Any) -> bytes:
    value = {"metadata": {"phone_number_id": "200000000000002"}, "calls": list(calls)}
    change = {"field": "calls", "value": value}
    return json.dumps({"entry": [{"id": "1", "changes": [change]}]}).encode()


def test_the_number_of_events_is_bounded() -> None:
    events: list[Event] = parse_webhook(webhook(*[0] * (MAX_EVENTS + 5)))
    assert len(events) == MAX_EVENTS + 1
    assert events[-1] == UnknownEvent(kind="webhook", reason=f"more than {MAX_EVENTS} events")


def test_an_absurd_number_spoils_only_its_own_field() -> None:
    body = webhook({"id": "wacid.A", "event": "terminate", "duration": 0, "status": "FAILED"})
    (event,) = parse_webhook(body.replace(b'"duration": 0', b'"duration": ' + b"9" * 9_000))
    assert not isinstance(event, UnknownEvent)
