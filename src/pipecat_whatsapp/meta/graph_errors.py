"""What the Graph API's errors mean, and what to do about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipecat_whatsapp.errors import GraphError, GraphRequestError, GraphUnreachableError
from pipecat_whatsapp.meta.reading import child, integer, text

ADVICE: dict[int, str] = {
    100: "Check the parameter that the details name; for a call this is mostly the SDP.",
    190: "Use a valid token: the ones from the API set-up page live for a day, "
    "a system user's token does not expire.",
    613: "Ask for call permissions less often.",
    131009: "Call buttons cannot be sent from this number's country.",
    131026: "The message cannot be delivered; the user's WhatsApp may be too old.",
    131030: "Add the user's number to the test number's list of recipients.",
    131044: "Add a payment method to the WhatsApp Business Account.",
    131055: "Switch SIP off in the number's calling settings: with it, Meta refuses these calls.",
    131062: "Address the user by phone number: a user id is not allowed here.",
    138000: "Switch calling on in the number's settings.",
    138001: "This user cannot be called: no WhatsApp, old terms of service, or an old app.",
    138002: "The number has as many calls as Meta allows: wait until some have ended.",
    138003: "Wait until the other call with this user has ended.",
    138004: "Check the SDP, and try again later.",
    138005: "The number has placed as many calls as Meta allows for a day: try again later.",
    138006: "Ask the user for permission to call first.",
    138007: "Answer sooner: the SDP was not applied in time.",
    138008: "Check the SDP: one sha-256 fingerprint, and lines that end in CRLF.",
    138009: "Wait: the user was asked for permission to call as often as Meta allows.",
    138011: "Have an open conversation with the user before you ask for permission to call.",
    138012: "This user was called as often as Meta allows for a day: the details name the time.",
    138013: "Calls to users are not possible for this number or country; users can still call you.",
    138014: "Meta has paused calls of this number, because users found them bad.",
    138015: "Raise the messaging limit to 2000 users: below it, calling cannot be switched on.",
    138017: "No need to ask: the user has given a permanent permission.",
    138018: "Subscribe the app to the webhook field `calls` first.",
    138019: "The caller's app could not set the call up.",
    138020: "The caller's app could not reach Meta's relay.",
    138021: "The caller's app got no sound from us: check that UDP to Meta gets out.",
    138022: "The caller's app sent no sound for too long.",
    138023: "The call was accepted, but no sound flowed: check that UDP to Meta gets out.",
}
"""By Meta's code, what usually helps. Source: Meta, calling, troubleshooting."""

MAX_WORDS = 500

_DIGITS = re.compile(r"\d{5,}(?=\d\d)")


@dataclass(frozen=True)
class Answer:
    """An answer of the Graph API, or of something before it.

    Parameters:
        status: HTTP status.
        body: The body; empty when it was not a JSON object.
        retry_after: Seconds that Meta asked us to wait.
        token: The token of the request, which must not come back out of Meta's words.
    """

    status: int
    body: dict[str, Any] = field(repr=False)
    retry_after: float = 0.0
    token: str = field(default="", repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether Meta did what was asked."""
        told = self.body.get("success") is not False and not child(self.body, "error")
        return 200 <= self.status < 300 and told


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
    words = masked(_words(error), answer.token)
    advice = ADVICE.get(code) or _general_advice(status)
    said = f"HTTP {status}, code {code}" if code else f"HTTP {status}"
    return GraphRequestError(
        f"Meta refused {what} ({said}): {words or 'no reason given'}. {advice}".strip(),
        status=status,
        code=code,
        meta_message=words,
        advice=advice,
        retryable=status == 429 or status >= 500,
        retry_after=answer.retry_after,
    )


def masked(words: str, secret: str = "") -> str:
    """Words that may be logged: on one line, bounded, without long numbers and the token."""
    if secret:
        words = words.replace(secret, "***")
    words = _DIGITS.sub(lambda match: "*" * len(match[0]), " ".join(words.split()))
    return words[:MAX_WORDS].rstrip(". ")


def _words(error: Mapping[str, Any]) -> str:
    parts = (
        text(error, "message", MAX_WORDS),
        text(error, "error_user_msg", MAX_WORDS),
        text(child(error, "error_data"), "details", MAX_WORDS),
    )
    return " - ".join(dict.fromkeys(part for part in parts if part))


def _general_advice(status: int) -> str:
    if status == 401:
        return "Check the token, and that calling is switched on for the number."
    if 300 <= status < 400:
        return "Check the Graph URL: the Graph API does not redirect."
    if status == 404:
        return "Check the Graph URL, its version and the phone number id."
    return ""
