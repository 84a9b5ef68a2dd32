from __future__ import annotations

import pytest

from pipecat_whatsapp.meta.permissions import PermissionStatus, read_permissions
from pipecat_whatsapp.simulator.permissions import Permissions
from pipecat_whatsapp.simulator.permissions_api import FORMS, PermissionsApi
from simulated_account import DAY, WEEK, Clock, refused
from simulated_business import ADA

QUERY = {"user_wa_id": str(ADA.phone)}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def permissions(clock: Clock) -> Permissions:
    return Permissions(clock=clock)


@pytest.fixture
def api(permissions: Permissions, clock: Clock) -> PermissionsApi:
    return PermissionsApi(permissions, clock)


def test_as_the_guide_has_it(api: PermissionsApi, permissions: Permissions, clock: Clock) -> None:
    permissions.grant(ADA)
    permissions.note_request(ADA)
    assert api.read(QUERY) == {
        "messaging_product": "whatsapp",
        "permission": {"status": "temporary", "expiration_time": int(clock()) + WEEK},
        "actions": [
            {
                "action_name": "send_call_permission_request",
                "can_perform_action": False,
                "limits": [
                    {
                        "time_period": "PT24H",
                        "max_allowed": 1,
                        "current_usage": 1,
                        "limit_expiration_time": int(clock()) + DAY,
                    },
                    {"time_period": "P7D", "max_allowed": 2, "current_usage": 1},
                ],
            },
            {
                "action_name": "start_call",
                "can_perform_action": True,
                "limits": [{"time_period": "PT24H", "max_allowed": 100, "current_usage": 0}],
            },
        ],
    }


def test_as_the_reference_has_it(
    api: PermissionsApi, permissions: Permissions, clock: Clock
) -> None:
    api.form = "reference"
    assert api.read(QUERY)["permission"] == {"status": "denied"}
    permissions.grant(ADA)
    told = api.read(QUERY)
    assert told["permission"] == {"status": "granted", "expiration": int(clock()) + WEEK}
    limits = [limit["time_period"] for action in told["actions"] for limit in action["limits"]]
    assert limits == ["24h", "7d", "24h"]


@pytest.mark.parametrize("form", FORMS)
def test_the_client_reads_both_forms_alike(
    api: PermissionsApi, permissions: Permissions, clock: Clock, form: str
) -> None:
    api.form = form
    nothing = read_permissions(api.read(QUERY))
    assert (nothing.status, nothing.expires_at) == (PermissionStatus.NONE, None)
    assert (nothing.can_call, nothing.can_request) == (False, True)
    permissions.grant(ADA)
    temporary = read_permissions(api.read(QUERY))
    assert temporary.status is PermissionStatus.TEMPORARY
    assert temporary.expires_at == int(clock()) + WEEK
    assert [limit.period for limit in temporary.request_limits] == ["PT24H", "P7D"]
    permissions.grant(ADA, permanent=True)
    permanent = read_permissions(api.read(QUERY))
    assert (permanent.status, permanent.expires_at) == (PermissionStatus.PERMANENT, None)
    assert (permanent.can_call, permanent.can_request) == (True, False)


def test_a_user_named_by_id(api: PermissionsApi, permissions: Permissions) -> None:
    permissions.grant(ADA, permanent=True)
    told = api.read({"recipient": str(ADA.user_id)})
    assert told["permission"] == {"status": "permanent"}


def test_nobody_is_named(api: PermissionsApi) -> None:
    assert refused(lambda: api.read({})).details == "user_wa_id or recipient is missing"


def test_too_many_reads_in_a_second(api: PermissionsApi, clock: Clock) -> None:
    api.reads_per_second = 5
    for _ in range(5):
        api.read(QUERY)
        clock.advance(0.125)
    assert refused(lambda: api.read(QUERY), 613).status == 429
    clock.advance(0.375)
    api.read(QUERY)
    refused(lambda: api.read(QUERY), 613)
