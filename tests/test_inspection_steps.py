from __future__ import annotations

import json
from typing import Any

import pytest

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import Delivery, GraphRequest
from pipecat_whatsapp.simulator.inspection import steps
from pipecat_whatsapp.simulator.inspection.record import Party

ADA = User(phone="4915550002222", user_id="DE.1", name="Ada")


def delivery(body: object = None, **changes: Any) -> Delivery:
    known: dict[str, Any] = {
        "at": 1.0,
        "kind": "connect",
        "call_id": "wacid.1",
        "attempt": 1,
        "status": 200,
        "url": "http://127.0.0.1:1/whatsapp",
        "took": 0.25,
        "signature": "sha256=ab",
        "body": body if isinstance(body, bytes) else json.dumps(body).encode(),
    }
    return Delivery(**known | changes)


def request(**changes: Any) -> GraphRequest:
    known: dict[str, Any] = {
        "at": 1.0,
        "method": "POST",
        "path": "/v25.0/2/calls",
        "phone_number_id": "2",
        "action": "accept",
        "call_id": "wacid.1",
        "body": {"action": "accept"},
        "status": 200,
        "error_code": None,
        "took": 0.5,
        "answer": {"success": True},
    }
    return GraphRequest(**known | changes)


def test_a_webhook_goes_from_whatsapp_to_the_bot_with_its_json_and_signature() -> None:
    step = steps.read(delivery({"entry": []}), 3.0)
    assert (step.source, step.target) == (Party.WHATSAPP, Party.BOT)
    assert (step.at, step.title, step.outcome, step.ok, step.took) == (
        3.0,
        "connect webhook",
        "200",
        True,
        0.25,
    )
    assert step.detail is not None
    assert step.detail["body"] == {"entry": []}
    assert step.detail["X-Hub-Signature-256"] == "sha256=ab (accepted)"


@pytest.mark.parametrize(
    ("changes", "title", "outcome", "signature"),
    [
        ({"status": 401}, "connect webhook", "401", "sha256=ab (refused)"),
        ({"status": None, "attempt": 3}, "connect webhook (try 3)", "no answer", "no verdict"),
        ({"status": None, "attempt": 0, "signature": ""}, "connect webhook", "not sent", "none"),
    ],
)
def test_a_webhook_that_failed_says_how(
    changes: dict[str, Any], title: str, outcome: str, signature: str
) -> None:
    step = steps.read(delivery(**changes), 0.0)
    assert (step.title, step.outcome, step.ok) == (title, outcome, False)
    assert step.detail is not None
    assert signature in step.detail["X-Hub-Signature-256"]


def test_bytes_that_are_no_json_are_shown_as_they_are() -> None:
    step = steps.read(delivery(b"\xff<img>"), 0.0)
    assert step.detail is not None
    assert step.detail["body"] == "\ufffd<img>"


def test_a_graph_request_goes_from_the_bot_to_whatsapp_with_its_answer() -> None:
    step = steps.read(request(), 0.0)
    assert (step.source, step.target) == (Party.BOT, Party.WHATSAPP)
    assert (step.title, step.outcome, step.ok, step.took) == ("accept", "200", True, 0.5)
    assert step.detail == {
        "POST": "/v25.0/2/calls",
        "body": {"action": "accept"},
        "answer": {"success": True},
    }


def test_a_graph_request_that_was_refused_or_lost_says_so() -> None:
    refused = steps.read(request(status=400, error_code=138008), 0.0)
    lost = steps.read(request(status=None), 0.0)
    assert (refused.outcome, refused.ok) == ("400, error 138008", False)
    assert (lost.outcome, lost.ok) == ("no answer", False)


def test_the_sdp_of_a_session_is_found_where_there_is_one() -> None:
    assert steps.session_sdp(request(body={"session": {"sdp": "v=0"}})) == "v=0"
    assert steps.session_sdp(request(body={"session": "v=0"})) is None
    assert steps.session_sdp(request(body={"session": {"sdp": 5}})) is None
    assert steps.session_sdp(delivery({"session": {"sdp": "v=0"}})) is None


@pytest.mark.parametrize(
    "activity",
    [
        delivery({"contacts": [{"wa_id": "4915550002222"}]}),
        delivery({"contacts": [{"user_id": "DE.1"}]}),
        request(body={"to": "+4915550002222"}),
        request(body={"recipient": "DE.1"}),
        request(body={}, query={"user_wa_id": "4915550002222"}),
    ],
)
def test_a_user_is_named_by_number_or_id(activity: GraphRequest | Delivery) -> None:
    assert steps.names(activity, ADA)
    assert not steps.names(activity, User(phone="4915550003333", user_id="DE.2"))


def test_nobody_is_named_where_nothing_is_known() -> None:
    assert not steps.names(delivery({"a": [None, 1, "+None", "None"]}), User())
