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
from typing import Any

from pipecat_whatsapp.meta.events import MetaErrorInfo, User
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import Account

Json = dict[str, Any]

SUCCESS: Json = {"messaging_product": "whatsapp", "success": True}

_MESSAGES = {
    100: "Invalid parameter",
    190: "The access token is invalid",
    138000: "Calling is not enabled",
    138006: "No approved call permission",
    138007: "The call was not connected in time",
    138008: "SDP validation error",
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


def connect(
    account: Account,
    call_id: str,
    user: User,
    offer_sdp: str,
    *,
    timestamp: int,
    extras: Mapping[str, str],
) -> Json:
    """The value that announces a user's call (Meta: user-initiated calls).

    Args:
        account: The business called.
        call_id: The call's id.
        user: Who calls; what is None is left out.
        offer_sdp: The caller's SDP.
        timestamp: Unix seconds.
        extras: Further fields of the call, such as `cta_payload`.
    """
    call = _call(account, call_id, user, "connect", timestamp)
    call |= extras
    call["session"] = {"sdp_type": "offer", "sdp": offer_sdp}
    return addressed(account, {"contacts": [_contact(user)], "calls": [call]})


def terminate(
    account: Account,
    call_id: str,
    user: User,
    *,
    timestamp: int,
    start_time: int | None,
    error: MetaErrorInfo | None,
    extras: Mapping[str, str],
) -> Json:
    """The value that tells a call's end (Meta: user-initiated calls; real logs).

    Args:
        account: The business called.
        call_id: The call's id.
        user: Who called.
        timestamp: When it ended, Unix seconds.
        start_time: When it was picked up; None when it never was, and then Meta gives no times.
        error: Why it failed, if it did.
        extras: Further fields of the call, such as `biz_opaque_callback_data`.
    """
    call = _call(account, call_id, user, "terminate", timestamp)
    call["status"] = "FAILED" if error else "COMPLETED"
    if start_time is not None:
        call |= {"start_time": str(start_time), "end_time": str(timestamp)}
        call["duration"] = timestamp - start_time
    call |= extras
    value: Json = {"contacts": [_contact(user)], "calls": [call]}
    if error:
        call["errors"] = value["errors"] = [webhook_error(error)]
    return addressed(account, value)


def webhook_error(error: MetaErrorInfo) -> Json:
    """An error as webhooks carry it; what is None is left out."""
    details = {"details": error.details} if error.details else None
    return _known(code=error.code, title=error.title, message=error.message, error_data=details)


def graph_error(refusal: RefusalError) -> Json:
    """The body of a refused Graph request (Meta: error codes)."""
    message = _MESSAGES.get(refusal.code, "Something went wrong")
    error = _known(
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


def _known(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _contact(user: User) -> Json:
    return _known(
        profile=_known(name=user.name or user.phone, username=user.username),
        wa_id=user.phone,
        user_id=user.user_id,
        parent_user_id=user.parent_user_id,
    )


def _call(account: Account, call_id: str, user: User, event: str, timestamp: int) -> Json:
    fields = {
        "id": call_id,
        "from": user.phone,
        "to": account.display_phone_number,
        "from_user_id": user.user_id,
        "from_parent_user_id": user.parent_user_id,
        "event": event,
        "timestamp": str(timestamp),
        "direction": "USER_INITIATED",
    }
    return _known(**fields)
