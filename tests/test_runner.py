from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI
from loguru import logger
from pipecat.frames.frames import EndFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.runner.types import SmallWebRTCRunnerArguments
from pipecat.runner.utils import create_transport as create_pipecat_transport
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.transports.smallwebrtc.connection import IceServer, SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport

from asgi import served
from bots import RATE, Echo, PlainBot, run_worker
from conftest import Reports
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import Bot, Reject, WhatsAppRunnerArguments
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES
from pipecat_whatsapp.runner import (
    _ice_servers,
    _Parser,
    _whatsapp_params,
    create_transport,
    whatsapp_router,
)
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.payloads import signature
from pipecat_whatsapp.simulator.phone import Phone, PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport
from ports import free_port

PATIENCE = 60.0
"""Seconds for a process to start or to end, on however slow a machine."""

BOT = """
import argparse

from bots import RATE, Echo
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp.runner import create_transport, main
from pipecat_whatsapp.transport import WhatsAppParams


async def bot(runner_args):
    print("greeting:", runner_args.cli_args.greeting, flush=True)
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    pipeline = Pipeline([transport.input(), Echo(), transport.output()])
    params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(PipelineWorker(pipeline, params=params))
    try:
        await runner.run()
    finally:
        print("the bot has ended", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--greeting", default="hello")
    main(parser)
"""


def tone(seconds: float) -> bytes:
    """A loud square wave: 16-bit mono."""
    half = RATE // 400 // 2
    period = (b"\x00\x30" * half) + (b"\x00\xd0" * half)
    return period * int(seconds * 400)


async def is_echoed(call: PhoneCall) -> None:
    """Speak until it comes back: a bot may open its ears late."""
    async with asyncio.timeout(PATIENCE):
        while not call.recording.sound_seconds:
            await call.say(tone(0.5))


# `python bot.py`, as a process of its own


