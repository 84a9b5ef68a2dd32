from __future__ import annotations

from typing import Any

import pytest

from pipecat_whatsapp.simulator.messages import (
    HELLO_WORLD,
    CallButton,
    Message,
    Template,
    read_message,
)
from simulated_account import refused

ORDER = Template("order", "de", "Hallo {{1}}, Ihre Bestellung {{2}} ist da.")
ASK = Template("ask", "en_US", "May we call you, {{1}}?", asks_permission=True)
BUTTON = Template("button", "en_US", "Call us!", call_button=CallButton("Ring us", 1440))
FILLED = {"type": "button", "sub_type": "voice_call"}
TEMPLATES = {(one.name, one.language): one for one in (HELLO_WORLD, ORDER, ASK, BUTTON)}


def read(**fields: Any) -> Message:
    return read_message({"messaging_product": "whatsapp", **fields}, TEMPLATES)


def interactive(kind: str, **fields: Any) -> Message:
    body = {"type": kind, "body": {"text": "Hi"}, "action": {"name": kind}} | fields
    given = {name: value for name, value in body.items() if value is not None}
    return read(type="interactive", interactive=given)


def button(**parameters: Any) -> Message:
    action = {"name": "voice_call", "parameters": parameters}
    return interactive("voice_call", action=action)


def template(name: str, language: str, *components: Any) -> Message:
    given = {"name": name, "language": {"code": language}, "components": list(components)}
    return read(type="template", template=given)


def texts(*values: str) -> dict[str, Any]:
    return {"type": "body", "parameters": [{"type": "text", "text": value} for value in values]}


def test_a_text() -> None:
    assert read(type="text", text={"body": "Hi", "preview_url": True}) == Message("text", "Hi")
    assert read(text={"body": "Hi"}) == Message("text", "Hi")
    assert read(text={"body": "x" * 4096}).text == "x" * 4096


def test_a_call_button() -> None:
    assert interactive("voice_call").call_button == CallButton("Call Now", 10080, None)
    sent = button(display_text="x" * 20, ttl_minutes=43200, payload="x" * 512)
    assert sent.call_button == CallButton("x" * 20, 43200, "x" * 512)
    assert sent.text == "Hi"
    assert not sent.asks_permission


def test_a_request_for_permission_with_and_without_words() -> None:
    asked = interactive("call_permission_request")
    assert (asked.asks_permission, asked.text, asked.call_button) == (True, "Hi", None)
    assert interactive("call_permission_request", body=None).text == ""


def test_a_template_is_filled_in() -> None:
    sent = template("order", "de", texts("Ada", "12"))
    assert sent.text == "Hallo Ada, Ihre Bestellung 12 ist da."
    assert (sent.template, sent.asks_permission, sent.call_button) == ("order", False, None)
    assert template("hello_world", "en_US").text == HELLO_WORLD.body


def test_a_template_asks_for_permission_if_it_was_made_so() -> None:
    assert template("ask", "en_US", texts("Ada")).asks_permission


def test_a_template_has_the_button_it_was_made_with() -> None:
    assert template("button", "en_US").call_button == CallButton("Ring us", 1440)
    parameters = [{"type": "ttl_minutes", "ttl_minutes": 100}, {"type": "payload", "payload": "x"}]
    filled = {"type": "button", "sub_type": "voice_call", "parameters": parameters}
    assert template("button", "en_US", filled).call_button == CallButton("Ring us", 100, "x")


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"messaging_product": "sms", "text": {"body": "Hi"}}, "messaging_product"),
        ({"recipient_type": "group", "text": {"body": "Hi"}}, "recipient_type"),
        ({"type": "fax"}, "type must be"),
        ({"type": "text"}, "text is missing"),
        ({"text": "Hi"}, "text is missing, or no object"),
        ({"text": {"body": ""}}, "body must be a text of 1 to 4096"),
        ({"text": {"body": "x" * 4097}}, "body must be a text of 1 to 4096"),
        ({"text": {"body": 7}}, "body must be a text"),
        ({"text": {"body": "Hi", "preview_url": "yes"}}, "preview_url"),
        ({"type": "interactive", "interactive": {"type": "list"}}, "interactive.type"),
        ({"type": "interactive"}, "interactive is missing"),
    ],
)
def test_a_message_that_is_none(fields: dict[str, Any], details: str) -> None:
    assert details in refused(lambda: read(**fields)).details


@pytest.mark.parametrize(
    ("kind", "fields", "details"),
    [
        ("voice_call", {"body": None}, "body is missing"),
        ("voice_call", {"body": {"text": "x" * 1025}}, "1 to 1024"),
        ("voice_call", {"action": {"name": "call"}}, "action.name"),
        ("voice_call", {"action": None}, "action is missing"),
        ("voice_call", {"action": {"name": "voice_call", "parameters": []}}, "parameters"),
        ("voice_call", {"header": {"type": "text", "text": "Hi"}}, "no header"),
        ("call_permission_request", {"header": {}}, "neither header nor footer"),
        ("call_permission_request", {"footer": {"text": "x"}}, "neither header nor footer"),
        ("call_permission_request", {"body": {"text": ""}}, "1 to 1024"),
        ("call_permission_request", {"action": {"name": "voice_call"}}, "action.name"),
    ],
)
def test_an_interactive_message_of_a_wrong_form(
    kind: str, fields: dict[str, Any], details: str
) -> None:
    assert details in refused(lambda: interactive(kind, **fields)).details


@pytest.mark.parametrize(
    ("parameters", "details"),
    [
        ({"display_text": "x" * 21}, "1 to 20"),
        ({"display_text": ""}, "1 to 20"),
        ({"ttl_minutes": 0}, "1 to 43200"),
        ({"ttl_minutes": 43201}, "1 to 43200"),
        ({"ttl_minutes": "100"}, "1 to 43200"),
        ({"ttl_minutes": True}, "1 to 43200"),
        ({"payload": "x" * 513}, "1 to 512"),
        ({"display_text": "Ring", "phone": "49"}, "no parameter phone"),
    ],
)
def test_a_button_beyond_its_limits(parameters: dict[str, Any], details: str) -> None:
    assert details in refused(lambda: button(**parameters)).details


def test_a_template_that_there_is_not() -> None:
    assert refused(lambda: template("order", "en"), 132001).status == 404
    refused(lambda: template("nothing", "de"), 132001)


@pytest.mark.parametrize("values", [(), ("Ada",), ("Ada", "12", "13")])
def test_a_template_with_too_few_or_too_many_parameters(values: tuple[str, ...]) -> None:
    assert refused(lambda: template("order", "de", texts(*values)), 132000).details


@pytest.mark.parametrize(
    ("components", "details"),
    [
        (["body"], "list of objects"),
        ([{"type": "body", "parameters": "Ada"}], "must be a list of objects"),
        ([{"type": "body"}, {"type": "BODY"}], "more than one"),
        ([FILLED | {"parameters": [{"type": "text", "text": "x"}]}], "ttl_minutes"),
        ([{"type": "button"}], "sub_type"),
        ([FILLED | {"sub_type": "url"}], "sub_type"),
        (
            [FILLED | {"parameters": [{"type": "payload", "payload": "x"}]}],
            "no call button",
        ),
    ],
)
def test_a_template_with_components_that_do_not_fit(components: list[Any], details: str) -> None:
    assert details in refused(lambda: template("hello_world", "en_US", *components)).details
