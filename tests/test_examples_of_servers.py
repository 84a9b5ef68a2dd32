"""The examples of applications, numbers and servers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from asgi import served
from example_files import EXAMPLES, SOUNDS, hears, load, was_heard
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import Account, SimulatedMeta
from pipecat_whatsapp.simulator.hosting import on_loopback
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from recordings import MOSTLY, share_found
from terminal import run
from whatsapp_world import CLI, variables

PATIENCE = 60.0
BEN = User(phone="4915550003333", user_id="DE.900000000000000002", name="Ben")


# An application of one's own


async def test_the_application_is_called_by_a_simulated_phone(tmp_path: Path) -> None:
    recording = tmp_path / "heard.wav"
    command = ["simulate", EXAMPLES / "own_fastapi_app.py", "--record", recording]
    outcome = await run(*CLI, *command)
    assert outcome.code == 0, outcome
    assert "the bot hung up" in outcome.output
    assert share_found(SOUNDS / "hours.wav", recording) > MOSTLY


async def test_the_application_without_variables_says_which_are_missing() -> None:
    script, nothing = EXAMPLES / "own_fastapi_app.py", dict.fromkeys(VARIABLES, "")
    outcome = await run(script, environment={"PYTHON_DOTENV_DISABLED": "1", **nothing})
    assert outcome.code == 1
    assert outcome.complaint.splitlines()[-1].startswith("WhatsApp needs WHATSAPP_TOKEN, ")


VARIABLES = (
    "WHATSAPP_TOKEN",
    "WHATSAPP_PHONE_NUMBER_ID",
    "WHATSAPP_APP_SECRET",
    "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN",
)


async def read(page: str) -> object:
    """What a page of the application says."""
    async with aiohttp.request("GET", page) as answer:
        return await answer.json()


async def test_the_applications_own_pages_know_of_calls(
    whatsapp: WhatsApp,
    phone: Phone,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHON_DOTENV_DISABLED", "1")
    for name, value in variables(whatsapp.meta.account, whatsapp.meta.graph_url).items():
        monkeypatch.setenv(name, value)
    async with served(load("own_fastapi_app").app) as url:
        await whatsapp.meta.subscribe(url)
        call = await phone.dial()
        await call.answered(PATIENCE)
        page = url.removesuffix("/whatsapp") + "/calls"
        assert await read(page) == {"running": 1, "ended": {}}
        assert await call.ended(PATIENCE) == "terminated"
        async with asyncio.timeout(PATIENCE):
            while await read(page) != {"running": 0, "ended": {"bot hung up": 1}}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert capsys.readouterr().out.splitlines() == [
        "The shop opens.",
        "The shop closes. Calls: 1",
    ]


# Several numbers


@asynccontextmanager
async def graph_of(*metas: SimulatedMeta) -> AsyncIterator[str]:
    """One Graph API for several numbers: a request goes to whoever has its number."""
    urls = {meta.account.phone_number_id: meta.graph_url for meta in metas}

    async def forward(request: web.Request) -> web.Response:
        _, _, number, *_ = request.path.split("/")
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        asking = aiohttp.request(
            request.method,
            urls[number] + request.path_qs,
            data=await request.read(),
            headers=headers,
        )
        async with asking as answer:
            body, kind = await answer.read(), answer.content_type
        return web.Response(status=answer.status, body=body, content_type=kind)

    app = web.Application()
    app.router.add_route("POST", "/{path:.*}", forward)
    async with on_loopback(app) as url:
        yield url


async def test_each_number_has_its_bot(whatsapp: WhatsApp, phone: Phone) -> None:
    example, meta = load("several_numbers"), whatsapp.meta
    number, other_number = example.NUMBERS
    assert meta.account.display_phone_number == number
    account = Account(phone_number_id="200000000000009", display_phone_number=other_number)
    async with (
        SimulatedMeta(account) as other,
        graph_of(meta, other) as graph_url,
        Phone(other, BEN) as bens,
    ):
        await whatsapp.serve(
            example.usual,
            on_incoming_call=example.to_its_bot,
            graph_url=graph_url,
            phone_number_ids=frozenset({meta.account.phone_number_id, account.phone_number_id}),
        )
        await other.subscribe(whatsapp.webhook_url)
        berlin, london = await phone.dial(), await bens.dial()
        await hears(berlin, "hours")
        await hears(london, "address")
        assert await berlin.ended(PATIENCE) == await london.ended(PATIENCE) == "terminated"
        assert not was_heard(berlin, "address")
        assert not was_heard(london, "hours")
        await whatsapp.stop_serving()


async def test_a_number_without_a_bot_of_its_own_has_the_usual_one(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = load("several_numbers")
    monkeypatch.delitem(example.NUMBERS, whatsapp.meta.account.display_phone_number)
    await whatsapp.serve(example.usual, on_incoming_call=example.to_its_bot)
    call = await phone.dial()
    await hears(call, "menu")


async def test_the_simulated_account_has_the_first_number(tmp_path: Path) -> None:
    recording = tmp_path / "heard.wav"
    command = ["simulate", EXAMPLES / "several_numbers.py", "--record", recording]
    outcome = await run(*CLI, *command)
    assert outcome.code == 0, outcome
    assert share_found(SOUNDS / "hours.wav", recording) > MOSTLY


# Several servers


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
async def test_one_server_has_the_call_and_the_other_one_its_end() -> None:
    outcome = await run(EXAMPLES / "redis_pair.py")
    assert outcome.code == 0, outcome
    *_, first, second = outcome.output.splitlines()
    # Why it ended: word of that may come too late on a busy machine.
    assert "had a call that ended: " in first
    assert second.endswith("had no call.")
    ports = [line.split()[3] for line in (first, second)]
    assert f"connect to 127.0.0.1:{ports[0]} -> 200" in outcome.output
    assert f"terminate to 127.0.0.1:{ports[1]} -> 200" in outcome.output


async def test_without_redis_the_pair_says_what_is_missing(tmp_path: Path) -> None:
    outcome = await run(EXAMPLES / "redis_pair.py", environment={"PATH": str(tmp_path)})
    assert outcome.code == 1
    assert outcome.complaint.startswith("The Redis pair needs redis-server")
