"""Reads what the Graph API answers."""

from __future__ import annotations

from typing import Any

from pipecat_whatsapp.errors import GraphUnreachableError
from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.reading import items, token


def first_id(answer: Raw, part: str, what: str) -> str:
    """The id of the call or message that an answer is about.

    Args:
        answer: Meta's answer.
        part: The list that it is in.
        what: The request, for the message.

    Raises:
        GraphUnreachableError: There is none.
    """
    for item in items(answer, part)[:1]:
        if (found := token(item, "id")) is not None:
            return found
    raise unreadable(what)


def unreadable(what: str) -> GraphUnreachableError:
    """The error for an answer that does not tell what was asked."""
    return GraphUnreachableError(
        f"Meta answered {what}, but the answer cannot be read, so what came of it is not known: "
        "check the Graph URL and its version."
    )


def data(answer: Raw, what: str) -> list[Any]:
    """The list that an answer consists of.

    Raises:
        GraphUnreachableError: There is none.
    """
    if "data" not in answer:
        raise unreadable(what)
    return items(answer, "data")
