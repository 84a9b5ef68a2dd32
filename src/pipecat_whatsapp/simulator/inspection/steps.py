"""Reads a call's steps out of what Meta's side received and sent: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import Delivery, GraphRequest
from pipecat_whatsapp.simulator.inspection.record import Party, Step
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.webhooks import SIGNATURE

NO_ANSWER = "no answer"
NOT_SENT = "not sent"


def read(activity: GraphRequest | Delivery, at: float) -> Step:
    """The step that a request or a delivery is.

    Args:
        activity: What happened.
        at: When it began, s since the record did.
    """
    return _delivery(activity, at) if isinstance(activity, Delivery) else _request(activity, at)


def session_sdp(activity: GraphRequest | Delivery) -> str | None:
    """The SDP with which a bot answers or offers a call, be it refused."""
    if isinstance(activity, Delivery):
        return None
    session = activity.body.get("session")
    sdp = session.get("sdp") if isinstance(session, dict) else None
    return sdp if isinstance(sdp, str) else None


def names(activity: GraphRequest | Delivery, user: User) -> bool:
    """Whether a user is named anywhere in what was sent."""
    known = {user.phone, f"+{user.phone}", user.user_id, user.parent_user_id} - {None, "+None"}
    if isinstance(activity, Delivery):
        return not known.isdisjoint(_texts(_webhook_body(activity)))
    return not known.isdisjoint([*_texts(activity.body), *activity.query.values()])


def _delivery(delivery: Delivery, at: float) -> Step:
    again = f" (try {delivery.attempt})" if delivery.attempt > 1 else ""
    answer = NO_ANSWER if delivery.status is None else str(delivery.status)
    return Step(
        at,
        Party.WHATSAPP,
        Party.BOT,
        f"{delivery.kind} webhook{again}",
        outcome=answer if delivery.attempt else NOT_SENT,
        ok=delivery.status == 200,
        took=round(delivery.took, 4) if delivery.attempt else None,
        detail={
            "POST": delivery.url,
            SIGNATURE: _signature(delivery),
            "body": _webhook_body(delivery),
        },
    )


def _signature(delivery: Delivery) -> str:
    """The signature, and what the bot made of it."""
    if not delivery.signature:
        return "none"
    verdict = {401: "refused", 200: "accepted"}.get(delivery.status or 0, "no verdict")
    return f"{delivery.signature} ({verdict})"


def _webhook_body(delivery: Delivery) -> object:
    try:
        body: object = json.loads(delivery.body)
    except ValueError:
        return delivery.body.decode(errors="replace")
    return body


def _request(request: GraphRequest, at: float) -> Step:
    answer = NO_ANSWER if request.status is None else str(request.status)
    code = "" if request.error_code is None else f", error {request.error_code}"
    sent: Json = {request.method: request.path}
    if request.query:
        sent["query"] = dict(request.query)
    if request.body:
        sent["body"] = request.body
    return Step(
        at,
        Party.BOT,
        Party.WHATSAPP,
        request.action or f"{request.method} {request.path}",
        outcome=answer + code,
        ok=request.status is not None and request.status < 400,
        took=round(request.took, 4),
        detail=sent | {"answer": request.answer},
    )


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