class BotProcess:
    """A bot that runs with pipecat's runner.

    Parameters:
        url: Where it serves.
    """

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.url = url
        self._process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def interrupt(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def exit_code(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def get(self, path: str, **query: str) -> tuple[int, str]:
        async with aiohttp.request("GET", self.url + path, params=query) as answer:
            return answer.status, await answer.text()

    async def started(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                assert self._process.returncode is None, self.output
                try:
                    await self.get("/status")
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
                else:
                    return


@asynccontextmanager
async def bot_process(
    folder: Path,
    *arguments: str,
    meta: SimulatedMeta | None = None,
    script: str = BOT,
    **environ: str,
) -> AsyncIterator[BotProcess]:
    """Run the bot; kill it in the end, if it is still there."""
    (folder / "bot.py").write_text(script)
    log, port = folder / "bot.log", free_port()
    command = [sys.executable, "bot.py", "--host", "127.0.0.1", "--port", str(port), *arguments]
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment(meta) | environ, stdout=output, stderr=output
        )
    try:
        yield BotProcess(process, f"http://127.0.0.1:{port}", log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def environment(meta: SimulatedMeta | None) -> dict[str, str]:
    """The variables of this process, and those of the business number."""
    environ = {name: v for name, v in os.environ.items() if not name.startswith("WHATSAPP_")}
    # pipecat's runner reads .env files, and what they say wins.
    environ |= {"PYTHON_DOTENV_DISABLED": "1", "PYTHONPATH": str(Path(__file__).parent)}
    if meta is not None:
        environ |= {
            "WHATSAPP_TOKEN": meta.account.token,
            "WHATSAPP_PHONE_NUMBER_ID": meta.account.phone_number_id,
            "WHATSAPP_APP_SECRET": meta.account.app_secret,
            "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": meta.account.verification_token,
            "WHATSAPP_GRAPH_URL": meta.graph_url,
        }
    return environ


async def test_the_env_file_of_the_current_folder_is_read(
    tmp_path: Path, whatsapp: WhatsApp
) -> None:
    written = environment(whatsapp.meta)
    lines = [f"{name}={v}" for name, v in written.items() if name.startswith("WHATSAPP_")]
    (tmp_path / ".env").write_text("\n".join(lines))
    async with bot_process(
        tmp_path, "-t", "whatsapp", PYTHON_DOTENV_DISABLED="0", WHATSAPP_TOKEN="an old one"
    ) as process:
        await process.started()
        await whatsapp.meta.subscribe(f"{process.url}/whatsapp")


async def test_files_of_the_folder_are_not_run_in_search_of_the_bot(
    tmp_path: Path, whatsapp: WhatsApp
) -> None:
    script = """
from bots import PlainBot
from pipecat_whatsapp.runner import main


async def on_start(adapter):
    print("calls everybody", flush=True)


main(bot=PlainBot(), on_start=on_start)
"""
    (tmp_path / "something_else.py").write_text("print('something else', flush=True)")
    async with bot_process(
        tmp_path, "-t", "whatsapp", meta=whatsapp.meta, script=script
    ) as process:
        await process.started()
        await whatsapp.meta.subscribe(f"{process.url}/whatsapp")
        assert process.output.count("calls everybody") == 1
        assert "something else" not in process.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_call_and_the_end_of_the_process(
    tmp_path: Path, whatsapp: WhatsApp, phone: Phone, number: signal.Signals
) -> None:
    arguments = ("-t", "whatsapp", "--greeting", "good morning")
    async with bot_process(tmp_path, *arguments, meta=whatsapp.meta) as process:
        await process.started()
        await whatsapp.meta.subscribe(process.url + "/whatsapp")
        call = await phone.dial()
        await call.answered()
        await is_echoed(call)
        process.interrupt(number)
        await whatsapp.meta.wait_request("terminate", call.id, timeout=PATIENCE)
        assert await call.ended() == "terminated"
        assert await process.exit_code() in (0, -number)
        assert "greeting: good morning" in process.output
        assert "the bot has ended" in process.output
        assert "Traceback" not in process.output


async def test_the_end_of_calls_waits_for_no_request(
    tmp_path: Path, whatsapp: WhatsApp, phone: Phone
) -> None:
    async with bot_process(tmp_path, "-t", "whatsapp", meta=whatsapp.meta) as process:
        await process.started()
        await whatsapp.meta.subscribe(process.url + "/whatsapp")
        call = await phone.dial()
        await call.answered()
        async with half_a_request(process.url):
            process.interrupt(signal.SIGINT)
            assert await call.ended() == "terminated"
        await process.exit_code()
        assert "Traceback" not in process.output


@asynccontextmanager
async def half_a_request(url: str) -> AsyncIterator[None]:
    """Send a request whose body does not come to its end."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /whatsapp HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
    writer.write(b"Content-Length: 2\r\n\r\n")
    # The server says this when it reads the body.
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    try:
        yield
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_webhook_over_http(tmp_path: Path, whatsapp: WhatsApp) -> None:
    meta = whatsapp.meta
    async with bot_process(tmp_path, "-t", "whatsapp", meta=meta) as process:
        await process.started()
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": "0123",
            "hub.verify_token": meta.account.verification_token,
        }
        assert await process.get("/whatsapp", **query) == (200, "0123")
        assert (await process.get("/whatsapp", **query | {"hub.verify_token": "guess"}))[0] == 403

        await meta.subscribe(process.url + "/whatsapp")
        forged = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
        assert (await meta.deliver_raw(b"{}", forged)).status == 401
        assert (await meta.deliver_raw(b"{}", {})).status == 401
        meta.business.subscriptions.fields.add("invented_tomorrow")
        assert (await meta.deliver({"what": "ever"}, field="invented_tomorrow")).status == 200
        assert (await meta.deliver({"statuses": [{"status": "RINGING", "id": "x"}]})).status == 200
        assert await oversized(process.url + "/whatsapp", meta.account.app_secret) == 413
        # The other transports' routes are there, too.
        assert (await process.get("/status"))[0] == 200
        assert "webrtc" in (await process.get("/status"))[1]
        # uvicorn prints each request, and Meta's has the token in it.
        assert "hub.verify_token=***" in process.output
        assert meta.account.verification_token not in process.output


async def oversized(url: str, app_secret: str) -> int:
    """Send one byte more than is allowed, well signed."""
    body = b" " * (MAX_BODY_BYTES + 1)
    headers = {"X-Hub-Signature-256": signature(body, app_secret)}
    posting = aiohttp.request("POST", url, data=io.BytesIO(body), headers=headers)
    async with posting as answer:
        return answer.status


@pytest.mark.parametrize("arguments", [(), ("-t", "webrtc")])
async def test_other_transports_need_no_whatsapp(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    async with bot_process(tmp_path, *arguments) as process:
        await process.started()
        assert (await process.get("/whatsapp"))[0] == 404
        assert (await process.get("/status"))[0] == 200


async def test_the_in_tree_flag_keeps_its_meaning(tmp_path: Path, whatsapp: WhatsApp) -> None:
    async with bot_process(tmp_path, "--whatsapp", meta=whatsapp.meta) as process:
        await process.started()
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": "0123",
            "hub.verify_token": whatsapp.meta.account.verification_token,
        }
        # Read as a number: it is not ours that answers.
        assert await process.get("/whatsapp", **query) == (200, "123")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("WHATSAPP_APP_SECRET", "", "WHATSAPP_APP_SECRET"),
        ("WHATSAPP_GRAPH_URL", "http://graph.example.com", "Graph URL"),
    ],
)
async def test_a_bad_environment_stops_the_start(
    tmp_path: Path, whatsapp: WhatsApp, variable: str, value: str, named: str
) -> None:
    environ = {variable: value}
    async with bot_process(tmp_path, "-t", "whatsapp", meta=whatsapp.meta, **environ) as process:
        assert await process.exit_code() == 2
        assert "Traceback" not in process.output
        *_, sentence = process.output.splitlines()
        assert named in sentence


# The command line


def test_a_parser_of_ones_own_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    own = argparse.ArgumentParser(description="My bot")
    own.add_argument("--greeting")
    served: list[argparse.Namespace] = []
    parser = _Parser(own, served.append)
    parser.add_argument("-t", "--transport", choices=["daily", "webrtc"])
    args = parser.parse_args(["-t", "whatsapp", "--greeting", "hello"])
    assert served == [args]
    assert (args.greeting, args.transport) == ("hello", None)
    assert parser.parse_args(["-t", "daily"]).transport == "daily"
    with pytest.raises(argparse.ArgumentError, match="conflicting"):
        parser.add_argument("--greeting")
    assert "My bot" in parser.format_help()
    with pytest.raises(SystemExit):
        parser.parse_args(["-t", "pigeon"])
    assert "'whatsapp'" in capsys.readouterr().err
    assert len(served) == 1


def test_ice_servers_are_those_of_the_command_line() -> None:
    turn = {"urls": "turn:turn.example.com", "username": "u", "credential": "c"}
    given = ["stun:stun.example.com", json.dumps(turn)]
    servers = (IceServer("stun:stun.example.com"), IceServer(**turn))
    assert _ice_servers(argparse.Namespace(ice_servers=given)) == {"ice_servers": servers}


def test_ice_servers_of_whatsapp_come_before_those_of_pipecat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = argparse.Namespace(ice_servers="stun:stun.example.com")
    assert _ice_servers(args) == {"ice_servers": (IceServer("stun:stun.example.com"),)}
    monkeypatch.setenv("WHATSAPP_ICE_SERVERS", "turn:turn.example.com")
    assert _ice_servers(args) == {}


@pytest.mark.parametrize("given", [None, "", []])
def test_without_any_on_the_command_line_the_environment_names_them(given: object) -> None:
    assert _ice_servers(argparse.Namespace(ice_servers=given)) == {}


async def test_a_bot_picked_by_the_hook_knows_the_command_line(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    args, usual, special = argparse.Namespace(greeting="hello"), PlainBot(), PlainBot()

    async def hook(call: Call) -> Bot | Reject | None:
        return special

    await whatsapp.serve(usual, cli_args=args, on_incoming_call=hook)
    call = await phone.dial()
    await call.answered()
    assert special.started[0].cli_args is args


# A FastAPI application of one's own


async def test_routes_for_any_fastapi_application(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    app = FastAPI()
    app.include_router(whatsapp_router(lambda: WebhookAdapter(whatsapp.config(), bot)))
    async with served(app) as url:
        await whatsapp.meta.subscribe(url)
        call = await phone.dial()
        await call.answered()
    assert await call.ended() == "terminated"
    assert bot.running == 0


async def test_an_application_without_a_lifespan_says_so(whatsapp: WhatsApp) -> None:
    app = FastAPI()
    app.include_router(whatsapp_router(lambda: WebhookAdapter(whatsapp.config(), PlainBot())))
    async with served(app, lifespan="off") as url, aiohttp.request("POST", url) as answer:
        assert answer.status == 503


async def test_a_body_that_drips_is_cut_off(whatsapp: WhatsApp) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"drip"
        await asyncio.Event().wait()

    app = FastAPI()
    made = WebhookAdapter(whatsapp.config(), PlainBot())
    app.include_router(whatsapp_router(lambda: made, body_timeout=0.2))
    async with served(app) as url, aiohttp.request("POST", url, data=drip()) as answer:
        assert answer.status == 408


# What a bot is given


@pytest.fixture
async def runner_args(whatsapp: WhatsApp, phone: Phone) -> WhatsAppRunnerArguments:
    bot = PlainBot()
    await whatsapp.serve(bot)
    call = await phone.dial(cta_payload="vip", deeplink_payload="poster")
    await call.answered()
    return bot.started[0]


async def test_runner_arguments(
    whatsapp: WhatsApp, phone: Phone, runner_args: WhatsAppRunnerArguments
) -> None:
    account, user, call = whatsapp.meta.account, phone.user, runner_args.call
    assert isinstance(runner_args, SmallWebRTCRunnerArguments)
    assert runner_args.session_id == call.id
    assert runner_args.call_data is not None
    assert runner_args.call_data.call_id == call.id
    assert runner_args.call_data.from_number == user.phone
    assert runner_args.call_data.to_number == account.display_phone_number
    assert type(runner_args.body) is dict
    assert json.loads(json.dumps(runner_args.body)) == {
        "call_id": call.id,
        "direction": call.direction.value,
        "from": user.phone,
        "to": account.display_phone_number,
        "user_id": user.user_id,
        "user_name": user.name,
        "phone_number_id": account.phone_number_id,
        "cta_payload": "vip",
        "deeplink_payload": "poster",
        "biz_opaque_callback_data": None,
    }


async def test_the_whatsapp_key_comes_first(runner_args: WhatsAppRunnerArguments) -> None:
    chosen = WhatsAppParams(audio_in_enabled=False)
    params: dict[str, Callable[[], TransportParams]] = {
        "webrtc": TransportParams,
        "whatsapp": lambda: chosen,
    }
    assert _whatsapp_params(params) is chosen
    transport = await create_transport(runner_args, params)
    assert isinstance(transport, WhatsAppTransport)
    assert transport.call is runner_args.call


async def test_without_a_fitting_key_the_error_names_it(
    runner_args: WhatsAppRunnerArguments,
) -> None:
    with pytest.raises(ConfigError, match='"whatsapp"'):
        await create_transport(runner_args, {"daily": TransportParams})


async def test_other_arguments_are_pipecats_business() -> None:
    connection = SmallWebRTCConnection()
    try:
        runner_args = SmallWebRTCRunnerArguments(webrtc_connection=connection)
        transport = await create_transport(runner_args, {"webrtc": TransportParams})
        assert isinstance(transport, SmallWebRTCTransport)
    finally:
        await connection.disconnect()


# Bots that do not know of WhatsApp


def test_what_the_author_set_stays_and_our_defaults_fill_the_rest() -> None:
    params = _whatsapp_params(
        {"webrtc": lambda: TransportParams(audio_in_enabled=False, audio_out_10ms_chunks=4)}
    )
    ours = WhatsAppParams(audio_in_enabled=False, audio_out_10ms_chunks=4)
    assert params == ours
    assert params.audio_out_enabled


class EchoBot:
    """A bot as one writes it for pipecat: says what it hears, ends when it is told to.

    Args:
        create: The `create_transport` that it imported.
    """

    def __init__(self, create: Any) -> None:
        self.transports: list[BaseTransport] = []
        self.workers: list[PipelineWorker] = []
        self.events: list[str] = []
        self._create = create

    async def __call__(self, runner_args: WhatsAppRunnerArguments) -> None:
        video = TransportParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            video_in_enabled=True,
            video_out_enabled=True,
        )
        transport = await self._create(runner_args, {"webrtc": lambda: video})
        worker = PipelineWorker(
            Pipeline([transport.input(), Echo(), transport.output()]),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        )

        @transport.event_handler("on_client_connected")
        async def on_connected(transport: BaseTransport, client: object) -> None:
            self.events.append("connected")

        @transport.event_handler("on_client_disconnected")
        async def on_disconnected(transport: BaseTransport, client: object) -> None:
            self.events.append("disconnected")
            await worker.cancel()

        self.transports.append(transport)
        self.workers.append(worker)
        await run_worker(worker)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning or worse."""
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(str(message)), level="WARNING")
    yield messages
    logger.remove(sink)


async def echoed(phone: Phone) -> PhoneCall:
    """Call, speak, and hear it come back."""
    call = await phone.dial()
    await call.answered()
    await is_echoed(call)
    assert call.recording.media_before_accept == 0
    assert len(call.recording.ssrcs) == 1
    return call


@pytest.mark.parametrize(
    ("create", "kind"),
    [
        (create_transport, WhatsAppTransport),
        (create_pipecat_transport, SmallWebRTCTransport),
    ],
    ids=["our create_transport", "pipecat's create_transport"],
)
class TestUnmodifiedBots:
    async def test_the_bot_hangs_up(
        self,
        whatsapp: WhatsApp,
        phone: Phone,
        reports: Reports,
        warnings: list[str],
        create: Any,
        kind: type[BaseTransport],
    ) -> None:
        bot = EchoBot(create)
        await whatsapp.serve(bot, on_call_ended=reports)
        call = await echoed(phone)
        assert isinstance(bot.transports[0], kind)
        await bot.workers[0].queue_frame(EndFrame())
        assert await call.ended() == "terminated"
        assert (await reports.next()).cause is Cause.BOT_HUNG_UP
        assert [request.action for request in whatsapp.meta.requests] == [
            "pre_accept",
            "accept",
            "terminate",
        ]
        assert not [w for w in warnings if "transceiver" in w or "channel" in w.lower()]

    async def test_the_caller_hangs_up(
        self,
        whatsapp: WhatsApp,
        phone: Phone,
        reports: Reports,
        warnings: list[str],
        create: Any,
        kind: type[BaseTransport],
    ) -> None:
        bot = EchoBot(create)
        await whatsapp.serve(bot, on_call_ended=reports)
        call = await echoed(phone)
        await call.hang_up()
        assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
        assert bot.events == ["connected", "disconnected"]
        assert not [w for w in warnings if "transceiver" in w or "channel" in w.lower()]
