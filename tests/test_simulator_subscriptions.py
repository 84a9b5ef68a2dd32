from __future__ import annotations

import pytest

from pipecat_whatsapp.simulator.subscriptions import FIELDS, Subscriptions

APP, ACCOUNT, NUMBER = "http://app.test", "http://account.test", "http://number.test"


@pytest.fixture
def subscriptions() -> Subscriptions:
    subscriptions = Subscriptions()
    subscriptions.set_up(APP)
    return subscriptions


def test_from_the_start_nothing_goes_anywhere() -> None:
    subscriptions = Subscriptions()
    assert not subscriptions.has_address
    assert [subscriptions.webhook_url(field) for field in FIELDS] == [None] * len(FIELDS)


def test_once_set_up_everything_goes_to_the_app(subscriptions: Subscriptions) -> None:
    assert subscriptions.has_address
    assert {subscriptions.webhook_url(field) for field in FIELDS} == {APP}


def test_a_field_needs_its_subscription(subscriptions: Subscriptions) -> None:
    subscriptions.subscribe(APP, ["messages"])
    assert subscriptions.webhook_url("messages") == APP
    assert subscriptions.webhook_url("calls") is None
    assert not subscriptions.is_subscribed("calls")


def test_an_app_needs_its_subscription_to_the_account(subscriptions: Subscriptions) -> None:
    subscriptions.has_account = False
    assert subscriptions.webhook_url("calls") is None
    assert not subscriptions.is_subscribed("calls")


@pytest.mark.parametrize("field", ["calls", "messages", "account_settings_update"])
def test_the_number_overrides_the_account_and_that_the_app(
    subscriptions: Subscriptions, field: str
) -> None:
    subscriptions.account_override = ACCOUNT
    assert subscriptions.webhook_url(field) == ACCOUNT
    subscriptions.number_override = NUMBER
    assert subscriptions.webhook_url(field) == NUMBER


def test_what_is_about_the_account_is_never_overridden(subscriptions: Subscriptions) -> None:
    subscriptions.account_override = ACCOUNT
    subscriptions.number_override = NUMBER
    assert subscriptions.webhook_url("account_update") == APP


def test_setting_up_ends_overrides(subscriptions: Subscriptions) -> None:
    subscriptions.account_override = ACCOUNT
    subscriptions.number_override = NUMBER
    subscriptions.set_up(APP)
    assert subscriptions.webhook_url("calls") == APP
