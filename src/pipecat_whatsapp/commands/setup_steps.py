"""The steps of `setup`. Each looks first, changes what is not yet so, and says what it did."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipecat_whatsapp.commands.dialogue import Dialogue
from pipecat_whatsapp.commands.door import Webhook
from pipecat_whatsapp.doctor import account
from pipecat_whatsapp.doctor.at_meta import wabas
from pipecat_whatsapp.doctor.finding import Finding, Verdict
from pipecat_whatsapp.doctor.subscription import FIELDS, app_subscription, override_of
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.account import PhoneNumber, Subscription, TokenInfo
from pipecat_whatsapp.meta.graph import GraphClient


@dataclass(frozen=True)
class Business:
    """Whom Meta's side is set up for.

    Parameters:
        app_id: The app that the token is of.
        app_secret: Its secret.
        waba_id: The WhatsApp Business Account.
        number: The business number.
    """

    app_id: str
    app_secret: str = field(repr=False)
    waba_id: str
    number: PhoneNumber


async def identify(graph: GraphClient, app_secret: str, dialogue: Dialogue) -> TokenInfo:
    """Check token and secret.

    Raises:
        ConfigError: One of them is of no use.
        GraphError: Meta cannot be asked.
    """
    info = await graph.account.inspect_token()
    _demand(account.check_token(info, time.time()), dialogue)
    if info.app_id is None:
        raise ConfigError(f"Meta does not tell the token's app: {account.SYSTEM_USER_ADVICE}.")
    _demand(await account.check_app_secret(graph, info.app_id, app_secret), dialogue)
    return info


async def find_number(
    graph: GraphClient,
    info: TokenInfo,
    dialogue: Dialogue,
    *,
    waba_id: str | None,
    wanted: Sequence[str],
) -> tuple[str, PhoneNumber]:
    """Find the WhatsApp Business Account and the number.

    Args:
        graph: The Graph API.
        info: What is known of the token.
        dialogue: Asked where there are several.
        waba_id: The account; one of the token's by default.
        wanted: The ids of the numbers that count; all by default.

    Returns:
        The account's id, and the number.

    Raises:
        ConfigError: There is none.
        GraphError: Meta cannot be asked.
    """
    accounts = (waba_id,) if waba_id else wabas(info)
    if not accounts:
        raise ConfigError(
            "The token does not tell the WhatsApp Business Account: name it with --waba."
        )
    found = [
        (f"{_named(number)}, of account {account_id}", (account_id, number))
        for account_id in accounts
        for number in await graph.account.phone_numbers(account_id)
        if not wanted or number.id in wanted
    ]
    if not found:
        raise ConfigError(
            f"The accounts {', '.join(accounts)} have {_none_of(wanted)}: add one in WhatsApp "
            "Manager, or name another with --waba and --phone-number-id."
        )
    chosen = dialogue.choose("number", "--phone-number-id", found)
    _demand(account.check_number(chosen[1]), dialogue)
    return chosen


async def subscribe_app(
    graph: GraphClient, business: Business, webhook: Webhook, dialogue: Dialogue
) -> None:
    """Have the app's webhooks for calls and messages sent to an address.

    Raises:
        ConfigError: They go elsewhere, and shall go on doing so.
        GraphError: Meta refused, or cannot be asked.
    """
    app = (business.app_id, business.app_secret)
    before = app_subscription(await graph.account.app_subscriptions(*app))
    if before is not None and before.callback_url not in (None, webhook.url):
        dialogue.demand(
            f"The app's webhooks go to {before.callback_url}. Send them to {webhook.url}?"
        )
    fields = sorted({*FIELDS, *(before.fields if before else ())})
    if before is not None and _is_set_up(before, webhook):
        dialogue.say("Webhooks", f"{', '.join(fields)} go to {webhook.url} already")
        return
    await graph.account.subscribe_app(*app, webhook.url, webhook.verification_token, fields)
    dialogue.say("Webhooks", f"{', '.join(fields)} go to {webhook.url}")


async def subscribe_account(
    graph: GraphClient, business: Business, webhook: Webhook, dialogue: Dialogue
) -> None:
    """Have the app get the account's webhooks, at the app's own address.

    Raises:
        ConfigError: They go elsewhere, and shall go on doing so.
        GraphError: Meta refused, or cannot be asked.
    """
    apps = await graph.account.subscribed_apps(business.waba_id)
    override = override_of(business.app_id, apps)
    if override is not None and override != webhook.url:
        dialogue.demand(f"The account's webhooks go to {override}. Send them to {webhook.url}?")
    if override is not None or all(app.id != business.app_id for app in apps):
        await graph.account.subscribe_app_to_waba(business.waba_id)
        dialogue.say("Account", f"{business.waba_id}: the app gets its webhooks from now on")
    else:
        dialogue.say("Account", f"{business.waba_id}: the app gets its webhooks already")
    await _remove_number_override(graph, business, webhook, dialogue)


async def switch_calling_on(graph: GraphClient, business: Business, dialogue: Dialogue) -> None:
    """Let the number be called.

    Raises:
        GraphError: Meta refused, or cannot be asked.
    """
    settings = await graph.settings.read(business.number.id)
    if settings.status == "ENABLED":
        dialogue.say("Calling", "is switched on already")
        return
    await graph.settings.write(business.number.id, status="ENABLED")
    dialogue.say("Calling", "is switched on from now on; phones may show it days later")


async def _remove_number_override(
    graph: GraphClient, business: Business, webhook: Webhook, dialogue: Dialogue
) -> None:
    there = (await graph.account.phone_number(business.number.id)).webhook_url
    if there in (None, webhook.url):
        return
    dialogue.demand(f"The number's webhooks go to {there}. Send them to {webhook.url}?")
    await graph.account.set_phone_number_webhook(business.number.id, "", webhook.verification_token)
    dialogue.say("Number", "its webhooks go where the app's go from now on")


def _demand(finding: Finding, dialogue: Dialogue) -> None:
    if finding.verdict in (Verdict.BROKEN, Verdict.SKIPPED):
        raise ConfigError(
            f"The {finding.name}: {finding.what}{f': {finding.cure}' if finding.cure else ''}."
        )
    dialogue.say(finding.name.capitalize(), finding.what)


def _is_set_up(found: Subscription, webhook: Webhook) -> bool:
    return found.active and found.callback_url == webhook.url and FIELDS.keys() <= set(found.fields)


def _none_of(wanted: Sequence[str]) -> str:
    if len(wanted) > 1:
        return f"none of the numbers {', '.join(wanted)}"
    return " ".join(["no number", *wanted])


def _named(number: PhoneNumber) -> str:
    return f"{number.display_phone_number or number.id} ({number.verified_name or 'no name'})"
