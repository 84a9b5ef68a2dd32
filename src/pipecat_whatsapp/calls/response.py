"""What to answer to an HTTP request, free of any web framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class WebhookResponse(NamedTuple):
    """What to answer to an HTTP request.

    Parameters:
        status: HTTP status.
        headers: Response headers.
        body: Response body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def plain(status: int, text: str, **headers: str) -> WebhookResponse:
    """An answer in plain text."""
    headers["content-type"] = "text/plain; charset=utf-8"
    return WebhookResponse(status, headers, text.encode())
