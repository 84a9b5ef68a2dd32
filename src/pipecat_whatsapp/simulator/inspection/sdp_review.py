"""What Meta would think of a bot's SDP, in words for the bot's author."""

from __future__ import annotations

from pipecat_whatsapp.simulator.description import Description
from pipecat_whatsapp.simulator.inspection.record import Remark, Verdict
from pipecat_whatsapp.simulator.inspection.sdp_notes import notes
from pipecat_whatsapp.simulator.rules import RefusalError, judge
from pipecat_whatsapp.simulator.sdp_rules import Rule

_ORDER = (Verdict.WRONG, Verdict.NOTE, Verdict.GOOD)


def review(sdp: str, offer: str | None) -> list[Remark]:
    """Judge an SDP by all that Meta demands, and by what experience recommends.

    Args:
        sdp: The bot's SDP, or any text.
        offer: The offer that it answers; None when it is itself an offer: the bot calls.

    Returns:
        What is wrong, then what should be known, then what is right.
    """
    judged = [_remark(rule, refusal) for rule, refusal in judge(sdp, offer)]
    offered = None if offer is None else Description(offer)
    noted = [Remark(Verdict.NOTE, text) for text in notes(Description(sdp), offered)]
    return sorted([*judged, *noted], key=lambda remark: _ORDER.index(remark.verdict))


def _remark(rule: Rule, refusal: RefusalError | None) -> Remark:
    if refusal is None:
        return Remark(Verdict.GOOD, rule.kept)
    return Remark(Verdict.WRONG, f"{refusal.details} (Meta's error {refusal.code}).")
