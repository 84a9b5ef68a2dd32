"""The Graph API: what we ask of Meta. The calls are here, the rest in a part for each subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipecat_whatsapp.meta.account import AccountApi
from pipecat_whatsapp.meta.answers import first_id
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.checks import MAX_PAYLOAD_CHARS, address, check_length, checked_id
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph_http import GraphHttp, OnAttempt, TokenProvider
from pipecat_whatsapp.meta.graph_requests import GraphRequests
from pipecat_whatsapp.meta.media import MediaApi
from pipecat_whatsapp.meta.messages import MessagesApi
from pipecat_whatsapp.meta.permissions import PermissionsApi
from pipecat_whatsapp.meta.settings import SettingsApi

__all__ = ["DEFAULT_GRAPH_URL", "DEFAULT_GRAPH_VERSION", "GraphClient", "TokenProvider"]

DEFAULT_GRAPH_URL = "https://graph.facebook.com"
DEFAULT_GRAPH_VERSION = "v25.0"


class GraphClient(GraphRequests):
    """Meta's Graph API, over connections of its own that are kept alive.

    Use it as an async context manager, or call `close` in the end.

    Args:
        token: The access token, or a function that gives it (and may be async).
        url: Base address of the Graph API. Plain http only on loopback.
        version: Graph API version.
        request_timeout: Seconds that one attempt of a request may take.
        retry_pauses: Seconds between the attempts of a request that may be repeated.
        on_attempt: Told of every attempt of a request: what was asked, the HTTP status or
            "unreachable", and the seconds that it took.

    Attributes:
        messages: Texts, templates, call buttons, requests for permission to call.
        permissions: Whether users may be called.
        settings: Calling settings of a number.
        account: The token, the numbers, and where webhooks go.
        media: Recordings, transcripts, voicemail, announcements.

    Raises:
        ConfigError: The URL, the version or the token cannot be used.
    """

    def __init__(
        self,
        *,
        token: str | TokenProvider,
        url: str = DEFAULT_GRAPH_URL,
        version: str = DEFAULT_GRAPH_VERSION,
        request_timeout: float = 10.0,
        retry_pauses: Sequence[float] = (0.2, 0.6),
        on_attempt: OnAttempt | None = None,
    ) -> None:
        http = GraphHttp(token=token, url=url, version=version, on_attempt=on_attempt)
        super().__init__(http, request_timeout=request_timeout, retry_pauses=retry_pauses)
        self.messages = MessagesApi(self.request)
        self.permissions = PermissionsApi(self.request)
        self.settings = SettingsApi(self.request)
        self.account = AccountApi(self.request, http.current_token)
        self.media = MediaApi(self.request, http.download)

    async def pre_accept(
        self,
        phone_number_id: str,
        call_id: str,
        sdp: str,
        *,
        deadline: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        """Let Meta prepare the media path of an inbound call that is about to be accepted.

        Source: Meta, user-initiated calls, pre-accept call.

        Args:
            phone_number_id: The business number that was called.
            call_id: The call.
            sdp: Our answer, complete with its candidates.
            deadline: `loop.time()` after which nothing is tried; without it there is one attempt.
            on_sent: Called once, when the request is on its way or has failed.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        await self._act(
            "pre_accept",
            phone_number_id,
            call_id,
            _answer(sdp),
            retry=deadline is not None,
            deadline=deadline,
            on_sent=on_sent,
        )

    async def accept(
        self,
        phone_number_id: str,
        call_id: str,
        sdp: str,
        *,
        deadline: float | None = None,
        biz_opaque_callback_data: str | None = None,
        recording: Capture | None = None,
        transcription: Capture | None = None,
    ) -> None:
        """Accept an inbound call. Sound may flow once this has returned.

        Source: Meta, user-initiated calls, accept call.

        Args:
            phone_number_id: The business number that was called.
            call_id: The call.
            sdp: The very string that was sent with pre-accept.
            deadline: `loop.time()` after which nothing is tried; without it there is one attempt.
            biz_opaque_callback_data: Comes back with the call's end; 512 characters at most.
            recording: Asks Meta to record the call.
            transcription: Asks Meta to transcribe the call.

        Raises:
            GraphRequestError: Meta refused, or the callback data is too long.
            GraphUnreachableError: No answer came; the call may have been accepted.
        """
        extras = _extras(biz_opaque_callback_data, recording, transcription)
        await self._act(
            "accept",
            phone_number_id,
            call_id,
            {**_answer(sdp), **extras},
            retry=deadline is not None,
            deadline=deadline,
        )

    async def reject(self, phone_number_id: str, call_id: str) -> None:
        """Decline an inbound call that was not accepted. Repeated when Meta cannot be reached.

        Source: Meta, user-initiated calls, reject call.

        Raises:
            GraphRequestError: Meta refused; mostly because the call is over.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        await self._act("reject", phone_number_id, call_id, retry=True)

    async def terminate(self, phone_number_id: str, call_id: str) -> None:
        """Hang up. Repeated when Meta cannot be reached.

        Source: Meta, user-initiated calls, terminate call.

        Raises:
            GraphRequestError: Meta refused; mostly because the call is over.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        await self._act("terminate", phone_number_id, call_id, retry=True)

    async def connect(
        self,
        phone_number_id: str,
        user: User,
        sdp: str,
        *,
        biz_opaque_callback_data: str | None = None,
        recording: Capture | None = None,
        transcription: Capture | None = None,
    ) -> str:
        """Call a user. Sent exactly once, because Meta would take a second one for another call.

        Source: Meta, business-initiated calls, initiate call.

        Args:
            phone_number_id: The business number that calls.
            user: Who is called.
            sdp: Our offer, complete with its candidates.
            biz_opaque_callback_data: Comes back with the call's webhooks; 512 characters at most.
            recording: Asks Meta to record the call.
            transcription: Asks Meta to transcribe the call.

        Returns:
            The call's id.

        Raises:
            GraphRequestError: Meta refused, or the callback data is too long.
            GraphUnreachableError: No answer with a call id came; the user's phone may ring.
        """
        answer = await self.request(
            "POST",
            _calls(phone_number_id),
            json={
                "messaging_product": "whatsapp",
                **address(user),
                "action": "connect",
                "session": {"sdp_type": "offer", "sdp": sdp},
                **_extras(biz_opaque_callback_data, recording, transcription),
            },
        )
        return first_id(answer, "calls", "connect")

    async def _act(
        self,
        action: str,
        phone_number_id: str,
        call_id: str,
        body: Mapping[str, Any] | None = None,
        *,
        retry: bool,
        deadline: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        call = {"messaging_product": "whatsapp", "call_id": call_id, "action": action}
        await self.request(
            "POST",
            _calls(phone_number_id),
            json={**call, **(body or {})},
            retry=retry,
            deadline=deadline,
            on_sent=on_sent,
        )


def _calls(phone_number_id: str) -> str:
    return f"{checked_id('phone number id', phone_number_id)}/calls"


def _answer(sdp: str) -> dict[str, Any]:
    # Meta's tables say "offer" here, but with it no call ever connects.
    return {"session": {"sdp_type": "answer", "sdp": sdp}}


def _extras(
    biz_opaque_callback_data: str | None,
    recording: Capture | None,
    transcription: Capture | None,
) -> dict[str, Any]:
    """What may come with a call from our side."""
    check_length("callback data", biz_opaque_callback_data or "", MAX_PAYLOAD_CHARS)
    extras = {
        "biz_opaque_callback_data": biz_opaque_callback_data,
        "recording": recording and recording.body(),
        "transcription": transcription and transcription.body(),
    }
    return {name: extra for name, extra in extras.items() if extra is not None}
