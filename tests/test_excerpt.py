"""Who reads an excerpt of a webhook finds what was in the whole, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.meta.events import CallConnect, CallTerminate, Event
from pipecat_whatsapp.meta.excerpt import excerpt
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


def identified(items: list[Any]) -> st.SearchStrategy[Any]:
    """Recorded calls, statuses or messages under ids of ours, and what is none of them."""
    ids = st.sampled_from([*IDS, *IDS, None, 7, ["wacid.A"], "\ud800"])
    good = st.builds(lambda item, item_id: {**item, "id": item_id}, st.sampled_from(items), ids)
    return st.one_of(good, good, good, st.sampled_from(JUNK))


def lists_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(items, max_size=4), items)


contacts = st.sampled_from([*recorded("contacts"), {"wa_id": "4915550009999"}, *JUNK])
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
chosen = st.lists(st.sampled_from([*IDS, "wacid.elsewhere"]), unique=True)


def about(events: list[Event], ids: Collection[str]) -> list[tuple[Event, Any]]:
    """The events about certain calls or messages, with what they were read from."""
    return [(event, event.raw) for event in events if event.raw.get("id") in list(ids)]


@given(bodies, st.one_of(chosen, chosen.map(set), chosen.map(tuple)))
def test_an_excerpt_tells_what_the_whole_told_of_it(body: bytes, ids: Collection[str]) -> None:
    told = [(event, event.raw) for event in parse_webhook(excerpt(body, ids))]
    assert told == about(parse_webhook(body), ids)


@given(bodies, chosen, chosen)
def test_an_excerpt_can_be_cut_again(body: bytes, ids: list[str], again: list[str]) -> None:
    twice = parse_webhook(excerpt(excerpt(body, ids), again))
    assert twice == parse_webhook(excerpt(body, set(ids) & set(again)))


@given(bodies)
def test_an_excerpt_of_all_calls_and_messages_is_stable(body: bytes) -> None:
    once = excerpt(body, IDS)
    assert excerpt(once, IDS) == once


def body_of(value: dict[str, Any]) -> bytes:
    return json.dumps({"entry": [{"changes": [{"field": "calls", "value": value}]}]}).encode()


def call(call_id: str, event: str = "connect", phone: str = "4915550002222") -> dict[str, Any]:
    session = {"sdp_type": "offer", "sdp": "v=0\r\n"}
    return {"id": call_id, "event": event, "from": phone, "session": session}


def test_the_contact_of_another_call_stays_with_it() -> None:
    contacts = [{"wa_id": "4915550003333", "profile": {"name": "Bob"}}]
    calls = [call("wacid.A"), call("wacid.B", phone="4915550003333")]
    body = body_of({"contacts": contacts, "calls": calls})
    (event,) = parse_webhook(excerpt(body, ["wacid.A"]))
    assert isinstance(event, CallConnect)
    assert (event.user.phone, event.user.name) == ("4915550002222", None)
    (event,) = parse_webhook(excerpt(body, ["wacid.B"]))
    assert isinstance(event, CallConnect)
    assert event.user.name == "Bob"


def test_the_only_contact_stays_that_of_the_only_call() -> None:
    contacts = [{"wa_id": "4915550009999", "profile": {"name": "Ada"}}]
    body = body_of({"contacts": contacts, "calls": [call("wacid.A")]})
    (event,) = parse_webhook(excerpt(body, ["wacid.A"]))
    assert isinstance(event, CallConnect)
    assert event.user.name == "Ada"


def test_errors_go_with_the_end_of_a_call_and_with_nothing_else() -> None:
    calls = [call("wacid.A"), call("wacid.B", "terminate")]
    body = body_of({"errors": [{"code": 138021}], "calls": calls})
    (event,) = parse_webhook(excerpt(body, ["wacid.A"]))
    assert isinstance(event, CallConnect)
    (event,) = parse_webhook(excerpt(body, ["wacid.B"]))
    assert isinstance(event, CallTerminate)
    assert [error.code for error in event.errors] == [138021]


def test_an_excerpt_holds_nothing_of_other_calls() -> None:
    calls = [call(f"wacid.{number}") for number in range(1000)]
    cut = excerpt(body_of({"calls": calls}), ["wacid.7"])
    assert len(cut) < 500
    assert b"wacid.8" not in cut


@pytest.mark.parametrize("ids", [[], ["wacid.elsewhere"]])
def test_an_excerpt_about_nothing_tells_nothing(ids: list[str]) -> None:
    assert parse_webhook(excerpt(body_of({"calls": [call("wacid.A")]}), ids)) == []


def test_an_excerpt_is_plain_ascii() -> None:
    told = {**call("wacid.A"), "cta_payload": "grüße ☺ \ud800"}
    body = json.dumps({"entry": [{"changes": [{"field": "calls", "value": {"calls": [told]}}]}]})
    assert excerpt(body.encode(), ["wacid.A"]).isascii()


def test_absurd_numbers_spoil_no_excerpt() -> None:
    body = body_of({"calls": [{**call("wacid.A"), "timestamp": 17, "new": [0.5, 1e300]}]})
    body = body.replace(b'"timestamp": 17', b'"timestamp": ' + b"9" * 9_000)
    body = body.replace(b"1e+300", b"1e999")
    (event,) = parse_webhook(excerpt(body, ["wacid.A"]))
    assert [event] == parse_webhook(body)
    assert event.raw["new"] == [0.5, float("inf")]


def test_the_largest_webhook_is_cut_too() -> None:
    body = body_of({"calls": [{**call("wacid.A"), "new": "x"}]})
    body = body.replace(b'"x"', b'"' + "ü".encode() * ((MAX_BODY_BYTES - 1000) // 2) + b'"')
    assert len(body) <= MAX_BODY_BYTES
    assert parse_webhook(excerpt(body, ["wacid.A"])) == parse_webhook(body)
