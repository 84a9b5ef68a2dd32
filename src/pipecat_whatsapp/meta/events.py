"""What a webhook said: frozen values, the vocabulary between Meta's payloads and calls.

Every event carries `raw`, the JSON object it was read from, so that a field this package does not
know is never lost. Times are Unix seconds. Phone numbers are digits without `+`, as Meta sends
them, and may be absent everywhere: a user with a username is known by a business-scoped user id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Raw = Mapping[str, Any]


class Direction(Enum):
    """Who placed a call.

    Parameters:
        INBOUND: A WhatsApp user called the business (Meta: USER_INITIATED).
        OUTBOUND: The business called a WhatsApp user (Meta: BUSINESS_INITIATED).
    """

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True)
class User:
    """A WhatsApp user, as far as Meta tells.

    Parameters:
        phone: Phone number in digits; None for a user whose number we may not see.
        user_id: Business-scoped user id (BSUID), such as "DE.900000000000000001".
        parent_user_id: BSUID of the parent business portfolio, when enabled.
        name: Profile name; may simply be the number.
        username: WhatsApp username.
    """

    phone: str | None = field(default=None, repr=False)
    user_id: str | None = None
    parent_user_id: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)

    @property
    def key(self) -> str | None:
        """What identifies the user: the BSUID where there is one, else the phone number."""
        return self.user_id or self.phone

    def __str__(self) -> str:
        """The user as logs may show them: a phone number loses all but its ends."""
        if self.phone:
            return f"+{self.phone[:2]}…{self.phone[-2:]}"
        return self.user_id or "unknown user"


@dataclass(frozen=True)
class MetaErrorInfo:
    """An error inside a webhook; every field may be absent.

    Parameters:
        code: Meta's error code, such as 138021.
        title: Short title.
        message: Meta's sentence.
        details: `error_data.details`.
    """

    code: int | None = None
    title: str | None = None
    message: str | None = None
    details: str | None = None


@dataclass(frozen=True)
class Restriction:
    """Something that Meta has taken away from a number for a while.

    Parameters:
        type: Meta's name, such as "RESTRICTED_BUSINESS_INITIATED_CALLING".
        reason: Why, in Meta's words.
        expires_at: When it ends, Unix seconds; None when Meta did not say.
    """

    type: str
    reason: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all webhook events.

    Parameters:
        phone_number_id: The business number concerned (`metadata.phone_number_id`).
        timestamp: When it happened, Unix seconds; None when Meta did not say.
        raw: The JSON object that the event was read from.
    """

    phone_number_id: str | None = None
    timestamp: int | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class CallEvent(Event):
    """Base of all events about one call.

    Parameters:
        call_id: The call's opaque id ("wacid....").
    """

    call_id: str


@dataclass(frozen=True, kw_only=True)
class CallCreated(CallEvent):
    """A call has begun on a number that takes its calls over SIP, not through this package.

    Parameters:
        direction: Who placed the call, None when Meta did not say.
        user: The WhatsApp user on the other side.
    """

    direction: Direction | None = None
    user: User = field(default_factory=User)


@dataclass(frozen=True, kw_only=True)
class CallConnect(CallEvent):
    """A call wants to be connected: an offer (inbound) or the answer to ours (outbound).

    Parameters:
        direction: Who placed the call.
        user: The WhatsApp user on the other side.
        business_phone: The business number called or calling, in digits.
        sdp_type: "offer" or "answer".
        sdp: The session description, empty when it is missing. Kept out of `repr` and of logs.
        cta_payload: Payload of the call button that was tapped. Untrusted.
        deeplink_payload: Payload of the link that was opened. Untrusted.
        biz_opaque_callback_data: What we attached when we placed the call.
    """

    direction: Direction
    user: User
    business_phone: str | None = None
    sdp_type: str
    sdp: str = field(repr=False)
    cta_payload: str | None = None
    deeplink_payload: str | None = None
    biz_opaque_callback_data: str | None = None


@dataclass(frozen=True, kw_only=True)
class CallTerminate(CallEvent):
    """A call has ended.

    Parameters:
        direction: Who placed the call, None when Meta did not say.
        user: The WhatsApp user on the other side.
        status: Meta's status in upper case ("COMPLETED", "FAILED"). Does not say "answered".
        start_time: When the call was picked up; None when it never was.
        end_time: When it ended; None when it never was picked up.
        duration: Seconds from pick-up to end; None when it never was picked up.
        errors: Why it failed; errors of the call and of the whole value together.
        cta_payload: Payload of the call button that was tapped. Untrusted.
        deeplink_payload: Payload of the link that was opened. Untrusted.
        biz_opaque_callback_data: What we attached to the call.
    """

    direction: Direction | None = None
    user: User = field(default_factory=User)
    status: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    duration: int | None = None
    errors: tuple[MetaErrorInfo, ...] = ()
    cta_payload: str | None = None
    deeplink_payload: str | None = None
    biz_opaque_callback_data: str | None = None


