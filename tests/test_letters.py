"""What processes write to each other, and what they do not believe."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.calls.letters import Forwarded, HangUp, Message, seal, unseal
from pipecat_whatsapp.errors import WebhookError
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES

SECRET = "not-a-real-app-secret"
BODY = '{"object":"whatsapp_business_account","entry":[{"id":"1","note":"ü☺"}]}'.encode()
MESSAGES: list[Message] = [
    Forwarded(BODY),
    Forwarded(BODY, hops=3),
    HangUp("wacid.HBgMEXAMPLE=="),
]


def signed(content: str) -> str:
    """A letter that some other version wrote."""
    digest = hmac.new(SECRET.encode(), content.encode(), hashlib.sha256).hexdigest()
    return f"sha256={digest} {content}"


@pytest.mark.parametrize("message", MESSAGES)
def test_what_was_sealed_is_read_again(message: Message) -> None:
    assert unseal(seal(message, SECRET), [SECRET]) == message


@given(st.text(min_size=1), st.integers(1, 10**6))
def test_any_webhook_arrives_as_it_was(text: str, hops: int) -> None:
    message = Forwarded(text.encode(), hops)
    assert unseal(seal(message, SECRET), [SECRET]) == message


@pytest.mark.parametrize("character", ["x", "ü", "\n", "\\u00fc"])
def test_the_largest_webhook_arrives_whole(character: str) -> None:
    body = (character * MAX_BODY_BYTES).encode()
    assert unseal(seal(Forwarded(body), SECRET), [SECRET]) == Forwarded(body)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_letter_is_one_line_of_ascii(message: Message) -> None:
    letter = seal(message, SECRET)
    assert letter.isascii()
    assert letter.isprintable()


def test_letters_of_another_deployment_are_refused() -> None:
    with pytest.raises(WebhookError):
        unseal(seal(MESSAGES[0], "another-secret"), [SECRET])


@pytest.mark.parametrize("secrets", [[], [""]])
def test_without_a_secret_nothing_is_believed(secrets: list[str]) -> None:
    with pytest.raises(WebhookError):
        unseal(seal(MESSAGES[0], ""), secrets)


def test_old_and_new_secret_count_side_by_side() -> None:
    secrets = ["a-newer-secret", SECRET]
    for secret in secrets:
        assert unseal(seal(MESSAGES[0], secret), secrets) == MESSAGES[0]


@given(st.data())
def test_no_character_of_a_letter_can_be_changed(data: st.DataObject) -> None:
    letter = seal(data.draw(st.sampled_from(MESSAGES)), SECRET)
    place = data.draw(st.integers(0, len(letter) - 1))
    other = data.draw(st.characters(codec="utf-8"))
    changed = letter[:place] + other + letter[place + 1 :]
    if changed.lower() == letter.lower():
        # The digits of the signature are the same in capitals.
        return
    with pytest.raises(WebhookError):
        unseal(changed, [SECRET])


@pytest.mark.parametrize("cut", [0, 1, 30, 71, 72, -1])
def test_a_letter_that_was_cut_is_refused(cut: int) -> None:
    with pytest.raises(WebhookError):
        unseal(seal(MESSAGES[0], SECRET)[:cut], [SECRET])


@given(st.text())
def test_what_is_no_letter_is_refused(text: str) -> None:
    with pytest.raises(WebhookError):
        unseal(text, [SECRET])


def test_a_webhook_is_no_letter_though_its_signature_counts() -> None:
    assert unseal(signed(BODY.decode()), [SECRET]) is None


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"something_new": 1},
        {"webhook": None},
        {"webhook": {"entry": []}},
        {"webhook": ""},
        {"hang_up": ""},
        {"hang_up": ["wacid.A"]},
        {"hang_up": "wacid.\n"},
        {"hang_up": "x" * 513},
        [],
        None,
        42,
        "hang_up",
    ],
)
def test_letters_of_unknown_kinds_say_nothing(told: Any) -> None:
    assert unseal(signed(json.dumps(told)), [SECRET]) is None


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"hang_up": ' + "9" * 10_000 + "}"])
def test_letters_that_are_not_readable_say_nothing(content: str) -> None:
    assert unseal(signed(content), [SECRET]) is None


def test_what_a_newer_version_adds_to_a_letter_does_no_harm() -> None:
    told = {"webhook": "{}", "hops": 2, "something_new": {"a": [1]}}
    assert unseal(signed(json.dumps(told)), [SECRET]) == Forwarded(b"{}", 2)


@pytest.mark.parametrize("hops", [None, -1, "many", 1.5, [], 10**30])
def test_hops_that_cannot_be_are_one(hops: Any) -> None:
    told = {"webhook": "{}", "hops": hops}
    assert unseal(signed(json.dumps(told)), [SECRET]) == Forwarded(b"{}", 1)
