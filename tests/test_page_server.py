from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from yarl import URL

from aiortc_business import tone
from bots import PipelineBot, PlainBot, says
from page_tab import ADA, BEN, PageTab, open_tab, page_of, server, tab
from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.network import NetworkConditions
from pipecat_whatsapp.simulator.page import server as page_server
from pipecat_whatsapp.simulator.page import tab as page_tab
from pipecat_whatsapp.simulator.page.server import CONTENT_TYPES, STATIC, PageServer
from pipecat_whatsapp.simulator.page.tab import LONGEST_MESSAGE, Pace
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

__all__ = ["server", "tab"]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def test_every_part_of_the_page_is_served_as_what_it_is(
    server: PageServer, client: aiohttp.ClientSession
) -> None:
    files = sorted(STATIC.iterdir())
    assert "index.html" in {file.name for file in files}
    for file in files:
        async with client.get(f"{server.url}/static/{file.name}") as response:
            assert response.status == 200, file
            assert response.content_type == CONTENT_TYPES[file.suffix]
            assert await response.read() == file.read_bytes()
    async with client.get(f"{server.url}/") as response:
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert await response.read() == (STATIC / "index.html").read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.js",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static/..%5cserver.py",
        "/static/%2fetc%2fpasswd",
        "/static/index.html%00.js",
        "/static/index.html/",
        "/static//index.html",
        "/index.html",
        "/server.py",
        "/calls/",
        "/calls/nothing.json",
        "/calls/..%2f..%2fsocket.json",
    ],
)
async def test_nothing_else_is_served(
    server: PageServer, client: aiohttp.ClientSession, path: str
) -> None:
    async with client.get(URL(server.url + path, encoded=True)) as response:
        assert response.status == 404


async def test_a_tab_is_greeted_with_all_it_has_to_know(whatsapp: WhatsApp) -> None:
    line = NetworkConditions(loss=0.05, delay=0.04, jitter=0.02)
    async with (
        page_of(whatsapp, conditions=line) as server,
        open_tab(server.url, None) as tab,
    ):
        assert await tab.identifies() == {
            "kind": "hello",
            "business": {"name": "bot.py", "phone": whatsapp.meta.account.display_phone_number},
            "user": ADA,
            "faults": dict.fromkeys(("twice", "late", "slow", "broken", "expired", "sdes"), False),
            "conditions": {"loss": 0.05, "delay": 40, "jitter": 20},
            "offline": False,
        }


async def test_who_has_not_said_who_they_are_can_do_nothing(server: PageServer) -> None:
    async with open_tab(server.url, None) as tab:
        await tab.send("dial")
        assert (await tab.hears("notice"))["text"] == "Say first who you are."
        await tab.identifies()


async def test_what_is_no_order_is_refused_and_changes_nothing(tab: PageTab) -> None:
    await tab.send_raw("hang up")
    await tab.send_raw('{"kind": "format_disk"}')
    await tab.send_bytes(b'{"kind": "dial"}')
    await tab.send("press", key="A")
    texts = [(await tab.hears("notice"))["text"] for _ in range(4)]
    assert "no JSON" in texts[0]
    assert "kind must be one of" in texts[1]
    assert "no text" in texts[2]
    assert "key must be one of" in texts[3]
    await tab.identifies()
    assert {message["kind"] for message in tab.said} == {"hello", "notice"}


async def test_a_message_that_is_too_long_closes_the_socket(
    server: PageServer, tab: PageTab
) -> None:
    await tab.send_raw("x" * (LONGEST_MESSAGE + 1))
    assert await tab.is_sent_away() == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    async with open_tab(server.url) as other:
        assert other.said


async def test_so_many_pages_are_open_and_no_more(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "MOST_TABS", 2)
    async with AsyncExitStack() as tabs:
        ada = await tabs.enter_async_context(open_tab(server.url))
        await tabs.enter_async_context(open_tab(server.url, BEN))
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await tabs.enter_async_context(open_tab(server.url))
        assert caught.value.status == 503
        await ada.leaves()
        await ada.is_sent_away()
        async with asyncio.timeout(10):
            while True:
                if await admits_another(server, tabs):
                    break
                await asyncio.sleep(0.05)


