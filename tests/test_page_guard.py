from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from loguru import logger

from page_tab import open_tab
from pipecat_whatsapp.calls.dial_client import DialAnswer
from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.media.interfaces import read_interfaces
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.page.guard import HEADERS, Guard
from pipecat_whatsapp.simulator.page.server import PageServer

TOKEN = "a-token-that-is-long"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - with a token

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


async def nobody(_: User) -> DialAnswer:
    raise AssertionError("nobody shall call")


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[PageServer]:
    async with SimulatedMeta() as meta, PageServer(meta, "bot.py", nobody, **options) as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[PageServer]:
    async with serving() as made:
        yield made


@pytest.fixture
async def locked() -> AsyncIterator[PageServer]:
    async with serving(token=TOKEN) as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    # Loopback is an address, whose cookies are not kept otherwise.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as made:
        yield made


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that is logged."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="TRACE")
    yield lines
    logger.remove(sink)


async def status(
    client: aiohttp.ClientSession,
    url: str,
    *,
    cookies: dict[str, str] | None = None,
    **headers: str,
) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get(url, headers=named, cookies=cookies, allow_redirects=False) as response:
        return response.status


async def handshake(client: aiohttp.ClientSession, url: str, **headers: str) -> int:
    """The status of a WebSocket's handshake: 101 for one that is there."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        async with client.ws_connect(f"{url}/socket", headers=named):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


def port_of(server: PageServer) -> str:
    return server.url.rpartition(":")[2]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_the_page_has_the_names_of_loopback(
    server: PageServer, client: aiohttp.ClientSession, name: str
) -> None:
    assert await status(client, f"{server.url}/", Host=f"{name}:{port_of(server)}") == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.nip.io"]
)
async def test_another_name_that_points_here_is_refused(
    server: PageServer, client: aiohttp.ClientSession, host: str
) -> None:
    host = host.format(port=port_of(server))
    for path in ("/", "/static/main.js", "/calls/0.json", "/nothing"):
        assert await status(client, server.url + path, Host=host) == 421
    assert await handshake(client, server.url, Host=host, Origin=f"http://{host}") == 421


async def test_the_socket_is_for_the_pages_own_origin(
    server: PageServer, client: aiohttp.ClientSession
) -> None:
    assert await handshake(client, server.url, Origin=server.url) == 101
    assert await handshake(client, server.url) == 403
    port = port_of(server)
    for origin in (
        "http://evil.example",
        "http://127.0.0.1:1",
        f"https://127.0.0.1:{port}",
        f"http://localhost:{port}",
        f"{server.url}.evil.example",
        f"{server.url}/",
        "null",
        "",
    ):
        assert await handshake(client, server.url, Origin=origin) == 403, origin


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_other_sites_get_nothing_but_the_page(
    server: PageServer, client: aiohttp.ClientSession, site: str
) -> None:
    for path in ("/calls/0.json", "/static/main.js"):
        assert await status(client, server.url + path, Sec_Fetch_Site=site) == 403
        assert await status(client, server.url + path, Origin="http://evil.example") == 403
    refused = await handshake(client, server.url, Origin=server.url, Sec_Fetch_Site=site)
    assert refused == 403
    # A link leads to the page itself.
    assert await status(client, f"{server.url}/", Sec_Fetch_Site=site) == 200
    assert await status(client, f"{server.url}/calls/0.json", Sec_Fetch_Site="none") == 404


async def test_every_answer_has_the_headers_that_keep_others_out(
    server: PageServer, client: aiohttp.ClientSession
) -> None:
    for path in ("/", "/static/main.js", "/nothing", "/calls/0.json", "/socket"):
        async with client.get(server.url + path) as response:
            assert HEADERS.items() <= response.headers.items(), path
            assert "Server" not in response.headers
    async with client.get(server.url, headers={"Host": "evil.example"}) as response:
        assert HEADERS.items() <= response.headers.items()
    async with client.get(f"{server.url}/socket", headers=UPGRADE | {"Origin": server.url}) as made:
        assert made.status == 101
        assert HEADERS.items() <= made.headers.items()


async def test_the_page_is_kept_from_its_openers_where_browsers_can_do_so(
    server: PageServer, client: aiohttp.ClientSession
) -> None:
    for headers, expected in (({"Sec-Fetch-Site": "none"}, "same-origin"), ({}, None)):
        async with client.get(server.url, headers=headers) as response:
            assert response.headers.get("Cross-Origin-Opener-Policy") == expected


async def test_nothing_but_reading_is_allowed(
    server: PageServer, client: aiohttp.ClientSession
) -> None:
    for path in ("/", "/static/main.js", "/calls/0.json"):
        async with client.post(server.url + path, data=b"x") as response:
            assert response.status == 405


async def test_a_token_is_shown_once(locked: PageServer, client: aiohttp.ClientSession) -> None:
    for path in ("/", "/static/main.js", "/calls/0.json", "/nothing"):
        assert await status(client, locked.url + path) == 401
    assert await handshake(client, locked.url, Origin=locked.url) == 401
    async with client.get(f"{locked.url}/?token={TOKEN}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
    assert await status(client, f"{locked.url}/") == 200
    assert await status(client, f"{locked.url}/calls/0.json") == 404
    assert await handshake(client, locked.url, Origin=locked.url) == 101
    assert await handshake(client, locked.url, Origin="http://evil.example") == 403


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "x", "%FF", "tök€n"])
async def test_a_wrong_token_opens_nothing(
    locked: PageServer, client: aiohttp.ClientSession, given: str
) -> None:
    assert await status(client, f"{locked.url}/?token={given}") == 401
    cookies = {f"page-{port_of(locked)}": TOKEN}
    assert await status(client, f"{locked.url}/", cookies=cookies) == 401
    assert await status(client, f"{locked.url}/static/main.js?token={TOKEN}") == 401
    assert len(client.cookie_jar) == 0


async def test_who_has_the_token_may_come_by_any_name_and_through_tls(
    locked: PageServer, client: aiohttp.ClientSession
) -> None:
    assert await status(client, f"{locked.url}/?token={TOKEN}") == 303
    name = "phone.example"
    assert await status(client, f"{locked.url}/", Host=name) == 200
    for origin, expected in {
        f"https://{name}": 101,
        f"http://{name}": 101,
        locked.url: 403,
    }.items():
        assert await handshake(client, locked.url, Host=name, Origin=origin) == expected


@pytest.mark.parametrize(
    "host", [EVERYWHERE, "::", "192.0.2.1", "phone.example", "127.0.0.1.nip.io"]
)
def test_beyond_loopback_there_must_be_a_token(host: str) -> None:
    with pytest.raises(SimulatorError, match="--page-token") as caught:
        Guard(host, None)
    assert str(caught.value).count(". ") == 0
    Guard(host, "x" * 16)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token_but_takes_no_short_one(host: str) -> None:
    Guard(host, None)
    for token in ("", "x" * 15):
        with pytest.raises(SimulatorError, match="16 characters") as caught:
            Guard(host, token)
        assert token == "" or token not in str(caught.value)


async def test_a_page_for_others_is_served_where_they_reach_it(
    client: aiohttp.ClientSession,
) -> None:
    async with serving(host=EVERYWHERE, token=TOKEN) as server:
        url = f"http://127.0.0.1:{port_of(server)}"
        assert await status(client, f"{url}/") == 401
        assert await status(client, f"{url}/?token={TOKEN}") == 303
        assert await status(client, f"{url}/") == 200


async def test_ipv6_works_as_well() -> None:
    if not any("::1" in each.addresses for each in read_interfaces()):
        pytest.skip("this machine has no IPv6")
    async with serving(host="::1") as server, open_tab(server.url) as tab:
        assert server.url == f"http://[::1]:{port_of(server)}"
        assert tab.said[0]["kind"] == "hello"


async def test_the_token_is_never_logged(
    locked: PageServer,
    client: aiohttp.ClientSession,
    log: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    for path in (f"/?token={TOKEN}", f"/nothing?token={TOKEN}", f"/?token=x{TOKEN}", "/"):
        await status(client, locked.url + path)
    assert TOKEN not in "".join(log)
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(locked)
