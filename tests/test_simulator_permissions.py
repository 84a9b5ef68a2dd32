from __future__ import annotations

import pytest

from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.permissions import (
    TEST_NUMBER,
    Annoyance,
    Permission,
    Permissions,
)
from simulated_account import DAY, NOBODY, WEEK, Clock, refused
from simulated_business import ADA


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def permissions(clock: Clock) -> Permissions:
    return Permissions(clock=clock)


def test_nobody_may_be_called_from_the_start(permissions: Permissions) -> None:
    refusal = refused(lambda: permissions.check_call(ADA), 138006)
    assert refusal.status == 401
    assert permissions.state(ADA) == Permission("no_permission")


def test_a_temporary_permission_ends_after_seven_days(
    permissions: Permissions, clock: Clock
) -> None:
    granted = permissions.grant(ADA)
    assert granted == Permission("temporary", int(clock()) + WEEK)
    clock.advance(WEEK - 1)
    permissions.check_call(ADA)
    clock.advance(1)
    refused(lambda: permissions.check_call(ADA), 138006)
    assert permissions.state(ADA) == Permission()


def test_a_permanent_permission_ends_only_when_it_is_revoked(
    permissions: Permissions, clock: Clock
) -> None:
    assert permissions.grant(ADA, permanent=True) == Permission("permanent")
    clock.advance(100 * WEEK)
    permissions.check_call(ADA)
    permissions.revoke(ADA)
    refused(lambda: permissions.check_call(ADA), 138006)


def test_a_user_is_known_by_number_and_by_id(permissions: Permissions) -> None:
    permissions.grant(ADA)
    permissions.check_call(User(phone=ADA.phone))
    permissions.check_call(User(user_id=ADA.user_id))
    refused(lambda: permissions.check_call(NOBODY), 138006)


def test_one_request_a_day_and_two_a_week(permissions: Permissions, clock: Clock) -> None:
    def ask() -> None:
        permissions.check_request(ADA)
        permissions.note_request(ADA)

    ask()
    refused(ask, 138009)
    clock.advance(DAY)
    ask()
    clock.advance(DAY)
    refused(ask, 138009)
    day, week = permissions.request_limits(ADA)
    assert (day.used, day.allowed, day.resets_at) == (0, 1, None)
    assert (week.used, week.allowed, week.resets_at) == (2, 2, int(clock()) + WEEK - 2 * DAY)
    clock.advance(5 * DAY)
    ask()


@pytest.mark.parametrize("direction", Direction)
def test_any_connected_call_resets_the_requests(
    permissions: Permissions, direction: Direction
) -> None:
    permissions.note_request(ADA)
    refused(lambda: permissions.check_request(ADA), 138009)
    permissions.note_connected(ADA, direction)
    permissions.check_request(ADA)


def test_asking_is_pointless_only_with_a_permanent_permission(permissions: Permissions) -> None:
    permissions.grant(ADA)
    permissions.check_request(ADA)
    permissions.grant(ADA, permanent=True)
    refused(lambda: permissions.check_request(ADA), 138017)


def test_a_hundred_connected_calls_a_day(permissions: Permissions, clock: Clock) -> None:
    permissions.grant(ADA)
    for _ in range(99):
        permissions.note_connected(ADA)
    permissions.note_connected(ADA, Direction.INBOUND)
    permissions.check_call(ADA)
    clock.advance(60)
    permissions.note_connected(ADA)
    refusal = refused(lambda: permissions.check_call(ADA), 138012)
    assert str(int(clock()) + DAY - 60) in refusal.details
    assert permissions.state(ADA).status == "temporary"
    clock.advance(DAY - 60)
    permissions.check_call(ADA)


def test_unanswered_calls_annoy_and_then_revoke(permissions: Permissions) -> None:
    told: list[Annoyance] = []
    permissions.on_annoyance = lambda _, annoyance: told.append(annoyance)
    permissions.grant(ADA, permanent=True)
    permissions.note_unanswered(ADA)
    assert told == []
    permissions.note_unanswered(ADA)
    assert told == [Annoyance.RECONSIDER]
    permissions.note_unanswered(ADA)
    permissions.check_call(ADA)
    permissions.note_unanswered(ADA)
    assert told == [Annoyance.RECONSIDER, Annoyance.REVOKED]
    refused(lambda: permissions.check_call(ADA), 138006)


def test_only_unanswered_calls_in_a_row_count(permissions: Permissions) -> None:
    permissions.grant(ADA)
    for _ in range(3):
        permissions.note_unanswered(ADA)
    permissions.note_connected(ADA)
    permissions.note_unanswered(ADA)
    permissions.check_call(ADA)


def test_a_new_permission_starts_the_row_anew(permissions: Permissions) -> None:
    permissions.grant(ADA)
    for _ in range(3):
        permissions.note_unanswered(ADA)
    permissions.grant(ADA)
    permissions.note_unanswered(ADA)
    permissions.check_call(ADA)


def test_a_test_number_may_ask_and_annoy_more(clock: Clock) -> None:
    permissions = Permissions(clock=clock, rules=TEST_NUMBER)
    permissions.grant(ADA)
    for _ in range(24):
        permissions.note_request(ADA)
    for _ in range(9):
        permissions.note_unanswered(ADA)
    permissions.check_request(ADA)
    permissions.check_call(ADA)
    permissions.note_request(ADA)
    permissions.note_unanswered(ADA)
    refused(lambda: permissions.check_request(ADA), 138009)
    refused(lambda: permissions.check_call(ADA), 138006)
