from __future__ import annotations

import pytest

from pipecat_whatsapp.doctor.at_meta import refused
from pipecat_whatsapp.doctor.finding import Verdict
from pipecat_whatsapp.errors import GraphUnreachableError
from pipecat_whatsapp.meta.graph_errors import Answer, refusal


@pytest.mark.parametrize(
    ("status", "code", "verdict", "cure"),
    [
        (401, 190, Verdict.BROKEN, "Use a valid token"),
        (400, 999999, Verdict.BROKEN, "make another token"),
        (500, 2, Verdict.SKIPPED, "later"),
        (429, 613, Verdict.SKIPPED, "Ask for call permissions less often"),
    ],
)
def test_a_token_is_not_blamed_for_what_meta_cannot_do_now(
    status: int, code: int, verdict: Verdict, cure: str
) -> None:
    error = refusal("GET x", Answer(status, {"error": {"message": "Words", "code": code}}))
    found = refused("token", error, "make another token")
    assert found.verdict is verdict
    assert "Words" in found.what
    assert cure in found.cure


def test_no_answer_at_all_is_broken_with_the_error_s_own_advice() -> None:
    error = GraphUnreachableError("No answer came (host h:443): check the network.")
    found = refused("token", error, "make another token")
    assert (found.what, found.cure) == ("No answer came (host h:443)", "check the network")
