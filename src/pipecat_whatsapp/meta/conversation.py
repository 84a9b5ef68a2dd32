"""Calls, messages and their statuses: what comes under the fields "calls" and "messages".

A reader that cannot read its part raises `UnreadableError`, and the part becomes an
`UnknownEvent`; the parts beside it are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallCreated,
    CallMediaAvailable,
    CallPermissionReply,
    CallStatus,
    CallTerminate,
    Direction,
    ErrorNotice,
    Event,
    MessageReceived,
    MessageStatus,
    Raw,
    User,
    UserChanged,
    Voicemail,
)
from pipecat_whatsapp.meta.reading import (
    UnreadableError,
    child,
    errors,
    identifier,
    integer,
    items,
    merged,
    name_of,
    phone,
    text,
    timestamp,
    token,
    unknown,
)
from pipecat_whatsapp.meta.shared import SharedValue

CALL_ID_PREFIX = "wacid."
"""How call ids begin: a message with such an id is a voicemail."""

MAX_SDP_CHARS = 2 * 65_536
MAX_GIVEN_BACK_CHARS = 4 * 512
MAX_TEXT_CHARS = 65_536
MAX_URL_CHARS = 4096

_DIRECTIONS = {
    "USER_INITIATED": Direction.INBOUND,
    "BUSINESS_INITIATED": Direction.OUTBOUND,
    "OFFER": Direction.INBOUND,
    "ANSWER": Direction.OUTBOUND,
}
_USER_CHANGES = ("user_changed_number", "user_changed_user_id")
_SDP_TYPES = {Direction.INBOUND: "offer", Direction.OUTBOUND: "answer"}


def conversation(field: str, value: Raw, time: int | None) -> Iterator[Event]:
    """Read the calls, messages, statuses and errors of one change.

    Args:
        field: The webhook field, "calls" or "messages".
        value: What came with it.
        time: When Meta wrote the entry, for errors, which carry no time of their own.
    """
    shared = SharedValue.read(field, value, parts=sum(len(items(value, name)) for name in _PARTS))
    unclaimed, empty = shared.errors, True
    for name, (key, read) in _PARTS.items():
        for item in items(value, name):
            event = _part(shared, name, key, read, item)
            if isinstance(event, CallTerminate):
                unclaimed = ()
            empty = False
            yield event
    if unclaimed:
        yield ErrorNotice(
            phone_number_id=shared.phone_number_id, timestamp=time, raw=value, errors=unclaimed
        )
    elif empty:
        yield unknown(field, value, "nothing in it is known", shared.phone_number_id)


def _part(shared: SharedValue, name: str, key: str, read: _Reader, item: Any) -> Event:
    known_as = name_of(item, key)
    kind = f"{name}/{known_as.lower()}" if known_as else name
    if not isinstance(item, dict):
        return unknown(kind, item, "not an object", shared.phone_number_id)
    try:
        return read(shared, item)
    except UnreadableError as exc:
        return unknown(kind, item, str(exc), shared.phone_number_id)


def _call(shared: SharedValue, call: Raw) -> Event:
    event = name_of(call, "event")
    if event is None:
        raise UnreadableError("the event is missing")
    read = _CALL_EVENTS.get(event.lower())
    if read is None:
        raise UnreadableError
    return read(shared, call)


def _created(shared: SharedValue, call: Raw) -> Event:
    direction = _direction(shared, call)
    side = "to" if direction is Direction.OUTBOUND else "from"
    return CallCreated(
        **shared.about(call),
        call_id=identifier(call),
        direction=direction,
        user=shared.user(call, side, side),
    )


def _connect(shared: SharedValue, call: Raw) -> Event:
    session = child(call, "session")
    direction = _direction(shared, call)
    if direction is None:
        raise UnreadableError("neither the direction nor the SDP's type is known")
    sdp_type = (name_of(session, "sdp_type") or _SDP_TYPES[direction]).lower()
    if sdp_type not in _SDP_TYPES.values():
        raise UnreadableError("the SDP's type is neither offer nor answer")
    side, other = ("from", "to") if direction is Direction.INBOUND else ("to", "from")
    return CallConnect(
        **shared.about(call),
        call_id=identifier(call),
        direction=direction,
        user=shared.user(call, side, side),
        business_phone=shared.business_phone or phone(call, other),
        sdp_type=sdp_type,
        # Whether it can carry a call is not decided here: one that cannot is still to be rejected.
        sdp=text(session, "sdp", MAX_SDP_CHARS) or "",
        cta_payload=text(call, "cta_payload", MAX_GIVEN_BACK_CHARS),
        deeplink_payload=text(call, "deeplink_payload", MAX_GIVEN_BACK_CHARS),
        biz_opaque_callback_data=_callback_data(call),
    )


def _terminate(shared: SharedValue, call: Raw) -> Event:
    direction = _direction(shared, call)
    side = "to" if direction is Direction.OUTBOUND else "from"
    status = name_of(call, "status")
    return CallTerminate(
        **shared.about(call),
        call_id=identifier(call),
        direction=direction,
        user=shared.user(call, side, side),
        status=status.upper() if status else None,
        start_time=timestamp(call, "start_time"),
        end_time=timestamp(call, "end_time"),
        duration=integer(call, "duration"),
        errors=merged(errors(call) + shared.errors),
        cta_payload=text(call, "cta_payload", MAX_GIVEN_BACK_CHARS),
        deeplink_payload=text(call, "deeplink_payload", MAX_GIVEN_BACK_CHARS),
        biz_opaque_callback_data=_callback_data(call),
    )


def _direction(shared: SharedValue, call: Raw) -> Direction | None:
    """Who placed a call: as Meta says, else by the SDP's type, else by whose number is where."""
    stated = name_of(call, "direction") or ""
    sdp_type = name_of(child(call, "session"), "sdp_type") or ""
    known = _DIRECTIONS.get(stated.upper()) or _DIRECTIONS.get(sdp_type.upper())
    if known or shared.business_phone is None:
        return known
    if phone(call, "to") == shared.business_phone:
        return Direction.INBOUND
    return Direction.OUTBOUND if phone(call, "from") == shared.business_phone else None


