from __future__ import annotations

import hashlib
import hmac
import json

from pipecat_whatsapp.meta.events import Direction, MetaErrorInfo, User
from pipecat_whatsapp.simulator import payloads
from pipecat_whatsapp.simulator.payloads import CallFacts
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account
from simulated_business import ADA, OFFER

NO_MEDIA = MetaErrorInfo(code=138021, title="No media", details="Nothing came")


def test_written_as_meta_writes() -> None:
    body = payloads.serialise({"n": "Jürgen 🎈", "u": "https://x.test"})
    assert body == rb'{"n":"J\u00fcrgen \ud83c\udf88","u":"https:\/\/x.test"}'
    assert json.loads(body) == {"n": "Jürgen 🎈", "u": "https://x.test"}


def test_signature_is_over_the_raw_bytes() -> None:
    body = rb'{"n":"J\u00fcrgen","u":"https:\/\/x.test"}'
    digest = hmac.new(b"not-a-real-app-secret", body, hashlib.sha256).hexdigest()
    assert digest == "32f55f33aeeeb4c0b22e52d32d6fb74258b609193d5375a730b91b2bd24a1536"
    assert payloads.signature(body, "not-a-real-app-secret") == f"sha256={digest}"


def test_connect() -> None:
    call = CallFacts("wacid.A", ADA, Direction.INBOUND, {"cta_payload": "x"})
    value = payloads.connect(Account(), call, OFFER, timestamp=1790000000)
    assert value == {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "493055501111", "phone_number_id": "200000000000002"},
        "contacts": [
            {
                "profile": {"name": "Ada Exämple", "username": "ada"},
                "wa_id": "4915550002222",
                "user_id": "DE.900000000000000001",
            }
        ],
        "calls": [
            {
                "id": "wacid.A",
                "from": "4915550002222",
                "to": "493055501111",
                "from_user_id": "DE.900000000000000001",
                "event": "connect",
                "timestamp": "1790000000",
                "direction": "USER_INITIATED",
                "cta_payload": "x",
                "session": {"sdp_type": "offer", "sdp": OFFER},
            }
        ],
    }


def test_a_user_without_a_phone_number() -> None:
    user = User(user_id="DE.1", parent_user_id="DE.ENT.1", username="ada")
    call = CallFacts("wacid.A", user, Direction.INBOUND)
    value = payloads.connect(Account(), call, OFFER, timestamp=1)
    assert value["contacts"] == [
        {"profile": {"username": "ada"}, "user_id": "DE.1", "parent_user_id": "DE.ENT.1"}
    ]
    assert "from" not in value["calls"][0]
    assert value["calls"][0]["from_parent_user_id"] == "DE.ENT.1"


def test_connect_of_a_call_by_the_business() -> None:
    call = CallFacts("wacid.A", ADA, Direction.OUTBOUND, {"biz_opaque_callback_data": "x"})
    value = payloads.connect(Account(), call, OFFER, timestamp=1790000000)
    assert value["calls"] == [
        {
            "id": "wacid.A",
            "from": "493055501111",
            "to": "4915550002222",
            "to_user_id": "DE.900000000000000001",
            "event": "connect",
            "timestamp": "1790000000",
            "direction": "BUSINESS_INITIATED",
            "biz_opaque_callback_data": "x",
            "session": {"sdp_type": "answer", "sdp": OFFER},
        }
    ]


def test_status_of_a_call_by_the_business() -> None:
    call = CallFacts("wacid.A", ADA, Direction.OUTBOUND, {"biz_opaque_callback_data": "x"})
    value = payloads.status(Account(), call, "RINGING", timestamp=1790000000)
    assert value["statuses"] == [
        {
            "id": "wacid.A",
            "type": "call",
            "status": "RINGING",
            "timestamp": "1790000000",
            "recipient_id": "4915550002222",
            "recipient_user_id": "DE.900000000000000001",
            "biz_opaque_callback_data": "x",
        }
    ]


def test_terminate_of_a_call_that_failed_after_pick_up() -> None:
    facts = CallFacts("wacid.A", ADA, Direction.INBOUND, {"x": "y"})
    value = payloads.terminate(Account(), facts, timestamp=120, start_time=100, error=NO_MEDIA)
    error = {"code": 138021, "title": "No media", "error_data": {"details": "Nothing came"}}
    call = value["calls"][0]
    assert value["errors"] == call["errors"] == [error]
    assert (call["status"], call["start_time"], call["end_time"]) == ("FAILED", "100", "120")
    assert (call["duration"], call["timestamp"], call["x"]) == (20, "120", "y")


def test_terminate_of_a_call_that_was_never_picked_up() -> None:
    facts = CallFacts("wacid.A", ADA, Direction.OUTBOUND)
    value = payloads.terminate(Account(), facts, timestamp=120, start_time=None, error=None)
    call = value["calls"][0]
    assert call["status"] == "COMPLETED"
    assert not {"start_time", "end_time", "duration", "errors"} & call.keys()
    assert "errors" not in value


def test_graph_error() -> None:
    error = payloads.graph_error(RefusalError("Why", subcode=33))["error"]
    assert error.pop("fbtrace_id")
    assert error == {
        "message": "(#100) Invalid parameter",
        "type": "OAuthException",
        "code": 100,
        "error_subcode": 33,
        "error_data": {"messaging_product": "whatsapp", "details": "Why"},
    }


def test_describe() -> None:
    status = {"statuses": [{"id": "wacid.A", "status": "RINGING"}]}
    assert payloads.describe("calls", status) == ("ringing", "wacid.A")
    assert payloads.describe("messages", {"messages": []}) == ("messages", None)
    assert payloads.describe("calls", {"calls": [{"id": "a", "event": "connect"}]}) == (
        "connect",
        "a",
    )
