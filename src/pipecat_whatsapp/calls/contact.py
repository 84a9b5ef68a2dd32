"""A WhatsApp user as one business number sees them: somebody to send messages to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph import GraphClient


class Contact:
    """One user, and the business number that talks to them.

    A call, answered or not, lets the business write freely for 24 hours. Every method raises
    `GraphError` when Meta does not take the message.

    Args:
        graph: Sends the requests.
        phone_number_id: The business number's id.
        user: The user.
    """

    def __init__(self, graph: GraphClient, phone_number_id: str, user: User) -> None:
        self.phone_number_id = phone_number_id
        self.user = user
        self._graph = graph

    def __repr__(self) -> str:
        return f"Contact({self.user})"

    async def send_text(self, text: str, *, preview_url: bool = False) -> str:
        """Send a text, such as a link or a summary. Returns the message's id.

        Args:
            text: The text, 4096 characters at most.
            preview_url: Whether the phone shows a preview of a link in it.
        """
        return await self._graph.messages.send_text(
            self.phone_number_id, self.user, text, preview_url=preview_url
        )

    async def send_template(
        self, name: str, language: str, components: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """Send a template message, which may be sent at any time. Returns the message's id.

        Args:
            name: The template's name.
            language: Its language, such as "en_US".
            components: What fills its places, as Meta documents it.
        """
        return await self._graph.messages.send_template(
            self.phone_number_id, self.user, name, language, components
        )

    async def send_call_button(
        self,
        text: str,
        *,
        display_text: str = "Call Now",
        ttl_minutes: int = 10_080,
        payload: str | None = None,
    ) -> str:
        """Send a button that calls the business number. Returns the message's id.

        Args:
            text: What stands above the button.
            display_text: What stands on it, 20 characters at most.
            ttl_minutes: How long it works, 1 to 43200 minutes.
            payload: Comes back as `call.cta_payload` when it is tapped; 512 characters at most.
        """
        return await self._graph.messages.send_call_button(
            self.phone_number_id,
            self.user,
            text,
            display_text=display_text,
            ttl_minutes=ttl_minutes,
            payload=payload,
        )

    async def request_call_permission(self, text: str | None = None) -> str:
        """Ask whether the business may call. Returns the message's id.

        Args:
            text: What stands above the request.
        """
        return await self._graph.messages.request_call_permission(
            self.phone_number_id, self.user, text
        )