@dataclass(frozen=True, kw_only=True)
class CallStatus(CallEvent):
    """The far end's phone rings, was picked up, or refused (outbound calls).

    Parameters:
        status: "RINGING", "ACCEPTED" or "REJECTED", in upper case.
        user: The user called.
        biz_opaque_callback_data: What we attached to the call.
    """

    status: str
    user: User = field(default_factory=User)
    biz_opaque_callback_data: str | None = None


@dataclass(frozen=True, kw_only=True)
class CallMediaAvailable(CallEvent):
    """Meta's recording or transcript of a call can be downloaded.

    Parameters:
        kind: "recording" or "transcription".
        media_id: Id for the Media API.
        sha256: Digest of the file, base64.
        mime_type: Such as "audio/ogg; codecs=opus" or "application/json".
        url: Download address, valid for five minutes; needs the token.
    """

    kind: str
    media_id: str | None = None
    sha256: str | None = None
    mime_type: str | None = None
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class CallPermissionReply(Event):
    """A user answered, or changed, whether we may call.

    Parameters:
        user: Who answered.
        accepted: Whether calls are allowed.
        permanent: Whether the permission has no end.
        expires_at: When a temporary permission ends, Unix seconds.
        automatic: Whether WhatsApp, not the user, decided.
        context_id: Id of the request (or call) that was answered.
    """

    user: User
    accepted: bool
    permanent: bool = False
    expires_at: int | None = None
    automatic: bool = False
    context_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class MessageReceived(Event):
    """A user sent a message, or WhatsApp a system message about the user.

    Parameters:
        message_id: The message's id.
        user: The sender.
        type: Meta's message type: "text", "audio", "system", ...
        text: The text of a text message.
    """

    message_id: str
    user: User
    type: str
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Voicemail(Event):
    """A caller whom nobody answered left a message.

    Parameters:
        call_id: The call that nobody took.
        user: The caller.
        media_id: Id for the Media API.
        sha256: Digest of the file, base64.
        mime_type: Such as "audio/ogg; codecs=opus".
        url: Download address, valid for five minutes; needs the token.
    """

    call_id: str
    user: User
    media_id: str | None = None
    sha256: str | None = None
    mime_type: str | None = None
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class UserChanged(Event):
    """A user changed the phone number, and so the user id.

    Parameters:
        user: The user from now on, as far as Meta tells.
        previous_user_id: The user id until now.
        previous_phone: The phone number until now, in digits.
    """

    user: User
    previous_user_id: str | None = None
    previous_phone: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class MessageStatus(Event):
    """A message of ours was sent, delivered, read, or failed.

    Parameters:
        message_id: The message's id.
        status: "sent", "delivered", "read" or "failed", in lower case.
        user: The recipient.
        errors: Why it failed.
    """

    message_id: str
    status: str
    user: User = field(default_factory=User)
    errors: tuple[MetaErrorInfo, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SettingsUpdate(Event):
    """The calling settings of a number changed.

    Parameters:
        calling: The settings, as GET /settings returns them.
    """

    calling: Raw = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AccountUpdate(Event):
    """Meta warned, restricted or changed the account.

    Parameters:
        event: Meta's name, such as "ACCOUNT_RESTRICTION".
        restrictions: What was taken away, if anything.
        violation: What the warning is about (`violation_type`), if it is one.
        remediation: What Meta asks for.
    """

    event: str
    restrictions: tuple[Restriction, ...] = ()
    violation: str | None = None
    remediation: str | None = None


@dataclass(frozen=True, kw_only=True)
class ErrorNotice(Event):
    """Errors that belong to no single call or message, such as 131044 (no payment method).

    Parameters:
        errors: What is wrong.
    """

    errors: tuple[MetaErrorInfo, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UnknownEvent(Event):
    """Something this package does not know, or could not read.

    Parameters:
        kind: What it was: the webhook field and the event or type, such as "calls/hold".
        reason: Why it was not read; empty for a kind that is simply unknown.
    """

    kind: str
    reason: str = ""
