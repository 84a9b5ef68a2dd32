"""Call permissions, in the forms of Meta's guide and of its generated reference."""

from __future__ import annotations

from typing import Any

import pytest

from pipecat_whatsapp.errors import GraphUnreachableError, InvalidRequestError, RateLimitError
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.permissions import (
    ActionLimit,
    CallPermissions,
    PermissionStatus,
    read_permissions,
)
from scripted_graph import NUMBER, PHONE, USER_ID, ScriptedGraph, answer, error

NONE, TEMPORARY, PERMANENT = PermissionStatus

GUIDE = {
    "messaging_product": "whatsapp",
    "permission": {"status": "temporary", "expiration_time": 1790604800},
    "actions": [
        {
            "action_name": "send_call_permission_request",
            "can_perform_action": True,
            "limits": [
                {"time_period": "PT24H", "max_allowed": 1, "current_usage": 0},
                {"time_period": "P7D", "max_allowed": 2, "current_usage": 1},
            ],
        },
        {
            "action_name": "start_call",
            "can_perform_action": False,
            "limits": [
                {
                    "time_period": "PT24H",
                    "max_allowed": 100,
                    "current_usage": 100,
                    "limit_expiration_time": 1790050000,
                }
            ],
        },
    ],
}


async def test_the_guides_form_is_read_whole(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [answer(GUIDE)]
    assert await graph.permissions.read(NUMBER, User(PHONE, USER_ID)) == CallPermissions(
        status=TEMPORARY,
        expires_at=1790604800,
        can_call=False,
        can_request=True,
        call_limits=(ActionLimit("PT24H", 100, 100, 1790050000),),
        request_limits=(ActionLimit("PT24H", 1, 0), ActionLimit("P7D", 2, 1)),
    )
    assert scripted.heard[0][:2] == ("GET", f"/v25.0/{NUMBER}/call_permissions?user_wa_id={PHONE}")


async def test_a_user_without_a_number_is_asked_about_by_user_id(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer(GUIDE)]
    await graph.permissions.read(NUMBER, User(user_id=USER_ID))
    assert scripted.heard[0][1].endswith(f"?recipient={USER_ID}")


def permission(**fields: Any) -> CallPermissions:
    return read_permissions({"permission": fields})


@pytest.mark.parametrize(
    ("fields", "status", "expires_at"),
    [
        ({"status": "no_permission"}, NONE, None),
        ({"status": "NO_PERMISSION"}, NONE, None),
        ({"status": "temporary", "expiration_time": 1790604800}, TEMPORARY, 1790604800),
        ({"status": "temporary", "expiration": "1790604800"}, TEMPORARY, 1790604800),
        # Meta tells some times in milliseconds.
        ({"status": "temporary", "expiration_time": 1790604800000}, TEMPORARY, 1790604800),
        ({"status": "temporary", "expiration_time": 999999999999999}, TEMPORARY, None),
        ({"status": "permanent"}, PERMANENT, None),
        ({"status": "granted"}, PERMANENT, None),
        ({"status": "granted", "expiration": 1790604800}, TEMPORARY, 1790604800),
        ({"status": "pending"}, NONE, None),
        ({"status": "denied"}, NONE, None),
        ({"status": "expired", "expiration": 1780000000}, NONE, None),
        ({"status": "something_new"}, NONE, None),
        ({}, NONE, None),
    ],
)
def test_every_status_of_both_forms(
    fields: dict[str, Any], status: PermissionStatus, expires_at: int | None
) -> None:
    read = permission(**fields)
    assert (read.status, read.expires_at) == (status, expires_at)


def test_without_actions_the_status_tells_what_may_be_done() -> None:
    told = [permission(status=status.value) for status in (NONE, TEMPORARY, PERMANENT)]
    assert [(read.can_call, read.can_request) for read in told] == [
        (False, True),
        (True, True),
        (True, False),
    ]


def test_what_meta_says_about_an_action_counts_more_than_the_status() -> None:
    action = {"action_name": "start_call", "can_perform_action": True}
    assert read_permissions({"permission": {}, "actions": [action]}).can_call


@pytest.mark.parametrize(
    ("limits", "read"),
    [
        ("", ()),
        (None, ()),
        ([None, 7, {}], ()),
        ([{"time_period": "24h", "max_allowed": 5}], (ActionLimit("PT24H", 5, 0),)),
        ([{"time_period": "7d", "max_allowed": "2"}], (ActionLimit("P7D", 2, 0),)),
        ([{"time_period": "P1M", "max_allowed": 9}], (ActionLimit("P1M", 9, 0),)),
        ([{"max_allowed": 9}], (ActionLimit("", 9, 0),)),
    ],
)
def test_limits_are_read_in_every_form(limits: Any, read: tuple[ActionLimit, ...]) -> None:
    action = {"action_name": "start_call", "limits": limits}
    assert read_permissions({"permission": {}, "actions": [action, "?"]}).call_limits == read


async def test_reads_are_repeated_and_their_limit_has_an_error_of_its_own(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [error(429, 613), answer(GUIDE)]
    await graph.permissions.read(NUMBER, User(PHONE))
    assert len(scripted.heard) == 2
    scripted.steps = [error(429, 613)]
    with pytest.raises(RateLimitError):
        await graph.permissions.read(NUMBER, User(PHONE))


async def test_an_answer_about_something_else_is_no_permission(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"success": True})]
    with pytest.raises(GraphUnreachableError):
        await graph.permissions.read(NUMBER, User(PHONE))


async def test_nobody_cannot_be_asked_about(scripted: ScriptedGraph, graph: GraphClient) -> None:
    with pytest.raises(InvalidRequestError):
        await graph.permissions.read(NUMBER, User())
    assert scripted.heard == []
