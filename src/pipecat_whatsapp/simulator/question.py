"""A request to the Graph API as it came in, and as it is kept with what became of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError

MAX_BODY = 64 * 1024
"""Bytes of JSON that are read at most."""

MAX_UPLOAD = 20 * 1024 * 1024
"""Bytes of a form that are read at most."""

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_CALLS_PATH = re.compile(r"/v\d+\.\d+/([^/]+)/calls")

_Form = Mapping[str, str | bytes | bytearray | web.FileField]


@dataclass(frozen=True)
class GraphRequest:
    """A request that Graph received, and what became of it.

    Parameters:
        at: When it arrived, monotonic seconds.
        method: HTTP method.
        path: URL path.
        phone_number_id: The number in the path; None for another kind of path.
        action: What was asked for: the body's `action` for a number's calls, empty when it has
            none; else the end of the path, such as "messages".
        call_id: The body's `call_id`; for "connect" the id of the call that was placed.
        body: The JSON object sent; empty when it was none.
        status: HTTP status of the answer; None when no answer was sent.
        error_code: Meta's code in the answer; None for a success.
        took: Seconds until it was answered, or dropped.
        query: The URL's query.
        answer: The JSON object of the answer, be it that it was dropped; empty for a file.
    """

    at: float
    method: str
    path: str
    phone_number_id: str | None
    action: str
    call_id: str | None
    body: Json
    status: int | None
    error_code: int | None
    took: float = 0.0
    query: Mapping[str, str] = field(default_factory=dict)
    answer: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Download:
    """An answer that is a file.

    Parameters:
        data: The file.
        mime_type: Its `Content-Type`.
    """

    data: bytes = field(repr=False)
    mime_type: str


@dataclass(frozen=True)
class Question:
    """A request as it came in, before anything in it was believed.

    Parameters:
        method: HTTP method.
        path: URL path.
        authorization: The header, empty when there was none.
        body: The JSON object sent; None when it was none.
        too_long: Whether the body was longer than Graph reads.
        query: The URL's query.
        form: The fields of a form; empty when it was none.
    """

    method: str
    path: str
    authorization: str
    body: Json | None
    too_long: bool
    query: Mapping[str, str] = field(default_factory=dict)
    form: _Form = field(default_factory=dict)

    @property
    def phone_number_id(self) -> str | None:
        """The number in the path, if the path is that of a number's calls."""
        found = _CALLS_PATH.fullmatch(self.path)
        return found[1] if found else None

    def json_object(self) -> Json:
        """The JSON object sent.

        Raises:
            RefusalError: It was none.
        """
        if self.body is None:
            raise RefusalError("The body is not a JSON object")
        return self.body

    def text(self, field: str) -> str | None:
        """A field of the body, if it is a string."""
        value = (self.body or {}).get(field)
        return value if isinstance(value, str) else None

    @property
    def action(self) -> str:
        """What is asked for, see `GraphRequest`."""
        if self.phone_number_id is not None:
            return self.text("action") or ""
        return self.path.rpartition("/")[2]

    def record(
        self,
        *,
        at: float,
        status: int | None,
        error_code: int | None,
        answer: Json | None = None,
    ) -> GraphRequest:
        """This request with what became of it by now.

        Args:
            at: When it arrived, monotonic seconds.
            status: HTTP status of the answer; None when there is none.
            error_code: Meta's code in the answer.
            answer: The JSON object of the answer; None for a file.
        """
        placed = (answer or {}).get("calls") or [{}]
        return GraphRequest(
            at=at,
            method=self.method,
            path=self.path,
            phone_number_id=self.phone_number_id,
            action=self.action,
            call_id=placed[0].get("id") or self.text("call_id"),
            body=self.body or {},
            status=status,
            error_code=error_code,
            took=time.monotonic() - at,
            query=self.query,
            answer=answer or {},
        )


async def read(request: web.Request) -> Question:
    """Read a request without judging it."""
    raw, too_long = b"", False
    form: _Form = {}
    try:
        if request.content_type in _FORMS:
            form = await _form(request)
        else:
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        too_long = True
    return Question(
        method=request.method,
        path=request.path,
        authorization=request.headers.get("Authorization", ""),
        body=_json_object(raw) if request.content_type == "application/json" else None,
        too_long=too_long or len(raw) > MAX_BODY,
        query=dict(request.query),
        form=form,
    )


async def _form(request: web.Request) -> _Form:
    """The fields of a form; none of one that cannot be read, such as one without a boundary."""
    try:
        return dict(await request.post())
    except (ValueError, LookupError):
        return {}


def _json_object(raw: bytes) -> Json | None:
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> None:
    """NaN and the like, which Python reads and JSON does not know (RFC 8259 section 6)."""
    raise ValueError(name)
