"""Calls that are over, as observers are told of them."""

from __future__ import annotations

from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.law import Signal
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.media.quality import CallQuality
from pipecat_whatsapp.meta.events import CallTerminate, Direction, MetaErrorInfo, User

PHONE = "4915550002222"
ADA = User(phone=PHONE, user_id="DE.900000000000000001", name="Ada Example")


def users_call() -> Call:
    """A call of a user that has just begun."""
    return Call(call_id="wacid.A", phone_number_id="200", direction=Direction.INBOUND, user=ADA)


def our_call() -> Call:
    """A call of ours that has just begun, and so has no id."""
    return Call(call_id="", phone_number_id="200", direction=Direction.OUTBOUND, user=ADA)


def answer(call: Call) -> None:
    """Answer a user's call after two seconds, and hang up after ten."""
    for signal, after in (
        (Signal.ANSWERED, 0.25),
        (Signal.PRE_ACCEPTED, 0.5),
        (Signal.LINKED, 1.0),
        (Signal.READY, 1.5),
        (Signal.ACCEPTED, 2.0),
    ):
        call.apply(signal, after=after)
    call.ice_up_after = 0.75
    call.quality = CallQuality(
        packets_in=380,
        lost_in=20,
        concealed_ms=200,
        mos=4.1,
        first_audio_in=2.1,
        first_audio_out=2.4,
    )
    call.terminate = CallTerminate(
        call_id=call.id,
        user=ADA,
        status="COMPLETED",
        start_time=1_790_000_002,
        end_time=1_790_000_010,
        duration=8,
        errors=(MetaErrorInfo(code=131000, title=f"Something with +{PHONE}"),),
    )
    call.apply(Signal.TERMINATED, after=10.0)


def fail(call: Call, after: float = 3.0) -> None:
    """End a call for a request that failed."""
    call.apply(
        Signal.HANG_UP, after=after, cause=Cause.GRAPH_FAILED, detail=f"no answer about {PHONE}"
    )
