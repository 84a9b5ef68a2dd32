"""Who reads an excerpt of a webhook finds what was in the whole, and nothing else."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.meta import reading
from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallStatus,
    CallTerminate,
    Event,
    UnknownEvent,
)
from pipecat_whatsapp.meta.excerpt import Excerpts
from pipecat_whatsapp.meta.reading import phone, token
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES, parse_webhook

PAYLOADS = [
    json.loads(path.read_bytes())
    for path in sorted((Path(__file__).parent / "payloads").iterdir())
    if path.suffix == ".json"
]
CHANGES = [change for told in PAYLOADS for entry in told["entry"] for change in entry["changes"]]
LISTS = ("calls", "statuses", "messages")
IDS = [f"wacid.{letter}" for letter in "ABCDE"]
JUNK: list[Any] = [None, [], {}, 42, "x", True, "\ud800", [[{"id": IDS[0]}]]]


def recorded(name: str) -> list[Any]:
    """The items under a name in all recorded payloads."""
    return [item for change in CHANGES for item in change["value"].get(name, [])]


PHONES = ["4915550001111", "4915550002222", "+49 1555 0002222", "4915550003333", 7, "US.1"]
USER_IDS = ["US.1", "US.2", "US.3", "4915550001111", None]
# Whom a call, message or status names: few, so that they meet the contacts in many ways.
parties = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("from", "to", "recipient_id"), st.sampled_from(PHONES)),
        **dict.fromkeys(
            ("from_user_id", "to_user_id", "recipient_user_id"), st.sampled_from(USER_IDS)
        ),
    },
)


def identified(items: list[Any]) -> st.SearchStrategy[Any]:
    """Recorded calls, statuses or messages under ids of ours, and what is none of them."""
    ids = st.sampled_from([*IDS, *IDS, None, 7, ["wacid.A"], "\ud800"])
    good = st.builds(
        lambda item, parties, item_id: {**item, **parties, "id": item_id},
        st.sampled_from(items),
        parties,
        ids,
    )
    return st.one_of(good, good, good, st.sampled_from(JUNK))


def lists_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(items, max_size=4), items)


named = st.builds(
    lambda phone, user_id, name: {"wa_id": phone, "user_id": user_id, "profile": {"name": name}},
    st.sampled_from(PHONES),
    st.sampled_from(USER_IDS),
    st.sampled_from("ABCDE"),
)
contacts = st.one_of(named, named, st.sampled_from([*recorded("contacts"), *JUNK]))
errors = st.sampled_from([*recorded("errors"), {"code": 131044}, *JUNK])
values = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.sampled_from([change["value"].get("metadata") for change in CHANGES]),
        "contacts": lists_of(contacts),
        "errors": lists_of(errors),
        "calls": lists_of(identified(recorded("calls"))),
        "statuses": lists_of(identified(recorded("statuses"))),
        "messages": lists_of(identified(recorded("messages"))),
    },
)
fields = st.sampled_from(["calls", "calls", "messages", ["calls"], "novelty", 7])
changes = st.one_of(
    st.fixed_dictionaries({"field": fields, "value": values}),
    st.fixed_dictionaries({"field": fields, "value": values}),
    st.sampled_from([*CHANGES, *JUNK, {"value": {}}, {"field": "calls", "value": []}]),
)
entries = st.one_of(
    st.fixed_dictionaries(
        {"changes": lists_of(changes)}, optional={"id": st.just("1"), "time": st.integers(0, 10)}
    ),
    st.sampled_from(JUNK),
)
bodies = st.lists(entries, max_size=3).map(
    lambda listed: json.dumps({"object": "whatsapp_business_account", "entry": listed}).encode()
)
ids = st.sampled_from([*IDS, "wacid.elsewhere"])
orders = st.lists(ids, max_size=6)


def about(events: list[Event], item_id: str) -> list[tuple[Event, Any]]:
    """The events about a call or message, with what they were read from."""
    return [(event, event.raw) for event in events if event.raw.get("id") == item_id]


@given(bodies, orders)
def test_an_excerpt_tells_what_the_whole_told_of_it(body: bytes, order: list[str]) -> None:
    excerpts, whole = Excerpts(body), parse_webhook(body)
    for item_id in order:
        told = [(event, event.raw) for event in parse_webhook(excerpts.of(item_id))]
        assert told == about(whole, item_id)


@given(bodies, ids)
def test_an_excerpt_of_an_excerpt_is_the_same(body: bytes, item_id: str) -> None:
    once = Excerpts(body).of(item_id)
    assert Excerpts(once).of(item_id) == once


@given(bodies, ids, ids)
def test_an_excerpt_holds_nothing_of_another_id(body: bytes, one: str, other: str) -> None:
    events = parse_webhook(Excerpts(Excerpts(body).of(one)).of(other))
    assert (events == []) or one == other


def told_of(body: bytes) -> Iterator[tuple[list[Any], set[str | None]]]:
    """For each change its contacts, and by what its calls, messages and statuses name users."""
    for entry in json.loads(body)["entry"]:
        value = entry["changes"][0]["value"]
        kept = [item for name in LISTS for item in value.get(name, [])]
        phones = {phone(item, key) for item in kept for key in ("from", "to", "recipient_id")}
        sides = ("from_user_id", "to_user_id", "recipient_user_id")
        yield value["contacts"], phones | {token(item, key) for item in kept for key in sides}


@given(bodies, ids)
def test_an_excerpt_holds_no_contact_of_anybody_else(body: bytes, item_id: str) -> None:
    for contacts, users in told_of(Excerpts(body).of(item_id)):
        # The only contact of the only call is of its user, whatever number it has.
        if len(contacts) > 1:
            known = [{phone(item, "wa_id"), token(item, "user_id")} for item in contacts[:-1]]
            assert all(keys & users - {None} for keys in known)


def body_of(*values: dict[str, Any]) -> bytes:
    changes = [{"field": "calls", "value": value} for value in values]
    return json.dumps({"entry": [{"changes": changes}]}).encode()


def call(call_id: str, event: str = "connect", phone: str = "4915550002222") -> dict[str, Any]:
    session = {"sdp_type": "offer", "sdp": "v=0\r\n"}
    return {"id": call_id, "event": event, "from": phone, "session": session}


def contact(phone: str, name: str, user_id: str | None = None) -> dict[str, Any]:
    return {"wa_id": phone, "user_id": user_id, "profile": {"name": name}}


def connect_in(excerpt: bytes) -> CallConnect:
    """The one event of an excerpt."""
    (event,) = parse_webhook(excerpt)
    assert isinstance(event, CallConnect)
    return event


# Contacts


def test_the_contact_of_another_call_stays_with_it() -> None:
    calls = [call("wacid.A"), call("wacid.B", phone="4915550003333")]
    excerpts = Excerpts(body_of({"contacts": [contact("4915550003333", "Bob")], "calls": calls}))
    user = connect_in(excerpts.of("wacid.A")).user
    assert (user.phone, user.name) == ("4915550002222", None)
    assert connect_in(excerpts.of("wacid.B")).user.name == "Bob"


def test_no_letter_names_another_user() -> None:
    contacts = [contact("4915550002222", "Ada"), contact("4915550003333", "Bob")]
    calls = [call("wacid.A"), call("wacid.B", phone="4915550003333")]
    excerpts = Excerpts(body_of({"contacts": contacts, "calls": calls}))
    letter = excerpts.of("wacid.A")
    assert connect_in(letter).user.name == "Ada"
    assert b"Bob" not in letter
    assert b"4915550003333" not in letter
    assert connect_in(excerpts.of("wacid.B")).user.name == "Bob"


def test_what_else_a_change_holds_of_others_stays() -> None:
    value = {"calls": [call("wacid.A"), call("wacid.B")], "guests": ["4915550003333"]}
    assert b"4915550003333" not in Excerpts(body_of(value)).of("wacid.A")


def test_a_contact_is_found_by_its_user_id() -> None:
    contacts = [contact("", "Ada", "US.1"), contact("", "Bob", "US.2")]
    calls = [{**call("wacid.A", phone=""), "from_user_id": "US.2"}, call("wacid.B")]
    letter = Excerpts(body_of({"contacts": contacts, "calls": calls})).of("wacid.A")
    assert connect_in(letter).user.name == "Bob"
    assert b"Ada" not in letter


def test_of_two_contacts_with_one_number_the_last_counts() -> None:
    contacts = [contact("4915550002222", "Ada"), contact("+49 1555 0002222", "Countess")]
    calls = [call("wacid.A"), call("wacid.B")]
    letter = Excerpts(body_of({"contacts": contacts, "calls": calls})).of("wacid.A")
    assert connect_in(letter).user.name == "Countess"
    assert b"Ada" not in letter


def test_the_contact_of_the_other_side_is_not_taken_for_the_users() -> None:
    told = {**call("wacid.A"), "to": "15550783881", "direction": "USER_INITIATED"}
    contacts = [contact("15550783881", "Us")]
    body = body_of({"contacts": contacts, "calls": [told, call("wacid.B")]})
    user = connect_in(Excerpts(body).of("wacid.A")).user
    assert (user.phone, user.name) == ("4915550002222", None)


@pytest.mark.parametrize("key", ["to", "to_user_id"])
def test_the_contact_goes_with_a_call_to_the_user(key: str) -> None:
    told = {**call("wacid.A", phone="15550783881"), key: "1002", "direction": "BUSINESS_INITIATED"}
    contacts = [contact(f"100{at}", f"User {at}", f"100{at}") for at in range(5)]
    letter = Excerpts(body_of({"contacts": contacts, "calls": [told]})).of("wacid.A")
    assert connect_in(letter).user.name == "User 2"
    assert letter.count(b"User") == 1


@pytest.mark.parametrize("key", ["recipient_id", "recipient_user_id"])
def test_the_contact_goes_with_a_status(key: str) -> None:
    told = {"id": "wacid.A", "status": "RINGING", "type": "call", key: "1002"}
    contacts = [contact(f"100{at}", f"User {at}", f"100{at}") for at in range(5)]
    letter = Excerpts(body_of({"contacts": contacts, "statuses": [told]})).of("wacid.A")
    (event,) = parse_webhook(letter)
    assert isinstance(event, CallStatus)
    assert event.user.name == "User 2"
    assert letter.count(b"User") == 1


def test_contacts_stay_in_their_order() -> None:
    told = {**call("wacid.A"), "to_user_id": "US.1", "direction": "USER_INITIATED"}
    contacts = [contact("4915550002222", "Ada", "US.1"), contact("4915550002222", "Countess")]
    letter = Excerpts(body_of({"contacts": contacts, "calls": [told]})).of("wacid.A")
    assert letter.count(b"wa_id") == 2
    assert connect_in(letter).user.name == "Countess"


def test_the_only_contact_stays_that_of_the_only_call() -> None:
    contacts = [contact("4915550009999", "Ada")]
    body = body_of({"contacts": contacts, "calls": [call("wacid.A")]})
    assert connect_in(Excerpts(body).of("wacid.A")).user.name == "Ada"


# What else is shared


def test_the_number_goes_with_every_call() -> None:
    metadata = {"phone_number_id": "106540352242922", "display_phone_number": "15550783881"}
    calls = [call("wacid.A"), call("wacid.B")]
    event = connect_in(Excerpts(body_of({"metadata": metadata, "calls": calls})).of("wacid.B"))
    assert (event.phone_number_id, event.business_phone) == ("106540352242922", "15550783881")


def test_errors_go_with_the_end_of_a_call_and_with_nothing_else() -> None:
    calls = [call("wacid.A"), call("wacid.B", "terminate")]
    excerpts = Excerpts(body_of({"errors": [{"code": 138021}], "calls": calls}))
    assert connect_in(excerpts.of("wacid.A")).call_id == "wacid.A"
    (event,) = parse_webhook(excerpts.of("wacid.B"))
    assert isinstance(event, CallTerminate)
    assert [error.code for error in event.errors] == [138021]


def test_no_more_errors_go_with_an_end_than_are_read() -> None:
    ends = [call("wacid.A", "terminate"), call("wacid.B", "terminate")]
    body = body_of({"errors": [{"code": 131_000 + at} for at in range(1_000)], "calls": ends})
    letter = Excerpts(body).of("wacid.A")
    assert letter.count(b'"code"') == reading.MAX_ERRORS
    assert parse_webhook(letter) == parse_webhook(body)[:1]


def test_an_excerpt_is_of_the_same_object() -> None:
    payload = {**json.loads(body_of({"calls": [call("wacid.A")]})), "object": "page"}
    (event,) = parse_webhook(Excerpts(json.dumps(payload).encode()).of("wacid.A"))
    assert isinstance(event, UnknownEvent)
    assert event.kind == "page"


def test_a_call_in_several_changes_is_told_of_in_their_order() -> None:
    body = body_of(
        {"calls": [call("wacid.A"), call("wacid.B")]},
        {"calls": [call("wacid.B", "terminate")]},
        {"calls": [call("wacid.A", "terminate")]},
    )
    told = parse_webhook(Excerpts(body).of("wacid.A"))
    assert [type(event) for event in told] == [CallConnect, CallTerminate]


# Cost


MANY = 5_000


def many_ends() -> bytes:
    """The ends of many calls of many users in one change."""
    users = [str(491_555_000_0000 + number) for number in range(MANY)]
    calls = [call(f"wacid.{at}", "terminate", user) for at, user in enumerate(users)]
    return body_of({"contacts": [contact(user, f"<{user}>") for user in users], "calls": calls})


class Counter:
    """Counts what is asked of a function beneath."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self._function(*args, **kwargs)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often a webhook is read as JSON."""
    counter = Counter(json.loads)
    monkeypatch.setattr(json, "loads", counter)
    return counter


