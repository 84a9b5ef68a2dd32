"""What the Graph API's errors mean, and what to do about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipecat_whatsapp.errors import (
    CallingUnavailableError,
    CallLimitError,
    CallSetupError,
    ConversationClosedError,
    GraphError,
    GraphRequestError,
    GraphUnreachableError,
    InvalidRequestError,
    NotPermittedError,
    PaymentError,
    PermissionRequestError,
    RateLimitError,
    TokenError,
    UncallableError,
    UserBusyError,
)
from pipecat_whatsapp.meta.reading import child, integer, text


@dataclass(frozen=True)
class Refusal:
    """What one of Meta's error codes means.

    Parameters:
        error: What is raised for it.
        advice: What usually helps.
        retryable: Whether the same request may succeed later.
    """

    error: type[GraphRequestError]
    advice: str
    retryable: bool = False


REFUSALS: dict[int, Refusal] = {
    4: Refusal(RateLimitError, "Send fewer requests: the app has used up its share.", True),
    10: Refusal(TokenError, "Give the token's system user the permission that Meta names."),
    100: Refusal(
        InvalidRequestError,
        "Check the id or the parameter that Meta names.",
    ),
    190: Refusal(
        TokenError,
        "Use a valid token: the ones from the API set-up page live for a day, "
        "a system user's token does not expire.",
    ),
    200: Refusal(
        TokenError,
        "Give the token whatsapp_business_messaging and whatsapp_business_management, "
        "and its system user the WhatsApp account.",
    ),
    613: Refusal(RateLimitError, "Ask for call permissions less often.", True),
    2200: Refusal(
        InvalidRequestError,
        "See that the webhook's address can be reached from the internet by https, and that it "
        "knows the verification token.",
    ),
    80007: Refusal(
        RateLimitError, "Send fewer requests: the account has used up its share of the hour.", True
    ),
    130429: Refusal(RateLimitError, "Send fewer messages at a time.", True),
    131009: Refusal(
        UncallableError,
        "Check the value that Meta names; call buttons cannot be sent from this number's country.",
    ),
    131026: Refusal(
        UncallableError, "The message cannot be delivered; the user's WhatsApp may be too old."
    ),
    131030: Refusal(
        UncallableError, "Add the user's number to the test number's list of recipients."
    ),
    131044: Refusal(PaymentError, "Add a payment method to the WhatsApp Business Account."),
    131047: Refusal(
        ConversationClosedError,
        "Send a template instead: free messages need a message or call from the user within 24 h.",
    ),
    131055: Refusal(
        CallingUnavailableError,
        "Switch SIP off in the number's calling settings: with it, Meta refuses these calls.",
    ),
    131056: Refusal(RateLimitError, "Send this user fewer messages at a time.", True),
    131062: Refusal(
        UncallableError, "Address the user by phone number: a user id is not allowed here."
    ),
    132000: Refusal(InvalidRequestError, "Fill every place of the template, and no more."),
    132001: Refusal(
        InvalidRequestError, "Use the name and language of a template that Meta has approved."
    ),
    138000: Refusal(CallingUnavailableError, "Switch calling on in the number's settings."),
    138001: Refusal(
        UncallableError,
        "This user cannot be called: no WhatsApp, old terms of service, or an old app.",
    ),
    138002: Refusal(
        CallLimitError,
        "The number has as many calls as Meta allows: wait until some have ended.",
        True,
    ),
    138003: Refusal(UserBusyError, "Wait until the other call with this user has ended."),
    138004: Refusal(InvalidRequestError, "Check the SDP, and try again later.", True),
    138005: Refusal(
        CallLimitError,
        "The number has placed as many calls as Meta allows for a day: try again later.",
        True,
    ),
    138006: Refusal(NotPermittedError, "Ask the user for permission to call first."),
    # It comes with HTTP 500, but what came too late does not come in time by coming again.
    138007: Refusal(CallSetupError, "Answer sooner: the SDP was not applied in time."),
    138008: Refusal(
        InvalidRequestError,
        "Check the SDP: one sha-256 fingerprint, and lines that end in CRLF.",
    ),
    138009: Refusal(
        PermissionRequestError,
        "Wait: the user was asked for permission to call as often as Meta allows.",
    ),
    138011: Refusal(
        PermissionRequestError,
        "Have an open conversation with the user before you ask for permission to call.",
    ),
    138012: Refusal(
        CallLimitError,
        "This user was called as often as Meta allows for a day: the details name the time.",
    ),
    138013: Refusal(
        CallingUnavailableError,
        "Calls to users are not possible for this number or country; users can still call you.",
    ),
    138014: Refusal(
        CallingUnavailableError,
        "Meta has paused calls of this number, because users found them bad.",
    ),
    138015: Refusal(
        CallingUnavailableError,
        "Raise the messaging limit to 2000 users: below it, calling cannot be switched on.",
    ),
    138017: Refusal(
        PermissionRequestError, "No need to ask: the user has given a permanent permission."
    ),
    138018: Refusal(
        CallingUnavailableError, "Subscribe the app to the webhook field `calls` first."
    ),
    138019: Refusal(CallSetupError, "The user's app could not set the call up."),
    138020: Refusal(CallSetupError, "The user's app could not reach Meta's relay."),
    138021: Refusal(
        CallSetupError,
        "The user's app got no sound from us: check that UDP to Meta gets out.",
    ),
    138022: Refusal(CallSetupError, "The user's app sent no sound for too long."),
    138023: Refusal(
        CallSetupError,
        "The call was accepted, but no sound flowed: check that UDP to Meta gets out.",
    ),
}
"""By Meta's code. Source: Meta, calling, troubleshooting; Cloud API, error codes."""

