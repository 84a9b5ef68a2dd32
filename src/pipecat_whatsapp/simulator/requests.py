"""Graph API requests about calls: read leniently, checked strictly, then carried out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from pipecat_whatsapp.simulator.address import Address, read_address
from pipecat_whatsapp.simulator.call import MetaCall, UserCall
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError, check_offer
from pipecat_whatsapp.simulator.settings import ACTIONS, Account
from pipecat_whatsapp.simulator.tokens import MESSAGING, NO_RIGHT, Tokens

MAX_BODY = 64 * 1024
MAX_UPLOAD = 20 * 1024 * 1024
MAX_OPAQUE_DATA = 512
MAX_PURPOSE = 250
LANGUAGES = frozenset(
    {
        *("en", "en_AU", "en_CA", "en_GB", "en_IN", "en_NZ", "en_US"),
        *("nl", "fr", "de", "hi", "it", "kn", "pt", "es", "es_ES", "te", "vi"),
    }
)
"""Languages in which Meta announces a recording."""

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_CAPTURES = ("recording", "transcription")
_CALLS_PATH = re.compile(r"/v\d+\.\d+/([^/]+)/calls")


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
    form: Mapping[str, str | bytes | bytearray | web.FileField] = field(default_factory=dict)

    @property
    def phone_number_id(self) -> str | None:
        """The number in the path, if the path is that of a number's calls."""
        found = _CALLS_PATH.fullmatch(self.path)
        return found[1] if found else None

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
    raw, form, too_long = b"", {}, False
    try:
        if request.content_type in _FORMS:
            form = dict(await request.post())
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


def check(question: Question, account: Account, tokens: Tokens) -> None:
    """Check all of a request that can be checked without knowing the call.

    Raises:
        RefusalError: Meta would not look further (Meta: error codes).
    """
    if MESSAGING not in tokens.authenticate(question.authorization).scopes:
        raise RefusalError(f"The token has no right {MESSAGING}", code=NO_RIGHT, status=403)
    if question.method != "POST" or question.phone_number_id != account.phone_number_id:
        raise RefusalError("No such object, or no right to use it so", subcode=33)
    if question.too_long:
        raise RefusalError(f"The body is longer than {MAX_BODY} bytes", status=413)
    _check_body(question)


@dataclass(frozen=True)
class ConnectOrder:
    """A checked request to call a user.

    Parameters:
        address: Whom to call.
        offer_sdp: The business's offer.
        extras: What the call's webhooks carry besides.
        captures: What Meta is to make of the call.
    """

    address: Address
    offer_sdp: str
    extras: dict[str, str]
    captures: frozenset[str]


def read_connect(question: Question) -> ConnectOrder:
    """Read a checked request to call a user.

    Raises:
        RefusalError: It names nobody, or its SDP or something else in it cannot be used.
    """
    address = read_address(question.body or {})
    sdp = _session_sdp(question, "offer")
    check_offer(sdp)
    return ConnectOrder(
        address=address,
        offer_sdp=sdp,
        extras=_opaque_data(question),
        captures=_captures(question),
    )


def carry_out(question: Question, call: MetaCall) -> None:
    """Do to the call what a checked request asks for.

    Raises:
        RefusalError: The request does not fit the call's state, or its SDP cannot be used.
    """
    if question.action == "terminate":
        call.terminate()
        return
    if not isinstance(call, UserCall):
        raise RefusalError(f"A call that the business placed knows no {question.action}")
    match question.action:
        case "pre_accept":
            call.pre_accept(_session_sdp(question, "answer"))
        case "accept":
            captures = _captures(question)
            call.accept(_session_sdp(question, "answer"))
            call.captures = captures
            call.extras.update(_opaque_data(question))
        case "reject":
            call.reject()


def _json_object(raw: bytes) -> Json | None:
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> None:
    """NaN and the like, which Python reads and JSON does not know (RFC 8259 section 6)."""
    raise ValueError(name)


def _check_body(question: Question) -> None:
    if question.body is None:
        raise RefusalError("The body is not a JSON object")
    if question.text("messaging_product") != "whatsapp":
        raise RefusalError('messaging_product must be "whatsapp"')
    if question.action not in ACTIONS:
        raise RefusalError(f"action must be one of {', '.join(sorted(ACTIONS))}")
    if question.action != "connect" and not question.text("call_id"):
        raise RefusalError("call_id is missing")
    opaque = (question.body or {}).get("biz_opaque_callback_data", "")
    if not isinstance(opaque, str) or len(opaque) > MAX_OPAQUE_DATA:
        details = f"biz_opaque_callback_data must be a text of at most {MAX_OPAQUE_DATA} characters"
        raise RefusalError(details)


def _opaque_data(question: Question) -> dict[str, str]:
    opaque = question.text("biz_opaque_callback_data")
    return {} if opaque is None else {"biz_opaque_callback_data": opaque}


def _captures(question: Question) -> frozenset[str]:
    """Which of recording and transcription are asked for (Meta: call recording)."""
    body = question.body or {}
    given = {kind: body[kind] for kind in _CAPTURES if kind in body}
    for kind, value in given.items():
        _check_capture(kind, value)
    return frozenset(kind for kind, value in given.items() if value["status"] == "ENABLED")


def _check_capture(kind: str, value: object) -> None:
    if not isinstance(value, dict) or value.get("status") not in ("ENABLED", "DISABLED"):
        raise RefusalError(f"{kind}.status must be ENABLED or DISABLED")
    purpose = value.get("purpose", "")
    if not isinstance(purpose, str) or len(purpose) > MAX_PURPOSE:
        details = f"{kind}.purpose must be a text of at most {MAX_PURPOSE} characters"
        raise RefusalError(details)
    if value.get("announcement_language", "en_US") not in LANGUAGES:
        raise RefusalError(f"{kind}.announcement_language is not supported")


def _session_sdp(question: Question, sdp_type: str) -> str:
    session = (question.body or {}).get("session")
    if not isinstance(session, dict):
        raise RefusalError("session is missing")
    if session.get("sdp_type") != sdp_type:
        raise RefusalError(f'sdp_type must be "{sdp_type}"')
    sdp = session.get("sdp")
    if not isinstance(sdp, str):
        raise RefusalError("session.sdp is missing")
    return sdp
