"""Graph API requests about calls: checked, then carried out."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_whatsapp.simulator.address import Address, read_address
from pipecat_whatsapp.simulator.call import MetaCall, UserCall
from pipecat_whatsapp.simulator.question import Question
from pipecat_whatsapp.simulator.rules import RefusalError, check_offer
from pipecat_whatsapp.simulator.settings import ACTIONS

MAX_OPAQUE_DATA = 512
MAX_PURPOSE = 250
LANGUAGES = frozenset(
    {
        *("en", "en_AU", "en_CA", "en_GB", "en_IN", "en_NZ", "en_US"),
        *("nl", "fr", "de", "hi", "it", "kn", "pt", "es", "es_ES", "te", "vi"),
    }
)
"""Languages in which Meta announces a recording."""

_CAPTURES = ("recording", "transcription")


def check(question: Question) -> None:
    """Check all of a request that can be checked without knowing the call.

    Raises:
        RefusalError: Something in its body is missing or wrong.
    """
    body = question.json_object()
    if body.get("messaging_product") != "whatsapp":
        raise RefusalError('messaging_product must be "whatsapp"')
    if question.action not in ACTIONS:
        raise RefusalError(f"action must be one of {', '.join(sorted(ACTIONS))}")
    if question.action != "connect" and not question.text("call_id"):
        raise RefusalError("call_id is missing")
    opaque = body.get("biz_opaque_callback_data", "")
    if not isinstance(opaque, str) or len(opaque) > MAX_OPAQUE_DATA:
        details = f"biz_opaque_callback_data must be a text of at most {MAX_OPAQUE_DATA} characters"
        raise RefusalError(details)


@dataclass(frozen=True)
class ConnectOrder:
    """A checked request to call a user.

    Parameters:
        address: Whom to call.
        offer_sdp: The business's offer.
        extras: What the call's webhooks carry besides.
        captures: What Meta is to make of the call.
    """

    address: Address
    offer_sdp: str
    extras: dict[str, str]
    captures: frozenset[str]


def read_connect(question: Question) -> ConnectOrder:
    """Read a checked request to call a user.

    Raises:
        RefusalError: It names nobody, or its SDP or something else in it cannot be used.
    """
    address = read_address(question.json_object())
    sdp = _session_sdp(question, "offer")
    check_offer(sdp)
    return ConnectOrder(
        address=address,
        offer_sdp=sdp,
        extras=_opaque_data(question),
        captures=_captures(question),
    )


def carry_out(question: Question, call: MetaCall) -> None:
    """Do to the call what a checked request asks for.

    Raises:
        RefusalError: The request does not fit the call's state, or its SDP cannot be used.
    """
    if question.action == "terminate":
        call.terminate()
        return
    if not isinstance(call, UserCall):
        raise RefusalError(f"A call that the business placed knows no {question.action}")
    match question.action:
        case "pre_accept":
            call.pre_accept(_session_sdp(question, "answer"))
        case "accept":
            captures = _captures(question)
            call.accept(_session_sdp(question, "answer"))
            call.captures = captures
            call.extras.update(_opaque_data(question))
        case "reject":
            call.reject()


def _opaque_data(question: Question) -> dict[str, str]:
    opaque = question.text("biz_opaque_callback_data")
    return {} if opaque is None else {"biz_opaque_callback_data": opaque}


def _captures(question: Question) -> frozenset[str]:
    """Which of recording and transcription are asked for (Meta: call recording)."""
    body = question.json_object()
    given = {kind: body[kind] for kind in _CAPTURES if kind in body}
    for kind, value in given.items():
        _check_capture(kind, value)
    return frozenset(kind for kind, value in given.items() if value["status"] == "ENABLED")


def _check_capture(kind: str, value: object) -> None:
    if not isinstance(value, dict) or value.get("status") not in ("ENABLED", "DISABLED"):
        raise RefusalError(f"{kind}.status must be ENABLED or DISABLED")
    purpose = value.get("purpose", "")
    if not isinstance(purpose, str) or len(purpose) > MAX_PURPOSE:
        details = f"{kind}.purpose must be a text of at most {MAX_PURPOSE} characters"
        raise RefusalError(details)
    if str(value.get("announcement_language", "en_US")) not in LANGUAGES:
        raise RefusalError(f"{kind}.announcement_language is not supported")


def _session_sdp(question: Question, sdp_type: str) -> str:
    session = question.json_object().get("session")
    if not isinstance(session, dict):
        raise RefusalError("session is missing")
    if session.get("sdp_type") != sdp_type:
        raise RefusalError(f'sdp_type must be "{sdp_type}"')
    sdp = session.get("sdp")
    if not isinstance(sdp, str):
        raise RefusalError("session.sdp is missing")
    return sdp
