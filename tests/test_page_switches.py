"""What the page's switches do to bots, to the Graph API and to phones."""

from __future__ import annotations

import pytest

from bots import PlainBot
from conftest import until
from page_tab import BEN, open_tab, page_of
from pipecat_whatsapp.errors import GraphRequestError, TokenError
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.page.switches import SERVER_ERROR, SLOWNESS, WORDS, Switches
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp


@pytest.fixture
def switches(whatsapp: WhatsApp) -> Switches:
    return Switches(whatsapp.meta)


def graph_of(meta: SimulatedMeta) -> GraphClient:
    """A bot's client of the Graph API, which tries nothing again."""
    return GraphClient(token=meta.account.token, url=meta.graph_url, retry_pauses=())


@pytest.mark.parametrize("name", WORDS)
def test_a_switch_can_be_turned_on_and_off_again(switches: Switches, name: str) -> None:
    before = switches.state()
    assert not any(before.values())
    switches.turn(name, on=True)
    assert switches.state() == before | {name: True}
    switches.turn(name, on=False)
    assert switches.state() == before


def test_there_is_no_other_switch(switches: Switches) -> None:
    assert set(switches.state()) == set(WORDS)
    with pytest.raises(ValueError, match="twice, late"):
        switches.turn("fire", on=True)


async def test_webhooks_come_twice_and_start_one_bot(
    whatsapp: WhatsApp, switches: Switches, phone: Phone
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    switches.turn("twice", on=True)
    call = await phone.dial()
    await call.answered()
    await whatsapp.meta.wait_delivery("connect", call.id, count=2)
    assert len(bot.started) == 1


async def test_graph_fails_for_as_long_as_is_wanted(whatsapp: WhatsApp, switches: Switches) -> None:
    meta = whatsapp.meta
    async with graph_of(meta) as graph:
        switches.turn("broken", on=True)
        with pytest.raises(GraphRequestError) as caught:
            await graph.settings.read(meta.account.phone_number_id)
        assert (caught.value.status, caught.value.code) == SERVER_ERROR
        switches.turn("broken", on=False)
        await graph.settings.read(meta.account.phone_number_id)


async def test_a_planned_failure_comes_first(whatsapp: WhatsApp, switches: Switches) -> None:
    meta = whatsapp.meta
    switches.turn("broken", on=True)
    meta.faults.fail["settings"] = [(400, 100)]
    async with graph_of(meta) as graph:
        codes = []
        for _ in range(2):
            with pytest.raises(GraphRequestError) as caught:
                await graph.settings.read(meta.account.phone_number_id)
            codes.append(caught.value.code)
    assert codes == [100, 131000]


async def test_the_token_expires_and_is_good_again(whatsapp: WhatsApp, switches: Switches) -> None:
    meta = whatsapp.meta
    async with graph_of(meta) as graph:
        switches.turn("expired", on=True)
        with pytest.raises(TokenError) as caught:
            await graph.settings.read(meta.account.phone_number_id)
        assert (caught.value.status, caught.value.code) == (401, 190)
        switches.turn("expired", on=False)
        await graph.settings.read(meta.account.phone_number_id)


def test_late_and_slow_are_some_seconds(whatsapp: WhatsApp, switches: Switches) -> None:
    switches.turn("late", on=True)
    assert (whatsapp.meta.faults.delay, whatsapp.meta.faults.latency) == (SLOWNESS, 0)
    switches.turn("slow", on=True)
    assert whatsapp.meta.faults.latency == SLOWNESS


async def test_a_bot_that_is_offered_sdes_declines(whatsapp: WhatsApp) -> None:
    await whatsapp.serve(PlainBot())
    async with page_of(whatsapp) as server, open_tab(server.url) as tab:
        await tab.send("fault", name="sdes", on=True)
        await tab.send("dial")
        assert (await tab.hears("call", state="ended"))["text"] == "the bot's side declined"
        await tab.send("fault", name="sdes", on=False)
        await tab.calls()


async def test_every_tab_sees_what_is_switched(whatsapp: WhatsApp) -> None:
    async with (
        page_of(whatsapp) as server,
        open_tab(server.url) as ada,
        open_tab(server.url, BEN) as ben,
    ):
        await ada.send("fault", name="late", on=True)
        for tab in (ada, ben):
            assert (await tab.hears("faults"))["faults"]["late"]
        await ben.send("fault", name="late", on=False)
        for tab in (ada, ben):
            assert not (await tab.hears("faults"))["faults"]["late"]
        assert (await ada.identifies())["faults"] == Switches(whatsapp.meta).state()


async def test_the_record_says_what_was_switched(whatsapp: WhatsApp) -> None:
    await whatsapp.serve(PlainBot())
    async with page_of(whatsapp) as server, open_tab(server.url) as tab:
        await tab.calls()
        await tab.send("fault", name="twice", on=True)
        step = await tab.hears_step("from now on delivers webhooks twice")
        assert (step["source"], step["target"]) == ("whatsapp", "whatsapp")
        await tab.send("fault", name="twice", on=False)
        await tab.hears_step("no longer delivers webhooks twice")
        await until(lambda: whatsapp.meta.faults.duplicate == 0)
