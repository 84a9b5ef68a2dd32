"""A phone for tests of bots: it calls a bot, and not a number that somebody serves already."""

from __future__ import annotations

from typing import Any, Protocol

from pipecat_whatsapp.calls.bot import Bot
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.media_rules import MediaRules
from pipecat_whatsapp.simulator.network import Network
from pipecat_whatsapp.simulator.phone import ADA, Exchange, Phone
from pipecat_whatsapp.simulator.phone_call import PhoneCall


class Serve(Protocol):
    """Has the business number served by a bot, if it is not yet."""

    async def __call__(self, bot: Bot, **options: Any) -> object:
        """Serve it.

        Args:
            bot: The bot.
            **options: How it is served.
        """


class DirectPhone(Phone):
    """A phone that calls bots.

    Parameters:
        meta: Meta's side.
        user: Whose it is.
        serve: Has the business number served by a bot.
        network: The line between phone and business; a perfect one by default.
        rules: When the phone gives a silent call up.
        dtx: Whether it sends nearly nothing while nobody speaks.
    """

    def __init__(
        self,
        meta: Exchange,
        user: User = ADA,
        *,
        serve: Serve,
        network: Network | None = None,
        rules: MediaRules | None = None,
        dtx: bool = False,
    ) -> None:
        super().__init__(meta, user, network=network, rules=rules, dtx=dtx)
        self._serve = serve

    async def call(
        self,
        bot: Bot,
        *,
        cta_payload: str | None = None,
        deeplink_payload: str | None = None,
        **options: Any,
    ) -> PhoneCall:
        """Call a bot, and wait until it has answered.

        Args:
            bot: `async def bot(runner_args)`. It serves the number from now on; another bot that
                did ends its calls.
            cta_payload: Payload of the call button that was tapped.
            deeplink_payload: Payload of the link that was opened.
            **options: Arguments of `WebhookAdapter`, and fields of `WhatsAppConfig`; with none of
                them, a bot that serves the number goes on as it was told to.

        Raises:
            PhoneError: The bot, or its side, declined.
            TimeoutError: Nobody answered.
        """
        await self._serve(bot, **options)
        call = await self.dial(cta_payload=cta_payload, deeplink_payload=deeplink_payload)
        await call.answered()
        return call