def test_a_webhook_is_read_once_and_only_when_it_is_needed(reads: Counter) -> None:
    excerpts = Excerpts(body_of({"calls": [call("wacid.A"), call("wacid.B")]}))
    assert reads.calls == 0
    for item_id in ["wacid.A", "wacid.B", "wacid.elsewhere", "wacid.A"]:
        excerpts.of(item_id)
    assert reads.calls == 1


def test_two_webhooks_by_turns_are_read_once_each(reads: Counter) -> None:
    body = body_of({"calls": [call(f"wacid.{number}") for number in range(100)]})
    one, other = Excerpts(body), Excerpts(body)
    for number in range(100):
        assert one.of(f"wacid.{number}") == other.of(f"wacid.{number}")
    assert reads.calls == 2


def test_to_take_a_batch_apart_costs_what_the_batch_is_long(
    monkeypatch: pytest.MonkeyPatch, reads: Counter
) -> None:
    looks = [Counter(getattr(reading, name)) for name in ("phone", "token")]
    monkeypatch.setattr(reading, "phone", looks[0])
    monkeypatch.setattr(reading, "token", looks[1])
    body = many_ends()
    excerpts = Excerpts(body)
    letters = [excerpts.of(f"wacid.{number}") for number in range(MANY)]
    assert reads.calls == 1
    # One for each contact, and three sides of each call.
    assert {counter.calls for counter in looks} == {4 * MANY}
    assert sum(map(len, letters)) < 2 * len(body)
    assert max(map(len, letters)) < 500