MAX_WORDS = 500

_MOST = 65_536
_LONG_NUMBER = re.compile(r"\+\d[\d ().-]{5,}\d|\d[\d ]{5,}\d")
_SECRETS = re.compile(r"\bEA[A-Za-z0-9]{20,}|\b[0-9a-f]{32}\b")


@dataclass(frozen=True)
class Answer:
    """An answer of the Graph API, or of something before it.

    Parameters:
        status: HTTP status.
        body: The body; empty when it was not a JSON object.
        retry_after: Seconds that Meta asked us to wait.
        secrets: The request's tokens, which must not come back out of Meta's words.
    """

    status: int
    body: dict[str, Any] = field(repr=False)
    retry_after: float = 0.0
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether Meta did what was asked."""
        told = self.body.get("success") is not False and not child(self.body, "error")
        return 200 <= self.status < 300 and told


def advice_for(code: int | None) -> str:
    """What usually helps against one of Meta's error codes; empty when nothing is known."""
    known = REFUSALS.get(code or 0)
    return known.advice if known else ""


def refusal(what: str, answer: Answer) -> GraphError:
    """The error for an answer that is not a success.

    Args:
        what: The request, for the message.
        answer: What came back.
    """
    error, status = child(answer.body, "error"), answer.status
    if status >= 500 and not error:
        return GraphUnreachableError(
            f"Something before the Graph API answered {what} with HTTP {status}, "
            "so Meta may or may not have acted on it: try again later.",
            retry_after=answer.retry_after,
        )
    code = integer(error, "code") or 0
    words = masked(_words(error), answer.secrets)
    known = REFUSALS.get(code) or _by_status(status)
    said = f"HTTP {status}, code {code}" if code else f"HTTP {status}"
    return known.error(
        f"Meta refused {what} ({said}): {words or 'no reason given'}. {known.advice}".strip(),
        status=status,
        code=code,
        meta_message=words,
        advice=known.advice,
        retryable=known.retryable,
        retry_after=answer.retry_after,
    )


def masked(words: str, secrets: Iterable[str] = ()) -> str:
    """Words that may be logged: on one line, bounded, without long numbers, tokens and secrets."""
    for secret in secrets:
        words = words.replace(secret, "***")
    words = _SECRETS.sub("***", words)
    words = _LONG_NUMBER.sub(_without_digits, " ".join(words.split()))
    return words[:MAX_WORDS].rstrip(". ")


def _without_digits(number: re.Match[str]) -> str:
    """A number of 7 digits or more with its last two only."""
    shown = number[0]
    digits = [at for at, character in enumerate(shown) if character.isdigit()]
    if len(digits) < 7:
        return shown
    return re.sub(r"\d", "*", shown[: digits[-2]]) + shown[digits[-2] :]


def _words(error: Mapping[str, Any]) -> str:
    parts = (
        text(error, "message", _MOST),
        text(error, "error_user_msg", _MOST),
        text(child(error, "error_data"), "details", _MOST),
    )
    return " - ".join(dict.fromkeys(part for part in parts if part))


def _by_status(status: int) -> Refusal:
    """What a refusal means whose code is not known."""
    if status == 429:
        return Refusal(RateLimitError, "Send fewer requests.", retryable=True)
    retryable = status >= 500
    return Refusal(GraphRequestError, _ADVICE_BY_STATUS.get(status, ""), retryable)


_ADVICE_BY_STATUS = {
    **dict.fromkeys(range(300, 400), "Check the Graph URL: the Graph API does not redirect."),
    401: "Check the token, and that calling is switched on for the number.",
    404: "Check the Graph URL, its version and the phone number id.",
}
