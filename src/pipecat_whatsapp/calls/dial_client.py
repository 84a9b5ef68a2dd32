"""Asks a running bot to call somebody, through its dial door (`dial_door.py`)."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from dataclasses import dataclass

import aiohttp

from pipecat_whatsapp.errors import WhatsAppError
from pipecat_whatsapp.meta.graph_http import read_bounded
from pipecat_whatsapp.meta.reading import as_object, text

PATIENCE = 600.0
"""Seconds until the attempt is decided: a permission may be asked for, and it rings for a while."""


class DialError(WhatsAppError):
    """The bot did not take the order to call."""


@dataclass(frozen=True)
class DialAnswer:
    """What the bot says of the attempt.

    Parameters:
        outcome: What it came to, such as "answered"; see `Outcome`.
        detail: More words on it, empty when there are none.
    """

    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.detail}" if self.detail else self.outcome


async def order_call(
    webhook_url: str,
    app_secret: str,
    to: str,
    *,
    phone_number_id: str | None = None,
    ask_permission: str | None = None,
) -> DialAnswer:
    """Have a bot call a user; returns when the user has picked up, or is known not to.

    Args:
        webhook_url: Where the bot serves webhooks.
        app_secret: What it checks their signatures with.
        to: A phone number or a business-scoped user id.
        phone_number_id: The business number that calls; None for the only one.
        ask_permission: What to ask a user with who does not allow calls yet.

    Raises:
        DialError: The bot did not take the order.
    """
    order = {
        "to": to,
        "phone_number_id": phone_number_id,
        "ask_permission": ask_permission,
        "timestamp": int(time.time()),
        "nonce": secrets.token_hex(16),
    }
    url = f"{webhook_url.rstrip('/')}/calls"
    status, answer = await _post(url, json.dumps(order).encode(), app_secret)
    if status != 200:
        raise DialError(_refusal(url, status, answer))
    return _read(answer)


async def _post(url: str, body: bytes, app_secret: str) -> tuple[int, bytes]:
    signature = hmac.digest(app_secret.encode(), body, "sha256").hex()
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as client,
            client.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, await read_bounded(response)
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise DialError(f"{url} is not an address: name the bot's address with --url.") from error
    except aiohttp.ClientConnectorError as error:
        raise DialError(
            f"No bot answers at {url}: start it (python bot.py -t whatsapp), or name its address "
            "with --url."
        ) from error
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise DialError(
            f"The bot did not tell what became of the call ({type(error).__name__}): "
            "look into its log."
        ) from error


def _read(answer: bytes) -> DialAnswer:
    try:
        told = as_object(json.loads(answer))
    except (ValueError, RecursionError):
        told = {}
    outcome = text(told, "outcome")
    if outcome is None:
        raise DialError("The answer is not that of a bot: name the bot's address with --url.")
    return DialAnswer(outcome, text(told, "detail", 2000) or "")


def _refusal(url: str, status: int, answer: bytes) -> str:
    if status == 401:
        return (
            "The bot refused the order, because it runs with another app secret: "
            "run this where its .env is."
        )
    if status in (404, 405):
        return f"Nothing takes orders to call at {url}: name the bot's address with --url."
    told = " ".join(answer.decode(errors="replace").split())[:300]
    return f"The bot refused the order (HTTP {status}): {told or 'look into its log.'}"
