from __future__ import annotations

from typing import Any

import pytest

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.address import Address, check_allowed, read_address
from pipecat_whatsapp.simulator.settings import Account
from simulated_account import refused
from simulated_business import ADA


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"to": "4915550002222"}, Address("4915550002222", None, "4915550002222")),
        ({"to": "+4915550002222"}, Address("4915550002222", None, "+4915550002222")),
        ({"recipient": "DE.1a"}, Address(None, "DE.1a", "DE.1a")),
        ({"to": "", "recipient": "DE.1a"}, Address(None, "DE.1a", "DE.1a")),
        ({"recipient": "DE.ENT.1a"}, Address(None, "DE.ENT.1a", "DE.ENT.1a")),
        ({"to": "49155500", "recipient": "DE.1a"}, Address("49155500", None, "49155500")),
    ],
)
def test_the_phone_number_wins(fields: dict[str, Any], address: Address) -> None:
    assert read_address(fields) == address


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({}, "to or recipient is missing"),
        ({"to": "", "recipient": ""}, "to or recipient is missing"),
        ({"to": "+49 155"}, "to is not a phone number"),
        ({"to": 4915550002222}, "to is not a phone number"),
        ({"to": "DE.1a"}, "to is not a phone number"),
        ({"recipient": "4915550002222"}, "recipient is not a user id"),
        ({"recipient": "de.1"}, "recipient is not a user id"),
        ({"recipient": ["DE.1"]}, "to or recipient is missing"),
    ],
)
def test_nobody_is_meant(fields: dict[str, Any], details: str) -> None:
    assert refused(lambda: read_address(fields)).details == details


def test_who_is_meant() -> None:
    user = User(phone="49155500", user_id="DE.1", parent_user_id="DE.ENT.1")
    for name in ("DE.1", "DE.ENT.1"):
        assert Address(None, name, "").means(user)
    assert Address("49155500", None, "").means(user)
    assert not Address("49155501", None, "").means(user)
    assert not Address(None, "DE.2", "").means(user)
    assert not Address("49155500", None, "").means(User(user_id="DE.1"))


def test_a_test_number_knows_only_its_list() -> None:
    ada = Address(ADA.phone, None, "")
    check_allowed(ada, Account())
    check_allowed(ada, Account(allowed_recipients=frozenset({str(ADA.phone)})))
    refused(lambda: check_allowed(ada, Account(allowed_recipients=frozenset())), 131030)
