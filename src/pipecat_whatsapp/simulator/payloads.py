r"""Meta's JSON: the webhooks that a call causes, and the answers of the Graph API.

Written as Meta writes it, with the traps: no spaces, non-ASCII as lower-case `\uXXXX`, slashes
escaped, what is unknown left out rather than empty.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipecat_whatsapp.meta.events import Direction, MetaErrorInfo, User
from pipecat_whatsapp.simulator.media import MediaFile
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account

Json = dict[str, Any]

SUCCESS: Json = {"messaging_product": "whatsapp", "success": True}

_MESSAGES = {
    100: "Invalid parameter",
    190: "The access token is invalid",
    200: "Permissions error",
    613: "Too many requests",
    131009: "The message cannot be sent from this country",
    131026: "Message undeliverable",
    131030: "The recipient is not on the list of allowed numbers",
    131047: "Re-engagement message",
    131044: "Business eligibility payment issue",
    131055: "The number is in SIP mode",
    132000: "Number of template parameters does not match",
    132001: "The template does not exist",
    138000: "Calling is not enabled",
    138001: "The receiver cannot be called",
    138002: "Too many calls at once",
    138003: "A call with this user is going on",
    138005: "Too many calls were placed",
    138006: "No approved call permission",
    138007: "The call was not connected in time",
    138008: "SDP validation error",
    138009: "The user was asked too often",
    138011: "The user cannot be asked now",
    138012: "Too many connected calls with this user",
    138013: "Business-initiated calling is not available",
    138014: "Calling is paused for low quality",
    138015: "Calling cannot be enabled",
    138017: "The user has allowed calls permanently",
    138018: "No app is subscribed to calls",
}


def serialise(payload: Json) -> bytes:
    """Write JSON as Meta puts it on the wire."""
    text = json.dumps(payload, separators=(",", ":"))
    return text.replace("/", "\\/").encode("ascii")


def signature(body: bytes, app_secret: str) -> str:
    """The value of `X-Hub-Signature-256` for these very bytes (Meta: webhooks)."""
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def envelope(account: Account, changes: Iterable[Json]) -> Json:
    """Wrap changes, each a field and its value, into one webhook."""
    entry = {"id": account.waba_id, "changes": list(changes)}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def addressed(account: Account, value: Json) -> Json:
    """The value of a change, with the business number's metadata unless it has its own."""
    metadata = {
        "display_phone_number": account.display_phone_number,
        "phone_number_id": account.phone_number_id,
    }
    return {"messaging_product": "whatsapp", "metadata": metadata, **value}


@dataclass(frozen=True)
class CallFacts:
    """What all webhooks about a call tell of it.

    Parameters:
        id: The call's id.
        user: The WhatsApp user on the other side; what is None is left out.
        direction: Who placed it.
        extras: Further fields, such as `cta_payload` and `biz_opaque_callback_data`.
    """

    id: str
    user: User
    direction: Direction
    extras: Mapping[str, str] = field(default_factory=dict)


def connect(account: Account, call: CallFacts, sdp: str, *, timestamp: int) -> Json:
    """The value that brings the far end's SDP (Meta: user- and business-initiated calls).

    Args:
        account: The business.
        call: The call.
        sdp: The offer of a user who calls, or the answer of one who is called.
        timestamp: Unix seconds.
    """
    sdp_type = "offer" if call.direction is Direction.INBOUND else "answer"
    fields = {**_call(account, call, "connect", timestamp), **call.extras}
    fields["session"] = {"sdp_type": sdp_type, "sdp": sdp}
    return addressed(account, {"contacts": [contact(call.user)], "calls": [fields]})


def call_created(account: Account, call: CallFacts, *, timestamp: int) -> Json:
    """The value that tells a number in SIP mode that a user calls: there is no SDP (Meta: SIP).

    Args:
        account: The business.
        call: The call.
        timestamp: Unix seconds.
    """
    fields = _call(account, call, "call_created", timestamp)
    return addressed(account, {"contacts": [contact(call.user)], "calls": [fields]})


def status(account: Account, call: CallFacts, status: str, *, timestamp: int) -> Json:
    """The value that tells how a user's phone takes a call (Meta: business-initiated calls).

    Args:
        account: The business that calls.
        call: The call.
        status: "RINGING", "ACCEPTED" or "REJECTED".
        timestamp: Unix seconds.
    """
    user = call.user
    fields = known(
        id=call.id,
        type="call",
        status=status,
        timestamp=str(timestamp),
        recipient_id=user.phone,
        recipient_user_id=user.user_id,
        recipient_parent_user_id=user.parent_user_id,
    )
    return addressed(account, {"statuses": [fields | dict(call.extras)]})


