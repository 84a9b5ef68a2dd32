"""What a bot is, and what it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pipecat.runner.types import CallData, SmallWebRTCRunnerArguments

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.media.connection import WhatsAppConnection


@dataclass(kw_only=True)
class WhatsAppRunnerArguments(SmallWebRTCRunnerArguments):
    """What a bot gets for one WhatsApp call.

    A bot written for a "webrtc" transport works with it unchanged. `call_data` and `body` are
    filled as for pipecat's telephony transports; `body` is a plain dict.

    Parameters:
        call: The call: who calls whom, and what came with it.
        webrtc_connection: The call's peer connection.
        body: The call once more, as a plain dict.
    """

    call: Call
    webrtc_connection: WhatsAppConnection
    body: dict[str, Any] = field(default_factory=dict)


Bot: TypeAlias = Callable[[WhatsAppRunnerArguments], Awaitable[Any]]
"""A bot: `async def bot(runner_args)`, which runs one pipeline until the call ends."""


@dataclass(frozen=True)
class Reject:
    """An `on_incoming_call` hook's answer: decline the call.

    Parameters:
        reason: Why, for the log and the call report.
    """

    reason: str = ""


IncomingCallHook: TypeAlias = Callable[[Call], Awaitable["Bot | Reject | None"]]
"""Asked for every call: returns `Reject()`, another bot, or None for the usual one."""


def runner_arguments(call: Call, connection: WhatsAppConnection) -> WhatsAppRunnerArguments:
    """The arguments for the bot of a call."""
    caller = call.caller
    return WhatsAppRunnerArguments(
        webrtc_connection=connection,
        call=call,
        session_id=call.id,
        call_data=CallData.model_validate(
            {"call_id": call.id, "from": caller.phone, "to": call.number_called}
        ),
        body={
            "call_id": call.id,
            "direction": call.direction.value,
            "from": caller.phone,
            "from_user_id": caller.user_id,
            "from_name": caller.name,
            "to": call.number_called,
            "phone_number_id": call.phone_number_id,
            "cta_payload": call.cta_payload,
            "deeplink_payload": call.deeplink_payload,
        },
    )
