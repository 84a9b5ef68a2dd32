"""Messages from a business to a user: read from Graph requests, and checked as Meta checks them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError

MAX_TEXT = 4096
MAX_BODY_TEXT = 1024
MAX_DISPLAY_TEXT = 20
MAX_PAYLOAD = 512
MAX_TTL_MINUTES = 43_200
DEFAULT_TTL_MINUTES = 10_080
DEFAULT_DISPLAY_TEXT = "Call Now"

UNKNOWN_TEMPLATE = 132001
WRONG_PARAMETERS = 132000

_BUTTON_PARAMETERS = {"display_text", "ttl_minutes", "payload"}
_PLACE = re.compile(r"\{\{[^}]+\}\}")


@dataclass(frozen=True)
class CallButton:
    """A button that calls the business.

    Parameters:
        display_text: What stands on it.
        ttl_minutes: How long it works.
        payload: Comes back with the call as `cta_payload`.
    """

    display_text: str = DEFAULT_DISPLAY_TEXT
    ttl_minutes: int = DEFAULT_TTL_MINUTES
    payload: str | None = None


@dataclass(frozen=True)
class Message:
    """What a business sends to a user, as the user sees it.

    Parameters:
        type: Meta's type: "text", "template" or "interactive".
        text: What there is to read.
        call_button: The button below it, if any.
        asks_permission: Whether it asks whether the business may call.
        template: The template's name, if it is one.
        id: Its id, once Meta has taken it.
    """

    type: str
    text: str = field(default="", repr=False)
    call_button: CallButton | None = None
    asks_permission: bool = False
    template: str | None = None
    id: str = ""


@dataclass(frozen=True)
class Template:
    """A message template that Meta has approved.

    Parameters:
        name: Its name.
        language: Its language, such as "en_US".
        body: Its text; each `{{...}}` in it is filled in when it is sent.
        asks_permission: Whether it has the component `call_permission_request`.
        call_button: Its button of type `voice_call`, if any.
    """

    name: str
    language: str
    body: str
    asks_permission: bool = False
    call_button: CallButton | None = None


HELLO_WORLD = Template("hello_world", "en_US", "Welcome and congratulations!")
"""The template that every account has from the start."""

Templates = Mapping[tuple[str, str], Template]


def read_message(body: Json, templates: Templates) -> Message:
    """Read a message (Meta: messages; templates; call permissions; call button messages).

    Args:
        body: The JSON of the request.
        templates: The approved templates, by name and language.

    Raises:
        RefusalError: Something is missing, of the wrong kind, too long or unknown.
    """
    _demand(body.get("messaging_product") == "whatsapp", 'messaging_product must be "whatsapp"')
    recipient_type = body.get("recipient_type", "individual")
    _demand(recipient_type == "individual", 'recipient_type must be "individual"')
    kind = body.get("type", "text")
    if kind == "text":
        return _text(_object(body, "text"))
    if kind == "template":
        return _template(_object(body, "template"), templates)
    _demand(kind == "interactive", "type must be text, template or interactive")
    interactive = _object(body, "interactive")
    read = _INTERACTIVE.get(str(interactive.get("type")))
    if read is None:
        raise RefusalError(f"interactive.type must be one of {', '.join(_INTERACTIVE)}")
    return read(interactive)


def _text(text: Json) -> Message:
    preview = text.get("preview_url", False)
    _demand(isinstance(preview, bool), "text.preview_url must be true or false")
    return Message("text", _string(text, "body", MAX_TEXT))


def _voice_call(interactive: Json) -> Message:
    _demand("header" not in interactive, "A call button has no header")
    body = _string(_object(interactive, "body"), "text", MAX_BODY_TEXT)
    action = _action(interactive, "voice_call")
    return Message("interactive", body, _call_button(action.get("parameters", {})))


def _permission_request(interactive: Json) -> Message:
    extra = interactive.keys() & {"header", "footer"}
    _demand(not extra, "A call permission request has neither header nor footer")
    _action(interactive, "call_permission_request")
    text = ""
    if "body" in interactive:
        text = _string(_object(interactive, "body"), "text", MAX_BODY_TEXT)
    return Message("interactive", text, asks_permission=True)


_INTERACTIVE: dict[str, Callable[[Json], Message]] = {
    "voice_call": _voice_call,
    "call_permission_request": _permission_request,
}


def _action(interactive: Json, name: str) -> Json:
    action = _object(interactive, "action")
    _demand(action.get("name") == name, f'action.name must be "{name}"')
    return action


def _call_button(given: object, default: CallButton | None = None) -> CallButton:
    default = default or CallButton()
    if not isinstance(given, dict):
        raise RefusalError("action.parameters must be an object")
    unknown = ", ".join(sorted(given.keys() - _BUTTON_PARAMETERS))
    _demand(not unknown, f"A call button has no parameter {unknown}")
    display_text, ttl = default.display_text, given.get("ttl_minutes", default.ttl_minutes)
    if "display_text" in given:
        display_text = _string(given, "display_text", MAX_DISPLAY_TEXT)
    whole = isinstance(ttl, int) and not isinstance(ttl, bool)
    _demand(whole and 1 <= ttl <= MAX_TTL_MINUTES, f"ttl_minutes must be 1 to {MAX_TTL_MINUTES}")
    payload = _string(given, "payload", MAX_PAYLOAD) if "payload" in given else None
    return CallButton(display_text, ttl, payload)


def _template(given: Json, templates: Templates) -> Message:
    name, code = _string(given, "name", 512), _string(_object(given, "language"), "code", 16)
    template = templates.get((name, code))
    if template is None:
        details = f"There is no template {name} in {code}"
        raise RefusalError(details, code=UNKNOWN_TEMPLATE, status=404)
    components = _components(given)
    return Message(
        "template",
        _filled_in(template.body, _parameters(components, "body")),
        _template_button(template, components),
        asks_permission=template.asks_permission,
        template=name,
    )


def _components(given: Json) -> list[Json]:
    components = given.get("components", [])
    objects = isinstance(components, list) and all(isinstance(part, dict) for part in components)
    _demand(objects, "template.components must be a list of objects")
    return list(components)


def _component(components: list[Json], kind: str) -> Json:
    """The component of a kind; empty where there is none."""
    parts = [part for part in components if str(part.get("type")).lower() == kind]
    _demand(len(parts) <= 1, f"There is more than one component {kind}")
    return parts[0] if parts else {}


def _parameters(components: list[Json], kind: str) -> list[Json]:
    parameters = _component(components, kind).get("parameters", [])
    objects = isinstance(parameters, list) and all(isinstance(one, dict) for one in parameters)
    _demand(objects, f"The parameters of component {kind} must be a list of objects")
    return list(parameters)


def _filled_in(body: str, parameters: list[Json]) -> str:
    places = len(_PLACE.findall(body))
    if places != len(parameters):
        details = f"The body has {places} places, but {len(parameters)} parameters were sent"
        raise RefusalError(details, code=WRONG_PARAMETERS)
    texts = iter([_string(parameter, "text", MAX_TEXT) for parameter in parameters])
    return _PLACE.sub(lambda _: next(texts), body)


def _template_button(template: Template, components: list[Json]) -> CallButton | None:
    given: Json = {}
    button = _component(components, "button")
    _demand(not button or button.get("sub_type") == "voice_call", 'sub_type must be "voice_call"')
    for parameter in _parameters(components, "button"):
        kind = str(parameter.get("type"))
        _demand(kind in ("ttl_minutes", "payload"), "A call button takes ttl_minutes and payload")
        given[kind] = parameter.get(kind)
    if template.call_button is None:
        _demand(not given, "The template has no call button")
        return None
    return _call_button(given, template.call_button)


def _object(parent: Json, name: str) -> Json:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise RefusalError(f"{name} is missing, or no object")
    return value


def _string(parent: Json, name: str, most: int) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise RefusalError(f"{name} must be a text of 1 to {most} characters")
    return value


def _demand(condition: object, details: str) -> None:
    if not condition:
        raise RefusalError(details)
