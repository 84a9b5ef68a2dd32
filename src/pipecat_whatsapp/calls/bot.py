"""What a bot is, and what it is given."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pipecat.runner.types import CallData, SmallWebRTCRunnerArguments

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.checks import MAX_PAYLOAD_CHARS
from pipecat_whatsapp.meta.events import CallConnect, Direction


@dataclass(kw_only=True)
class WhatsAppRunnerArguments(SmallWebRTCRunnerArguments):
    """What a bot gets for one WhatsApp call.

    A bot written for a "webrtc" transport works with it unchanged. `call_data` and `body` are
    filled as for pipecat's telephony transports; `body` is a plain dict.

    Parameters:
        call: The call: who calls whom, and what came with it.
        contact: The user on the other side, to send messages to.
        webrtc_connection: The call's peer connection.
        body: The call once more, as a plain dict.
    """

    call: Call
    contact: Contact
    webrtc_connection: WhatsAppConnection
    body: dict[str, Any] = field(default_factory=dict)


Bot: TypeAlias = Callable[[WhatsAppRunnerArguments], Awaitable[Any]]
"""A bot: `async def bot(runner_args)`, which runs one pipeline until the call ends."""


@dataclass(frozen=True, kw_only=True)
class Accept:
    """An `on_incoming_call` hook's answer: take the call, on these terms.

    Parameters:
        bot: The bot for it; None for the usual one.
        recording: Let Meta record the call; it announces so to both sides.
        transcription: Let Meta transcribe the call; it announces so to both sides.
        biz_opaque_callback_data: Comes back with the call's end; 512 characters at most.

    Raises:
        ConfigError: The data is too long.
    """

    bot: Bot | None = None
    recording: Capture | None = None
    transcription: Capture | None = None
    biz_opaque_callback_data: str | None = None

    def __post_init__(self) -> None:
        check_callback_data(self.biz_opaque_callback_data)


@dataclass(frozen=True)
class Reject:
    """An `on_incoming_call` hook's answer: decline the call.

    Meta's voicemail takes it, where the number's settings say so.

    Parameters:
        reason: Why, for the log and the call report.
    """

    reason: str = ""


@dataclass(frozen=True)
class HoldBack:
    """An `on_incoming_call` hook's answer: let the call ring, and do nothing.

    Another application of the account may take it, or Meta's voicemail after its time-out.

    Parameters:
        reason: Why, for the log and the call report.
    """

    reason: str = ""


Decision: TypeAlias = "Bot | Accept | Reject | HoldBack | None"
"""On an incoming call: the bot or the terms to take it with, or not; None for the usual bot."""

IncomingCallHook: TypeAlias = Callable[[Call], Awaitable[Decision]]
"""Asked for every call before it is answered."""

RegionHook: TypeAlias = Callable[[CallConnect], Awaitable[str | None]]
"""Asked, where there are several processes, for the region that a call shall be served in."""


def check_callback_data(data: str | None) -> None:
    """Check what shall come back with the webhooks of a call.

    Raises:
        ConfigError: It is longer than Meta takes.
    """
    if data is not None and len(data) > MAX_PAYLOAD_CHARS:
        raise ConfigError(
            f"biz_opaque_callback_data has {len(data)} characters, and Meta takes "
            f"{MAX_PAYLOAD_CHARS}: make it shorter."
        )


def runner_arguments(
    call: Call,
    connection: WhatsAppConnection,
    contact: Contact,
    cli_args: argparse.Namespace | None,
) -> WhatsAppRunnerArguments:
    """The arguments for the bot of a call."""
    user, ours, theirs = call.user, call.business_phone, call.user.phone
    caller, called = (theirs, ours) if call.direction is Direction.INBOUND else (ours, theirs)
    arguments = WhatsAppRunnerArguments(
        webrtc_connection=connection,
        call=call,
        contact=contact,
        session_id=call.id,
        call_data=CallData.model_validate({"call_id": call.id, "from": caller, "to": called}),
        body={
            "call_id": call.id,
            "direction": call.direction.value,
            "from": caller,
            "to": called,
            "user_id": user.user_id,
            "user_name": user.name,
            "phone_number_id": call.phone_number_id,
            "cta_payload": call.cta_payload,
            "deeplink_payload": call.deeplink_payload,
            "biz_opaque_callback_data": call.biz_opaque_callback_data,
        },
    )
    arguments.cli_args = cli_args
    return arguments
