"""What Meta makes of a business's SDP, be it offer or answer: pure checks."""

from __future__ import annotations

from collections.abc import Iterator

from pipecat_whatsapp.simulator.description import Description
from pipecat_whatsapp.simulator.sdp_rules import (
    INVALID_PARAMETER,
    OF_BOTH,
    OF_OFFERS,
    Rule,
    of_answers,
)


class RefusalError(Exception):
    """Meta refuses a Graph request.

    Args:
        details: What is wrong, for `error_data.details`.
        code: Meta's error code.
        status: HTTP status of the answer.
        subcode: Meta's `error_subcode`, where there is one.
    """

    def __init__(
        self,
        details: str,
        *,
        code: int = INVALID_PARAMETER,
        status: int = 400,
        subcode: int | None = None,
    ) -> None:
        super().__init__(details)
        self.details = details
        self.code = code
        self.status = status
        self.subcode = subcode


def check_answer(answer: str, offer: str) -> None:
    """Check a business's SDP answer as Meta does (Meta: mandatory media rules, error codes).

    Args:
        answer: The SDP of `pre_accept` or `accept`.
        offer: The SDP of the connect webhook that it answers.

    Raises:
        RefusalError: With code 138008 for a wrong fingerprint, else 100.
    """
    _demand_all(answer, offer)


def check_offer(offer: str) -> None:
    """Check a business's SDP offer as Meta does (Meta: mandatory media rules, error codes).

    Args:
        offer: The SDP of `connect`. Codecs that WhatsApp does not know do no harm.

    Raises:
        RefusalError: With code 138008 for a wrong fingerprint, else 100.
    """
    _demand_all(offer, None)


def judge(sdp: str, offer: str | None) -> Iterator[tuple[Rule, RefusalError | None]]:
    """Judge a business's SDP by every rule, in the order in which Meta looks.

    Rules that mean nothing for this SDP, because of another that it breaks, are passed over.

    Args:
        sdp: The SDP, or any text.
        offer: The offer that it answers; None when it is itself an offer.

    Yields:
        Each rule, with the refusal where it is broken.
    """
    description = Description(sdp)
    special = OF_OFFERS if offer is None else of_answers(Description(offer))
    mute: set[Rule] = set()
    for rule in (*OF_BOTH, *special):
        if rule.presumes in mute:
            mute.add(rule)
            continue
        refusal = _refusal(rule, description)
        if refusal:
            mute.add(rule)
        yield rule, refusal


def _demand_all(sdp: str, offer: str | None) -> None:
    for _, refusal in judge(sdp, offer):
        if refusal:
            raise refusal


def _refusal(rule: Rule, sdp: Description) -> RefusalError | None:
    if rule.holds(sdp):
        return None
    words = rule.broken if isinstance(rule.broken, str) else rule.broken(sdp)
    return RefusalError(words, code=rule.code)
