"""Do webhooks come here? The app, the WhatsApp Business Account, and what overrides them."""

from __future__ import annotations

from collections.abc import Sequence

from pipecat_whatsapp.doctor.finding import Finding, broken, ok, skipped, warning
from pipecat_whatsapp.meta.account import OBJECT, PhoneNumber, SubscribedApp, Subscription

FIELDS = {
    "calls": "no call reaches the bot",
    "messages": "permission replies, messages and voicemail do not reach the bot",
}
"""By webhook field that the app needs, what happens without it."""

SETUP = "run `pipecat-whatsapp setup`"


def check_app(subscriptions: Sequence[Subscription]) -> Finding:
    """Is the app subscribed to the webhook fields that calls need?"""
    name = "app subscription"
    found = app_subscription(subscriptions)
    if found is None or not found.callback_url:
        return broken(name, "the app has no webhook address: no call reaches the bot", SETUP)
    if not found.active:
        return broken(name, "is switched off: no call reaches the bot", SETUP)
    for field, effect in FIELDS.items():
        if field not in found.fields:
            return broken(name, f"lacks the field `{field}`: {effect}", SETUP)
    return ok(name, f"has {' and '.join(f'`{field}`' for field in FIELDS)}")


def check_waba(waba_id: str, app_id: str, apps: Sequence[SubscribedApp]) -> Finding:
    """Does the app get the webhooks of the account that the number belongs to?"""
    name = "account subscription"
    if not any(app.id == app_id for app in apps):
        return broken(
            name,
            f"the app {app_id} does not get the webhooks of the WhatsApp Business Account "
            f"{waba_id}: no call reaches the bot",
            SETUP,
        )
    return ok(name, "the app gets the webhooks of the WhatsApp Business Account")


def check_overrides(
    app_url: str | None, waba_url: str | None, number: PhoneNumber, expected: str | None
) -> list[Finding]:
    """Do the account or the number send webhooks elsewhere than the app does?

    Args:
        app_url: The app's webhook address.
        waba_url: That of the WhatsApp Business Account, if it has one of its own.
        number: The number.
        expected: Where webhooks shall go; the app's address by default.
    """
    own = number.webhook_url if number.webhook_url not in (app_url, waba_url) else None
    return [
        _check_override("account override", waba_url, expected, app_url),
        _check_override("number override", own, expected, app_url),
    ]


def app_subscription(subscriptions: Sequence[Subscription]) -> Subscription | None:
    """The app's subscription to WhatsApp, if it has one."""
    return next((found for found in subscriptions if found.object == OBJECT), None)


def override_of(app_id: str, apps: Sequence[SubscribedApp]) -> str | None:
    """Where an account sends the app's webhooks instead of the app's own address."""
    return next((app.override_callback_uri for app in apps if app.id == app_id), None)


def _check_override(
    name: str, url: str | None, expected: str | None, app_url: str | None
) -> Finding:
    if url is None:
        return ok(name, "there is none")
    if expected is None and app_url is None:
        return skipped(name, "the app's own address is not known")
    if url == (expected or app_url):
        return ok(name, f"leads to {url} too")
    cure = "run `pipecat-whatsapp setup --url ...`, which removes it"
    if expected is not None:
        return broken(name, f"sends webhooks to {url} instead of {expected}", cure)
    return warning(name, f"sends webhooks to {url} instead of the app's {app_url}", cure)
