"""pytest fixtures for bot authors: a simulated WhatsApp, and a phone.

A bot is tested over a real call, with no account and no network::

    async def test_the_bot_says_hello(whatsapp, phone):
        await whatsapp.serve(bot)
        call = await phone.dial()
        await call.answered()
        await call.wait_sound()

    async def test_the_bot_calls(whatsapp, phone):
        adapter = await whatsapp.serve(bot)
        whatsapp.meta.permissions.grant(phone.user)
        calling = asyncio.create_task(adapter.call(phone.user))
        call = await phone.rings()
        await call.pick_up()
        await call.wait_sound()
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
    from pipecat_whatsapp.meta.events import User
    from pipecat_whatsapp.simulator.graph import SimulatedMeta
    from pipecat_whatsapp.simulator.media_rules import MediaRules
    from pipecat_whatsapp.simulator.network import Network
    from pipecat_whatsapp.simulator.phone import Phone

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
        self._servers = AsyncExitStack()
        self._phones = AsyncExitStack()

    async def serve(self, bot: Bot, **options: Any) -> WebhookAdapter:
        """Serve the business number with a bot, over HTTP on loopback.

        Args:
            bot: `async def bot(runner_args)`.
            **options: Arguments of `WebhookAdapter`, and fields of `WhatsAppConfig`.
        """
        from dataclasses import fields

        from aiohttp import web

        from pipecat_whatsapp.calls.adapter import WebhookAdapter
        from pipecat_whatsapp.config import WhatsAppConfig
        from pipecat_whatsapp.server import PATH, create_app

        settings = {field.name for field in fields(WhatsAppConfig)} & options.keys()
        config = self.config(**{name: options.pop(name) for name in settings})
        adapter = WebhookAdapter(config, bot, **options)
        runner = web.AppRunner(create_app(adapter), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._servers.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.webhook_url = f"http://{host}:{port}{PATH}"
        await self.meta.subscribe(self.webhook_url)
        return adapter

    def config(self, **changes: Any) -> Any:
        """The `WhatsAppConfig` of the business number."""
        from pipecat_whatsapp.config import WhatsAppConfig

        account = self.meta.account
        settings: dict[str, Any] = {
            "token": account.token,
            "phone_number_ids": frozenset({account.phone_number_id}),
            "app_secrets": (account.app_secret,),
            "verification_token": account.verification_token,
            "graph_url": self.meta.graph_url,
        }
        return WhatsAppConfig(**(settings | changes))

    async def phone(
        self,
        user: User | None = None,
        *,
        network: Network | None = None,
        rules: MediaRules | None = None,
        dtx: bool = False,
    ) -> Phone:
        """A phone of somebody who calls and is called; it hangs up when the test ends.

        To be called needs a permission: `whatsapp.meta.permissions.grant(phone.user)`.
        """
        from pipecat_whatsapp.simulator.phone import ADA, Phone

        phone = Phone(self.meta, user or ADA, network=network, rules=rules, dtx=dtx)
        return await self._phones.enter_async_context(phone)

    async def stop_serving(self) -> None:
        """Stop the bots' servers, as at the end of a process."""
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
    async def phone(whatsapp: WhatsApp, network: Network) -> Phone:
        """A user's phone."""
        return await whatsapp.phone(network=network)
