"""pytest fixtures for bot authors: a simulated WhatsApp, a phone, and the line between them.

A bot is tested over a real call, with no account and no network::

    async def test_the_bot_says_goodbye(phone):
        call = await phone.call(bot)
        await call.say("hello.wav")
        assert await call.hears("goodbye.wav")

    async def test_the_bot_calls(whatsapp, phone):
        adapter = await whatsapp.serve(bot)
        whatsapp.meta.permissions.grant(phone.user)
        calling = asyncio.create_task(adapter.call(phone.user))
        call = await phone.rings()
        await call.pick_up()
        assert await call.hears("hello.wav")
        assert (await calling).outcome is Outcome.ANSWERED

The fixtures are there as soon as the package is installed; they need pytest-asyncio.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pipecat_whatsapp.calls.adapter import WebhookAdapter
    from pipecat_whatsapp.calls.bot import Bot
    from pipecat_whatsapp.config import WhatsAppConfig
    from pipecat_whatsapp.meta.events import User
    from pipecat_whatsapp.simulator.direct_phone import DirectPhone
    from pipecat_whatsapp.simulator.graph import SimulatedMeta
    from pipecat_whatsapp.simulator.media_rules import MediaRules
    from pipecat_whatsapp.simulator.network import Network

# Nothing else is imported before a fixture is used: this module is loaded by every pytest run.


class WhatsApp:
    """A simulated WhatsApp, with one business number that a bot can serve.

    Parameters:
        meta: Meta's side: its requests, deliveries and faults.
        webhook_url: Where the business number's webhooks go; empty before `serve()`.
    """

    def __init__(self, meta: SimulatedMeta) -> None:
        self.meta = meta
        self.webhook_url = ""
        self._served: tuple[Bot, dict[str, Any], WebhookAdapter] | None = None
        self._servers = AsyncExitStack()
        self._phones = AsyncExitStack()

    async def serve(self, bot: Bot, **options: Any) -> WebhookAdapter:
        """Serve the business number with a bot, over HTTP on loopback.

        Args:
            bot: `async def bot(runner_args)`.
            **options: Arguments of `WebhookAdapter`, and fields of `WhatsAppConfig`.
        """
        from dataclasses import fields

        from pipecat_whatsapp.calls.adapter import WebhookAdapter
        from pipecat_whatsapp.config import WhatsAppConfig
        from pipecat_whatsapp.simulator.hosting import hosted

        settings = {field.name for field in fields(WhatsAppConfig)} & options.keys()
        others = {name: options[name] for name in options.keys() - settings}
        config = self.config(**{name: options[name] for name in settings})
        adapter = WebhookAdapter(config, bot, **others)
        self.webhook_url = await self._servers.enter_async_context(hosted(self.meta, adapter))
        self._served = bot, options, adapter
        return adapter

    async def serve_only(self, bot: Bot, **options: Any) -> WebhookAdapter:
        """Serve the business number with a bot, and with no other: theirs are stopped.

        A bot that is served with these options, or with any when none are given, goes on.

        Args:
            bot: `async def bot(runner_args)`.
            **options: As for `serve`.
        """
        if self._served is not None:
            served, given, adapter = self._served
            if served == bot and options in ({}, given):
                return adapter
            await self.stop_serving()
        return await self.serve(bot, **options)

    def config(self, **changes: Any) -> WhatsAppConfig:
        """The `WhatsAppConfig` of the business number."""
        from pipecat_whatsapp.simulator.hosting import config_of

        return config_of(self.meta, **changes)

    async def phone(
        self,
        user: User | None = None,
        *,
        network: Network | None = None,
        rules: MediaRules | None = None,
        dtx: bool = False,
    ) -> DirectPhone:
        """A phone of somebody who calls and is called; it hangs up when the test ends.

        To be called needs a permission: `whatsapp.meta.permissions.grant(phone.user)`.
        """
        from pipecat_whatsapp.simulator.direct_phone import DirectPhone
        from pipecat_whatsapp.simulator.phone import ADA

        phone = DirectPhone(
            self.meta, user or ADA, serve=self.serve_only, network=network, rules=rules, dtx=dtx
        )
        return await self._phones.enter_async_context(phone)

    async def stop_serving(self) -> None:
        """Stop the bots' servers, as at the end of a process."""
        self._served = None
        await self._servers.aclose()

    async def close(self) -> None:
        """Hang up all phones, and stop serving."""
        # A phone that hangs up waits until its webhook is delivered.
        await self.meta.release()
        await self._phones.aclose()
        await self.stop_serving()


if importlib.util.find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def whatsapp() -> AsyncIterator[WhatsApp]:
        """A simulated WhatsApp with one business number."""
        from pipecat_whatsapp.simulator.graph import SimulatedMeta

        async with SimulatedMeta() as meta:
            simulated = WhatsApp(meta)
            try:
                yield simulated
            finally:
                await simulated.close()

    @pytest.fixture
    def network() -> Network:
        """The line between the phone and the business; perfect until told otherwise."""
        from pipecat_whatsapp.simulator.network import Network

        return Network()

    @pytest_asyncio.fixture
    async def phone(whatsapp: WhatsApp, network: Network) -> DirectPhone:
        """A user's phone: `await phone.call(bot)`, or `await phone.rings()`."""
        return await whatsapp.phone(network=network)