async def admits_another(server: PageServer, tabs: AsyncExitStack) -> bool:
    """Open a page, where one may; the server notices a little later that another has gone."""
    try:
        await tabs.enter_async_context(open_tab(server.url))
    except aiohttp.WSServerHandshakeError:
        return False
    return True


async def test_a_page_that_does_not_read_is_let_go(
    whatsapp: WhatsApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_tab, "MOST_UNREAD", 1)
    async with page_of(whatsapp) as server:
        async with open_tab(server.url) as tab:
            # What comes of it is told in one go.
            await tab.send("write", text="Hi")
            await tab.is_sent_away()
        async with open_tab(server.url) as other:
            assert other.said


def test_a_pace_lets_a_burst_through_and_then_so_many_a_second() -> None:
    now = 100.0
    pace = Pace(rate=10, burst=3, clock=lambda: now)
    assert [pace.wait() for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    now += 0.2
    assert pace.wait() == pytest.approx(0.1)
    now += 60
    assert [pace.wait() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


async def test_orders_that_come_too_fast_are_all_carried_out(tab: PageTab) -> None:
    for loss in range(250):
        await tab.send("conditions", loss=loss / 1000, delay=0, jitter=0)
    await tab.hears("conditions", loss=0.249)
    told = [message["loss"] for message in tab.said if message["kind"] == "conditions"]
    assert told == [loss / 1000 for loss in range(250)]


async def test_a_server_that_stops_sends_its_pages_away(whatsapp: WhatsApp) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(page_of(whatsapp))
        async with open_tab(server.url) as tab:
            await stack.aclose()
            assert await tab.is_sent_away() == aiohttp.WSCloseCode.GOING_AWAY


async def test_a_port_in_use_is_one_sentence(whatsapp: WhatsApp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SimulatorError, match=f"port {port} .*--page-port"):
            async with page_of(whatsapp, port=port):
                pass


async def test_a_call_can_be_saved_once_it_is_over(
    whatsapp: WhatsApp, server: PageServer, tab: PageTab, client: aiohttp.ClientSession
) -> None:
    await whatsapp.serve(PipelineBot(prepare=says(tone(700, 2.0))))
    await tab.calls()
    record = (await tab.hears("record"))["record"]["id"]
    address = f"{server.url}/calls/{record}.json"
    async with client.get(address) as response:
        assert response.status == 409
    await tab.hears_step("first word", source="phone")
    await tab.send("hang_up")
    await tab.hears("record_end", record=record, end="the caller hung up")
    async with client.get(address) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert response.headers["Content-Disposition"] == (
            f'attachment; filename="call-{record}.json"'
        )
        text = await response.text()
    saved = json.loads(text)
    assert (saved["format"], saved["version"]) == ("pipecat-whatsapp call", 1)
    assert saved["record"]["id"] == record
    assert "dials" in [step["title"] for step in saved["record"]["steps"]]
    for name in ("heard", "said"):
        assert base64.b64decode(saved["audio"][name]).startswith(b"OggS")
    account = whatsapp.meta.account
    for secret in (ADA["phone"], account.token, account.app_secret, account.display_phone_number):
        assert str(secret) not in text


async def test_a_call_that_was_refused_can_be_saved(
    whatsapp: WhatsApp, server: PageServer, tab: PageTab, client: aiohttp.ClientSession
) -> None:
    await whatsapp.serve(PlainBot())
    whatsapp.meta.business.settings.write({"status": "DISABLED"})
    await tab.send("dial")
    record = (await tab.hears("record_end"))["record"]
    async with client.get(f"{server.url}/calls/{record}.json") as response:
        saved = json.loads(await response.text())
    assert saved["record"]["end"] == "it was not put through"
    assert saved["audio"] == {"heard": None, "said": None}