def terminate(
    account: Account,
    call: CallFacts,
    *,
    timestamp: int,
    start_time: int | None,
    error: MetaErrorInfo | None,
) -> Json:
    """The value that tells a call's end (Meta: user-initiated calls; real logs).

    Args:
        account: The business.
        call: The call.
        timestamp: When it ended, Unix seconds.
        start_time: When it was picked up; None when it never was, and then Meta gives no times.
        error: Why it failed, if it did.
    """
    fields = _call(account, call, "terminate", timestamp)
    fields["status"] = "FAILED" if error else "COMPLETED"
    if start_time is not None:
        fields |= {"start_time": str(start_time), "end_time": str(timestamp)}
        fields["duration"] = timestamp - start_time
    fields |= call.extras
    value: Json = {"contacts": [contact(call.user)], "calls": [fields]}
    if error:
        fields["errors"] = value["errors"] = [webhook_error(error)]
    return addressed(account, value)


def media_available(
    account: Account, call: CallFacts, kind: str, file: MediaFile, *, timestamp: int
) -> Json:
    """The value that tells where a recording or a transcript is (Meta: call recording).

    Args:
        account: The business.
        call: The call.
        kind: "recording" or "transcription".
        file: The recording or the transcript.
        timestamp: Unix seconds.
    """
    fields = _call(account, call, f"call_{kind}_available", timestamp)
    if kind == "recording":
        fields["call_recording"] = {"type": "audio", "audio": _media(file)}
    else:
        fields["call_transcript"] = {"type": "document", "document": _media(file)}
    return addressed(account, {"contacts": [contact(call.user)], "calls": [fields]})


def voicemail(account: Account, call: CallFacts, file: MediaFile, *, timestamp: int) -> Json:
    """The value that brings a caller's voicemail, a message with the id of the call (Meta).

    Args:
        account: The business called.
        call: The call that it did not take.
        file: What the caller said.
        timestamp: Unix seconds.
    """
    message = known(
        **{"from": call.user.phone},
        from_user_id=call.user.user_id,
        from_parent_user_id=call.user.parent_user_id,
        id=call.id,
        timestamp=str(timestamp),
        type="audio",
        audio=_media(file),
    )
    return addressed(account, {"contacts": [contact(call.user)], "messages": [message]})


def notice(account: Account, error: MetaErrorInfo) -> Json:
    """The value that tells of an error that belongs to no call that the business knows."""
    return addressed(account, {"errors": [webhook_error(error)]})


def webhook_error(error: MetaErrorInfo) -> Json:
    """An error as webhooks carry it; what is None is left out."""
    details = {"details": error.details} if error.details else None
    return known(code=error.code, title=error.title, message=error.message, error_data=details)


def graph_error(refusal: RefusalError) -> Json:
    """The body of a refused Graph request (Meta: error codes)."""
    message = _MESSAGES.get(refusal.code, "Something went wrong")
    error = known(
        message=f"(#{refusal.code}) {message}",
        type="OAuthException",
        code=refusal.code,
        error_subcode=refusal.subcode,
        error_data={"messaging_product": "whatsapp", "details": refusal.details},
        fbtrace_id="A" + secrets.token_urlsafe(16),
    )
    return {"error": error}


def describe(field: str, value: Json) -> tuple[str, str | None]:
    """What a change is about: its kind ("connect", "ringing", else the field), and the call id."""
    for call in value.get("calls", ()):
        return call["event"], call["id"]
    for status in value.get("statuses", ()):
        return status["status"].lower(), status["id"] if field == "calls" else None
    return field, None


def reaches_standby(change: Json) -> bool:
    """Whether a partner that is not the primary one gets a change (Meta: conversation routing)."""
    if change["field"] != "calls":
        return True
    return any(
        (call.get("event"), call.get("direction")) == ("terminate", "BUSINESS_INITIATED")
        for call in change["value"].get("calls", ())
    )


def known(**fields: Any) -> Json:
    """The fields that are not None: what Meta does not know it leaves out."""
    return {name: value for name, value in fields.items() if value is not None}


def contact(user: User) -> Json:
    """A user as the `contacts` of a webhook name them."""
    return known(
        profile=known(name=user.name or user.phone, username=user.username),
        wa_id=user.phone,
        user_id=user.user_id,
        parent_user_id=user.parent_user_id,
    )


def _media(file: MediaFile) -> Json:
    return {"id": file.id, "sha256": file.sha256, "mime_type": file.mime_type, "url": file.url}


def _call(account: Account, call: CallFacts, event: str, timestamp: int) -> Json:
    user, inbound = call.user, call.direction is Direction.INBOUND
    business, side = account.display_phone_number, "from" if inbound else "to"
    fields = {
        "id": call.id,
        "from": user.phone if inbound else business,
        "to": business if inbound else user.phone,
        f"{side}_user_id": user.user_id,
        f"{side}_parent_user_id": user.parent_user_id,
        "event": event,
        "timestamp": str(timestamp),
        "direction": "USER_INITIATED" if inbound else "BUSINESS_INITIATED",
    }
    return known(**fields)