def _recording(shared: SharedValue, call: Raw) -> Event:
    return _media(shared, call, "recording", child(child(call, "call_recording"), "audio"))


def _transcription(shared: SharedValue, call: Raw) -> Event:
    return _media(shared, call, "transcription", child(child(call, "call_transcript"), "document"))


def _media(shared: SharedValue, call: Raw, kind: str, media: Raw) -> Event:
    return CallMediaAvailable(
        **shared.about(call), call_id=identifier(call), kind=kind, **_file(media)
    )


def _file(media: Raw) -> dict[str, Any]:
    """The fields of every event that tells of a file."""
    file = {name: token(media, name) for name in ("sha256", "mime_type")}
    file["media_id"] = token(media, "id")
    file["url"] = token(media, "url", MAX_URL_CHARS)
    if file["media_id"] is None and file["url"] is None:
        raise UnreadableError("it names no file")
    return file


def _status(shared: SharedValue, item: Raw) -> Event:
    status = name_of(item, "status")
    if status is None:
        raise UnreadableError("the status is missing")
    user = shared.user(item, "recipient", "recipient_id")
    kind = name_of(item, "type")
    if kind.lower() == "call" if kind else shared.field == "calls":
        return CallStatus(
            **shared.about(item),
            call_id=identifier(item),
            status=status.upper(),
            user=user,
            biz_opaque_callback_data=_callback_data(item),
        )
    return MessageStatus(
        **shared.about(item),
        message_id=identifier(item),
        status=status.lower(),
        user=user,
        errors=merged(errors(item)),
    )


def _message(shared: SharedValue, message: Raw) -> Event:
    user = shared.user(message, "from", "from")
    reply = child(child(message, "interactive"), "call_permission_reply")
    if reply:
        return _permission_reply(shared, message, reply, user)
    kind = name_of(message, "type")
    if kind is None:
        raise UnreadableError("the type is missing")
    message_id, kind = identifier(message), kind.lower()
    if kind == "audio" and message_id.startswith(CALL_ID_PREFIX):
        file = _file(child(message, "audio"))
        return Voicemail(**shared.about(message), call_id=message_id, user=user, **file)
    system = child(message, "system")
    if kind == "system" and (name_of(system, "type") or "").lower() in _USER_CHANGES:
        return _user_changed(shared, message, system, user)
    return MessageReceived(
        **shared.about(message),
        message_id=message_id,
        user=user,
        type=kind,
        text=text(child(message, "text"), "body", MAX_TEXT_CHARS),
    )


def _user_changed(shared: SharedValue, message: Raw, system: Raw, user: User) -> Event:
    """The envelope names who the user was or is, `system` who they are from now on."""
    number, user_id = phone(system, "wa_id"), token(system, "user_id")
    previous_id = token(system, "previous_user_id")
    if previous_id is None and user_id is not None:
        previous_id = token(message, "from_user_id")
    sender = phone(message, "from")
    return UserChanged(
        **shared.about(message),
        user=User(
            phone=number or user.phone,
            user_id=user_id or user.user_id,
            parent_user_id=token(system, "parent_user_id") or user.parent_user_id,
            name=user.name,
            username=user.username,
        ),
        previous_user_id=previous_id if previous_id != user_id else None,
        previous_phone=sender if number is not None and sender != number else None,
    )


def _permission_reply(shared: SharedValue, message: Raw, reply: Raw, user: User) -> Event:
    response = (name_of(reply, "response") or "").lower()
    if response not in ("accept", "reject"):
        raise UnreadableError("the reply to a call permission request is neither yes nor no")
    return CallPermissionReply(
        **shared.about(message),
        user=user,
        accepted=response == "accept",
        permanent=reply.get("is_permanent") in (True, "true"),
        expires_at=timestamp(reply, "expiration_timestamp"),
        automatic=(name_of(reply, "response_source") or "").lower() == "automatic",
        context_id=token(child(message, "context"), "id"),
    )


def _callback_data(item: Raw) -> str | None:
    return text(item, "biz_opaque_callback_data", MAX_GIVEN_BACK_CHARS)


_Reader = Callable[[SharedValue, Raw], Event]

# The lists of a value: what names an item of each, and who reads it.
_PARTS: dict[str, tuple[str, _Reader]] = {
    "calls": ("event", _call),
    "messages": ("type", _message),
    "statuses": ("status", _status),
}

_CALL_EVENTS: dict[str, _Reader] = {
    "call_created": _created,
    "connect": _connect,
    "terminate": _terminate,
    "call_recording_available": _recording,
    "call_transcription_available": _transcription,
}