def test_a_webhook_is_forgotten_with_its_excerpts() -> None:
    body = many_ends()
    tracemalloc.start()
    try:
        letter = Excerpts(body).of("wacid.7")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert letter
    assert held < len(body) / 10


# Odd webhooks


def test_an_excerpt_about_nothing_tells_nothing() -> None:
    body = body_of({"calls": [call("wacid.A")], "errors": [{"code": 138021}]})
    assert parse_webhook(Excerpts(body).of("wacid.elsewhere")) == []


def test_an_excerpt_is_plain_ascii() -> None:
    told = {**call("wacid.A"), "cta_payload": "grüße ☺ \ud800"}
    assert Excerpts(body_of({"calls": [told]})).of("wacid.A").isascii()


def test_absurd_numbers_spoil_no_excerpt() -> None:
    body = body_of({"calls": [{**call("wacid.A"), "timestamp": 17, "new": [0.5, 1e300]}]})
    body = body.replace(b'"timestamp": 17', b'"timestamp": ' + b"9" * 9_000)
    body = body.replace(b"1e+300", b"1e999")
    event = connect_in(Excerpts(body).of("wacid.A"))
    assert [event] == parse_webhook(body)
    assert event.raw["new"] == [0.5, float("inf")]


def test_the_largest_webhook_is_cut_too() -> None:
    body = body_of({"calls": [{**call("wacid.A"), "new": "x"}]})
    body = body.replace(b'"x"', b'"' + "ü".encode() * ((MAX_BODY_BYTES - 1000) // 2) + b'"')
    assert len(body) <= MAX_BODY_BYTES
    assert parse_webhook(Excerpts(body).of("wacid.A")) == parse_webhook(body)
