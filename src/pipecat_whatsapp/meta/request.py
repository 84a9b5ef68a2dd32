"""What is sent to the Graph API, however often it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_ID_IN_PATH = re.compile(r"[^/]*[0-9][^/]*")


@dataclass(frozen=True)
class Upload:
    """A file to send as a form.

    Parameters:
        fields: The form's other fields.
        data: The file.
        mime_type: What the file is.
        seconds: How long sending it may take.
    """

    fields: Mapping[str, str]
    data: bytes = field(repr=False)
    mime_type: str
    seconds: float

    def form(self) -> aiohttp.FormData:
        """The form, for one attempt."""
        form = aiohttp.FormData(self.fields)
        form.add_field("file", self.data, filename="file", content_type=self.mime_type)
        return form


@dataclass(frozen=True)
class Request:
    """One request, however often it is sent.

    Parameters:
        method: HTTP method.
        path: What follows the version.
        json: The body.
        params: The query.
        on_sent: Called when the request is on its way.
        upload: A file to send instead of a JSON body.
        token: Another token than the client's.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None
    params: Mapping[str, str] | None
    on_sent: Callable[[], None]
    upload: Upload | None = None
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self._action or f"{self.method} {self.path}"

    @property
    def kind(self) -> str:
        """What is asked, whomever it is about: one of a few words."""
        return self._action or f"{self.method} {_ID_IN_PATH.sub('{id}', self.path)}"

    @property
    def _action(self) -> str:
        action: str = (self.json or {}).get("action", "")
        return action
