"""Comes to a webhook's address as Meta does, and as a stranger would."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

import aiohttp

from pipecat_whatsapp.doctor.finding import Finding, Verdict, broken, ok, skipped, warning
from pipecat_whatsapp.doctor.stun import network_reason
from pipecat_whatsapp.meta.checks import is_loopback
from pipecat_whatsapp.meta.webhook import REFUSED_VERIFICATION

PATIENCE = aiohttp.ClientTimeout(total=10)

# Says nothing: no bot starts, whoever reads it.
_EMPTY_WEBHOOK = b'{"object":"whatsapp_business_account","entry":[]}'
_MAX_ANSWER = 4096


class Visit(Enum):
    """How an address answered Meta's verification request.

    Parameters:
        VERIFIED: With the challenge.
        UNREACHABLE: Not at all.
        REFUSED: It knows another verification token.
        SOMETHING_ELSE: With what no bot of ours answers.
    """

    VERIFIED = "verified"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    SOMETHING_ELSE = "something else"


@dataclass(frozen=True)
class Verification:
    """What came of a verification request.

    Parameters:
        visit: How it was answered.
        told: The answer in words.
    """

    visit: Visit
    told: str


async def verify(url: str, verification_token: str) -> Verification:
    """Ask an address as Meta does before it sends webhooks there.

    Source: Meta, webhooks, verification request.

    Args:
        url: The webhook's address.
        verification_token: What it must know.
    """
    challenge = f"0{secrets.randbelow(10**9):09}"
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": verification_token,
    }
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as client,
            client.get(url, params=query, allow_redirects=False) as response,
        ):
            body = await response.content.read(_MAX_ANSWER)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Verification(Visit.UNREACHABLE, _why(error))
    if response.status == 200 and body == challenge.encode():
        return Verification(Visit.VERIFIED, "answers with the challenge")
    # A proxy before the bot may refuse too.
    if response.status == 403 and body == REFUSED_VERIFICATION.encode():
        return Verification(Visit.REFUSED, f"refuses (HTTP {response.status})")
    return Verification(Visit.SOMETHING_ELSE, f"answers HTTP {response.status}, no challenge")


async def examine_webhook(
    url: str, *, verification_token: str, app_secret: str | None, bot_url: str
) -> list[Finding]:
    """Does the public address lead to the bot, and does the bot let in Meta and nobody else?

    Args:
        url: Where Meta sends webhooks to.
        verification_token: What the bot must know.
        app_secret: What Meta signs with; None when it is not known.
        bot_url: Where the bot listens on this machine, to tell a bot from a tunnel that is down.
    """
    address = await _check_address(url, verification_token, bot_url)
    if address.verdict is not Verdict.OK:
        return [
            address,
            skipped("signed webhook", "the bot was not reached"),
            skipped("unsigned webhook", "the bot was not reached"),
        ]
    return [address, await _check_signed(url, app_secret), await _check_unsigned(url)]


def fault_of(url: str) -> str | None:
    """Why Meta would refuse an address, None when it would not; loopback is for simulations."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        return "is not an address"
    return None if parts.scheme == "https" or is_loopback(host) else "is not https"


async def _check_address(url: str, verification_token: str, bot_url: str) -> Finding:
    name = "public address"
    if (fault := fault_of(url)) is not None:
        return broken(name, f"{url} {fault}", "give Meta an https address")
    found = await verify(url, verification_token)
    if found.visit is Visit.VERIFIED:
        return ok(name, f"{url} leads to the bot, which knows the verification token")
    if found.visit is Visit.REFUSED:
        return _another_token(name, url, found)
    what = f"{url} {'cannot be reached: ' if found.visit is Visit.UNREACHABLE else ''}{found.told}"
    here = await verify(bot_url, verification_token)
    if here.visit is Visit.REFUSED:
        return _another_token(name, bot_url, here)
    if here.visit is Visit.UNREACHABLE:
        return broken(
            name,
            f"{what}; nor does a bot answer at {bot_url}",
            "start the bot: python bot.py -t whatsapp",
        )
    return broken(
        name,
        f"{what}, though a bot answers at {bot_url}",
        "start the tunnel or the reverse proxy, and run `pipecat-whatsapp setup` if its address "
        "is a new one",
    )


def _another_token(name: str, url: str, found: Verification) -> Finding:
    return broken(
        name,
        f"the bot at {url} {found.told}: it runs with another verification token",
        "start it again with the WHATSAPP_WEBHOOK_VERIFICATION_TOKEN that stands in .env",
    )


async def _check_signed(url: str, app_secret: str | None) -> Finding:
    name = "signed webhook"
    if app_secret is None:
        return skipped(name, "cannot be signed without the app's secret")
    signature = hmac.digest(app_secret.encode(), _EMPTY_WEBHOOK, "sha256").hex()
    status = await _post(url, {"X-Hub-Signature-256": f"sha256={signature}"})
    if status == 200:
        return ok(name, "is let in")
    if status in (401, 403):
        return broken(
            name,
            f"is refused (HTTP {status}): the bot runs with another app secret",
            "start the bot again with the WHATSAPP_APP_SECRET that stands in .env",
        )
    what = "is not answered" if status is None else f"is answered with HTTP {status}"
    return broken(name, what, "look into the bot's log")


async def _check_unsigned(url: str) -> Finding:
    name = "unsigned webhook"
    status = await _post(url, {})
    if status in (401, 403):
        return ok(name, "is refused")
    if status is None:
        return warning(
            name,
            "is not answered, so it is not known whether the bot lets strangers in",
            "look into the bot's log",
        )
    return broken(
        name,
        f"is answered with HTTP {status} instead of 401: anybody could forge and end calls",
        "check every signature: let WebhookAdapter handle what comes to this address",
    )


async def _post(url: str, headers: dict[str, str]) -> int | None:
    headers = {"Content-Type": "application/json", **headers}
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as client,
            client.post(
                url, data=_EMPTY_WEBHOOK, headers=headers, allow_redirects=False
            ) as response,
        ):
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return network_reason(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        # Its own words hold the whole address, and so the verification token.
        return "what answers there speaks no HTTP"
    return " ".join(str(error).split()) or type(error).__name__
