"""Messages to a user: texts, templates, call buttons, requests for permission to call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipecat_whatsapp.meta.answers import first_id
from pipecat_whatsapp.meta.checks import (
    MAX_PAYLOAD_CHARS,
    address,
    check_length,
    check_range,
    checked_id,
)
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph_requests import SendRequest

MAX_TEXT_CHARS = 4096
MAX_BODY_CHARS = 1024
MAX_BUTTON_CHARS = 20
MAX_TTL_MINUTES = 43_200


class MessagesApi:
    """Sends messages: each once, because Meta would take a second one for another message.

    Every method returns the message's id, and raises

    - InvalidRequestError: the message is not one that Meta takes,
    - ConversationClosedError: a template is needed, since the user has been silent for 24 hours,
    - GraphRequestError: Meta refused for another reason,
    - GraphUnreachableError: no answer came; the message may have been sent.

    Args:
        request: Sends a request.
    """

    def __init__(self, request: SendRequest) -> None:
        self._request = request

    async def send_text(
        self, phone_number_id: str, user: User, text: str, *, preview_url: bool = False
    ) -> str:
        """Send a text.

        Source: Meta, Cloud API, text messages.

        Args:
            phone_number_id: The business number that writes.
            user: Who gets it.
            text: The text, 4096 characters at most.
            preview_url: Whether the phone shows a preview of a link in it.
        """
        check_length("text", text, MAX_TEXT_CHARS, least=1)
        content = {"body": text, "preview_url": preview_url}
        return await self._send(phone_number_id, user, "text", content)

    async def send_template(
        self,
        phone_number_id: str,
        user: User,
        name: str,
        language: str,
        components: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Send a template message, which may be sent at any time.

        Source: Meta, Cloud API, template messages.

        Args:
            phone_number_id: The business number that writes.
            user: Who gets it.
            name: The template's name.
            language: Its language, such as "en_US".
            components: What fills its places, as Meta documents it; see `call_button`.
        """
        check_length("template's name", name, MAX_PAYLOAD_CHARS, least=1)
        template: dict[str, Any] = {"name": name, "language": {"code": language}}
        if components:
            template["components"] = [dict(component) for component in components]
        return await self._send(phone_number_id, user, "template", template)

    async def send_call_button(
        self,
        phone_number_id: str,
        user: User,
        text: str,
        *,
        display_text: str = "Call Now",
        ttl_minutes: int = 10_080,
        payload: str | None = None,
    ) -> str:
        """Send a button that calls the business number.

        Source: Meta, call button messages and deep links.

        Args:
            phone_number_id: The business number that writes.
            user: Who gets it.
            text: What stands above the button.
            display_text: What stands on it, 20 characters at most.
            ttl_minutes: How long it works, 1 to 43200 minutes.
            payload: Comes back with the call when it is tapped; 512 characters at most.
        """
        check_length("text", text, MAX_BODY_CHARS, least=1)
        check_length("button's text", display_text, MAX_BUTTON_CHARS, least=1)
        parameters = {"display_text": display_text, **_button(ttl_minutes, payload)}
        interactive = {
            "type": "voice_call",
            "body": {"text": text},
            "action": {"name": "voice_call", "parameters": parameters},
        }
        return await self._send(phone_number_id, user, "interactive", interactive)

    async def request_call_permission(
        self, phone_number_id: str, user: User, text: str | None = None
    ) -> str:
        """Ask a user whether the business may call.

        Source: Meta, user call permissions.

        Args:
            phone_number_id: The business number that asks.
            user: Who is asked.
            text: What stands above the request.

        Raises:
            PermissionRequestError: The user was asked too often, or has allowed calls for good.
        """
        name = "call_permission_request"
        interactive: dict[str, Any] = {"type": name, "action": {"name": name}}
        if text is not None:
            check_length("text", text, MAX_BODY_CHARS, least=1)
            interactive["body"] = {"text": text}
        return await self._send(phone_number_id, user, "interactive", interactive)

    async def _send(
        self, phone_number_id: str, user: User, kind: str, content: Mapping[str, Any]
    ) -> str:
        answer = await self._request(
            "POST",
            f"{checked_id('phone number id', phone_number_id)}/messages",
            json={
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                **address(user),
                "type": kind,
                kind: content,
            },
        )
        return first_id(answer, "messages", "a message")


def call_button(*, ttl_minutes: int | None = None, payload: str | None = None) -> dict[str, Any]:
    """The component of a template message that fills its call button.

    Source: Meta, call button messages and deep links.

    Args:
        ttl_minutes: How long the button works, 1 to 43200 minutes; by default as the template says.
        payload: Comes back with the call when it is tapped; 512 characters at most.

    Raises:
        InvalidRequestError: One of them is out of its limits.
    """
    filled = _button(ttl_minutes, payload)
    return {
        "type": "button",
        "sub_type": "voice_call",
        "parameters": [{"type": name, name: value} for name, value in filled.items()],
    }


def _button(ttl_minutes: int | None, payload: str | None) -> dict[str, Any]:
    """What a call button knows, checked."""
    known: dict[str, Any] = {}
    if ttl_minutes is not None:
        check_range("button's time to live in minutes", ttl_minutes, 1, MAX_TTL_MINUTES)
        known["ttl_minutes"] = ttl_minutes
    if payload is not None:
        check_length("button's payload", payload, MAX_PAYLOAD_CHARS)
        known["payload"] = payload
    return known
