from __future__ import annotations

import json
from typing import Any

import pytest

from page_tab import ADA
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.network import NetworkConditions
from pipecat_whatsapp.simulator.page import orders
from pipecat_whatsapp.simulator.page.fields import OrderError
from pipecat_whatsapp.simulator.page.orders import Consent, Order, read_order


def read(kind: object, **fields: Any) -> Order:
    return read_order(json.dumps({"kind": kind} | fields))


def user(**fields: Any) -> User:
    order = read("identify", **fields)
    assert isinstance(order, orders.Identify)
    return order.user


@pytest.mark.parametrize(
    ("kind", "fields", "order"),
    [
        ("dial", {}, orders.Dial()),
        ("tap", {"message": "wamid.1"}, orders.Tap("wamid.1")),
        ("media_answer", {"sdp": "v=0"}, orders.MediaAnswer("v=0")),
        ("accept", {}, orders.Accept()),
        ("decline", {}, orders.Decline()),
        ("hang_up", {}, orders.HangUp()),
        ("press", {"key": "#"}, orders.Press("#")),
        ("muted", {"on": True}, orders.Muted(on=True)),
        ("write", {"text": "Hi\nthere"}, orders.Write("Hi\nthere")),
        ("reply", {"prompt": 3, "answer": "always"}, orders.Reply(3, Consent.ALWAYS)),
        ("ask_call", {}, orders.AskCall()),
        ("offline", {"on": False}, orders.Offline(on=False)),
        ("fault", {"name": "sdes", "on": True}, orders.Fault("sdes", on=True)),
        ("terminate", {}, orders.Terminate()),
        ("concealed", {"share": 1}, orders.Concealed(1.0)),
    ],
)
def test_each_order_is_read(kind: str, fields: dict[str, Any], order: Order) -> None:
    assert read(kind, **fields) == order
    assert read(kind, **fields, more="than is known") == order


def test_a_line_is_told_in_milliseconds() -> None:
    order = read("conditions", loss=0.05, delay=40, jitter=20)
    assert order == orders.SetConditions(NetworkConditions(loss=0.05, delay=0.04, jitter=0.02))


def test_a_user_is_read() -> None:
    assert user(**ADA) == User(
        phone="4915550002222", user_id="DE.900000000000000001", name="Ada Example"
    )


@pytest.mark.parametrize("given", ["+49 1555 000-2222", "49 (1555) 000.2222", "4915550002222"])
def test_a_phone_number_may_be_written_as_people_write_it(given: str) -> None:
    assert user(phone=given).phone == "4915550002222"


def test_who_has_no_user_id_is_given_one_that_stays_the_same() -> None:
    ids = [user(phone="4915550002222").user_id, user(phone="+49 15550002222").user_id]
    assert ids[0] == ids[1]
    others = [user(phone="4915550003333").user_id, user(username="ada").user_id]
    assert len({ids[0], *others}) == 3
    assert user(user_id=ids[0]).user_id == ids[0]


def test_who_has_a_username_needs_no_number() -> None:
    known = user(phone=None, user_id="DE.9000", username="ada")
    assert (known.phone, known.user_id, known.username) == (None, "DE.9000", "ada")
    assert known.key == "DE.9000"


def test_a_name_is_any_text_of_one_line() -> None:
    evil = "<img src=x onerror=\"alert('1')\"> 山田\u3000太郎"
    assert user(name=evil).name == evil.replace("\u3000", " ")
    assert user(name="\x1b[31mAda\r\nExample\x00", phone="49155500").name == "[31mAda  Example"
    assert user(name=" \n ", phone="49155500").name is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dial",
        "null",
        '["dial"]',
        "[" * 60_000,
        '{"kind": "dial"',
        '{"prompt": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(OrderError, match="no JSON"):
        read_order(text)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("reboot", {}),
        (None, {}),
        (["dial"], {}),
        ({"dial": 1}, {}),
        ("tap", {}),
        ("tap", {"message": 7}),
        ("media_answer", {"sdp": "x" * 60_001}),
        ("press", {"key": ""}),
        ("press", {"key": "12"}),
        ("press", {"key": "A"}),
        ("press", {"key": 5}),
        ("muted", {"on": 1}),
        ("write", {"text": ""}),
        ("write", {"text": "x" * 4097}),
        ("write", {"text": "\ud800"}),
        ("reply", {"prompt": "3", "answer": "once"}),
        ("reply", {"prompt": True, "answer": "once"}),
        ("reply", {"prompt": 3, "answer": "maybe"}),
        ("conditions", {"loss": 1.01, "delay": 0, "jitter": 0}),
        ("conditions", {"loss": 0, "delay": -1, "jitter": 0}),
        ("conditions", {"loss": 0, "delay": 0, "jitter": 10_001}),
        ("conditions", {"loss": float("nan"), "delay": 0, "jitter": 0}),
        ("conditions", {"loss": 0, "delay": float("nan"), "jitter": 0}),
        ("conditions", {"loss": 0, "delay": float("inf"), "jitter": 0}),
        ("conditions", {"loss": 0, "delay": 10**4000, "jitter": 0}),
        ("conditions", {"loss": True, "delay": 0, "jitter": 0}),
        ("conditions", {"loss": "0", "delay": 0, "jitter": 0}),
        ("fault", {"name": "fire", "on": True}),
        ("fault", {"name": "twice", "on": "yes"}),
        ("concealed", {"share": 2}),
        ("identify", {}),
        ("identify", {"phone": "12"}),
        ("identify", {"phone": "call me"}),
        ("identify", {"phone": "٤٩١٥٥٥٠٠٠٢٢٢٢"}),
        ("identify", {"phone": 4915550002222}),
        ("identify", {"user_id": "ada"}),
        ("identify", {"user_id": "DE.9/../9"}),
        ("identify", {"name": "x" * 257, "phone": "4915550002222"}),
        ("identify", {"name": ["Ada"], "phone": "4915550002222"}),
        ("identify", {"name": "Ada \udfff", "phone": "4915550002222"}),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    kind: object, fields: dict[str, Any]
) -> None:
    with pytest.raises(OrderError) as caught:
        read(kind, **fields)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 300


def test_what_was_written_stays_out_of_logs() -> None:
    assert "secret" not in repr(read("write", text="secret"))
    assert "secret" not in repr(read("media_answer", sdp="secret"))
    assert "4915550002222" not in repr(read("identify", **ADA))
