"""The Graph API besides calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.requests import Download, Question
from pipecat_whatsapp.simulator.rules import RefusalError

if TYPE_CHECKING:
    from pipecat_whatsapp.simulator.graph import SimulatedMeta


class Api:
    """Answers every request that is not about a number's calls.

    Args:
        meta: Meta's side, whose account and whose state are asked for.
    """

    def __init__(self, meta: SimulatedMeta) -> None:
        self._meta = meta

    async def answer(self, question: Question) -> Json | Download:
        """Do what a request asks for.

        Returns:
            The JSON of the answer, or a file.

        Raises:
            RefusalError: Meta refuses the request.
        """
        raise RefusalError(f"Unknown path {question.path}", code=2500)
