"""`pipecat eval` over a simulated call: its own command, and what it may send."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from pipecat.frames.frames import LLMMessagesUpdateFrame
from pipecat.pipeline.worker import PipelineWorker

from bots import RATE, Ears, PipelineBot, PlainBot, says
from conftest import Reports, until
from evaluated_bot import GREETING
from pipecat_whatsapp.calls.bot import Bot, Decision, Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.serving.bot_module import BotModule
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.evaluation.conversation import NO_IMAGE, NO_MESSAGE, NO_TEXT
from pipecat_whatsapp.simulator.evaluation.inside import SETUP_FILES
from pipecat_whatsapp.simulator.evaluation.server import PortError, evaluated
from pipecat_whatsapp.simulator.sound import read_wav, resample
from pipecat_whatsapp.transport import WhatsAppTransport
from ports import free_port
from recordings import MOSTLY, heard, share_found
from terminal import Command, Outcome, run, running

HERE = Path(__file__).parent
PATIENCE = 60.0
STREAMED = 0.04
"""Seconds of sound in one message of `pipecat eval`."""

PUNKT = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")

COMMAND = "import typer; from pipecat_whatsapp.commands.evaluate import evaluate as f; typer.run(f)"

SCENARIO = """
name: {name}
user: {user}
judge: {judge}
context: [{{role: user, content: Ada}}]
turns: {turns}
scenarios: [{{name: {name}}}]
"""

SUITE = """
spawn: "{{python}} {script} {{bot}} --port {{port}}"
base_port: {port}
suite: [{{bot: {bot}, scenarios: [{scenario}]}}]
"""

SPOKEN = {"modality": "audio", "speech": {"factory": "evaluation_services.voice", "voice": "any"}}
HEARD = {"modality": "audio", "transcription": {"factory": "evaluation_services.ear"}}


def expecting(*events: tuple[str, str | None], **turn: Any) -> dict[str, Any]:
    """A turn, and what it leads to."""
    wanted = [{"event": name, "text_contains": text} for name, text in events]
    return {**turn, "expect": [{k: v for k, v in each.items() if v} for each in wanted]}


TURNS = [
    expecting(("response", "greeting")),
    expecting(("vad_user_started_speaking", None), ("response", "hours"), user="question"),
    expecting(("llm_response", "This was 5."), dtmf="5"),
    expecting(("llm_response", "Goodbye."), dtmf="#"),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of commands. pipecat 1.8 would load data for NLTK from the internet; empty ones do."""
    data = tmp_path / "nltk" / "tokenizers" / "punkt_tab" / "english"
    data.mkdir(parents=True)
    for name in PUNKT:
        (data / name).touch()
    return {"PYTHONPATH": str(HERE), "NLTK_DATA": str(tmp_path / "nltk")}


@pytest.fixture
async def served(environment: dict[str, str]) -> AsyncIterator[tuple[Command, str]]:
    """The command with the bot, and the address that it prints."""
    bot, port = HERE / "evaluated_bot.py", free_port()
    async with running("-c", COMMAND, bot, "--port", port, environment=environment) as command:
        await command.prints("Ctrl-C ends it.")
        yield command, f"ws://127.0.0.1:{port}"


def write(folder: Path, name: str, **scenario: Any) -> Path:
    """Write a scenario's file."""
    file = folder / f"{name}.yaml"
    parts = {key: json.dumps(value) for key, value in scenario.items()}
    file.write_text(SCENARIO.format(name=name, **parts))
    return file


async def evaluate(folder: Path, url: str, name: str, **scenario: Any) -> Outcome:
    """Run a scenario as its author does; its log is in the outcome."""
    file, logs = write(folder, name, **scenario), folder / "logs"
    outcome = await run(
        *("-m", "pipecat.evals", "run", file, "--bot-url", url, "--no-cache"),
        *("--timeout", "60", "--logs-dir", logs),
        environment={"PYTHONPATH": str(HERE)},
    )
    log = "\n".join(each.read_text() for each in logs.glob("*.eval.log"))
    return replace(outcome, output=outcome.output + log)


async def test_a_scenario_is_held_over_a_call(served: tuple[Command, str], tmp_path: Path) -> None:
    _, url = served
    outcome = await evaluate(tmp_path, url, "call", user=SPOKEN, judge=HEARD, turns=TURNS)
    assert outcome.code == 0, outcome


async def test_a_scenario_may_judge_the_words_of_the_model(
    served: tuple[Command, str], tmp_path: Path
) -> None:
    _, url = served
    turns = [
        expecting(("llm_response", "Hello.")),
        expecting(("llm_response", "We are open, Ada."), user="question"),
    ]
    judge = {"modality": "text"}
    outcome = await evaluate(tmp_path, url, "words", user=SPOKEN, judge=judge, turns=turns)
    assert outcome.code == 0, outcome
    wrong = [expecting(("llm_response", "We are closed."), user="question")]
    wrong[0]["expect"][0]["within_ms"] = 15_000
    outcome = await evaluate(tmp_path, url, "wrong", user=SPOKEN, judge=judge, turns=wrong)
    assert outcome.code == 1, outcome


async def test_a_scenario_whose_user_writes_is_refused(
    served: tuple[Command, str], tmp_path: Path
) -> None:
    command, url = served
    text = {"modality": "text"}
    turns = [expecting(("llm_response", "open"), user="When are you open?")]
    turns[0]["expect"][0]["within_ms"] = 15_000
    outcome = await evaluate(tmp_path, url, "written", user=text, judge=text, turns=turns)
    assert outcome.code == 1, outcome
    await command.prints(NO_TEXT)


async def test_a_suite_starts_the_bot_by_itself(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    turns = [expecting(("llm_response", "Hello."))]
    scenario = write(tmp_path, "suite", user=SPOKEN, judge={"modality": "text"}, turns=turns)
    script, manifest = tmp_path / "evaluate.py", tmp_path / "manifest.yaml"
    script.write_text(COMMAND)
    bot, port = HERE / "evaluated_bot.py", free_port()
    manifest.write_text(SUITE.format(script=script, bot=bot, scenario=scenario, port=port))
    outcome = await run(
        *("-m", "pipecat.evals", "suite", manifest, "--runs-dir", tmp_path / "runs"),
        environment=environment,
    )
    assert outcome.code == 0, outcome
    assert "1/1 passed" in outcome.output


async def test_a_port_that_is_in_use_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bot = HERE / "evaluated_bot.py"
        environment = {"PYTHONPATH": str(HERE)}
        outcome = await run("-c", COMMAND, bot, "--port", port, environment=environment)
    assert outcome.code == 1
    assert outcome.complaint.endswith(
        f"Port {port} cannot be had (Address already in use): end what uses it, or give another "
        "one.\n"
    )


# The connection


@asynccontextmanager
async def connected(
    bot: Bot, **hooks: Any
) -> AsyncIterator[tuple[ClientWebSocketResponse, list[str]]]:
    """A connection to a bot, and what somebody at the terminal reads."""
    lines: list[str] = []
    module = BotModule(bot=bot, cli_args=argparse.Namespace(), **hooks)
    async with (
        evaluated(module, lines.append) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(url + "?capture_bot_audio=true") as connection,
    ):
        yield connection, lines


def rtvi(kind: str, **data: Any) -> dict[str, Any]:
    return {"label": "rtvi-ai", "type": kind, "id": "1", "data": data}


async def receives(connection: ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The data of the next message of a kind."""
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await connection.receive_json()
            if message["type"] == kind:
                data: dict[str, Any] = message.get("data") or {}
                return data


async def close_of(connection: ClientWebSocketResponse) -> tuple[int, str]:
    """How the other side closes the connection: code and reason."""
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await connection.receive()
            if message.type is WSMsgType.CLOSE:
                return message.data, message.extra or ""


async def stream(connection: ClientWebSocketResponse, pcm: bytes, rate: int) -> None:
    """Send sound as `pipecat eval` does, but for its pace: pieces come late, and two at once."""
    size = 2 * int(STREAMED * rate)
    for index, at in enumerate(range(0, len(pcm), size)):
        audio = base64.b64encode(pcm[at : at + size]).decode()
        message = rtvi("raw-audio", base64Audio=audio, sampleRate=rate, numChannels=1)
        await connection.send_json(message)
        if index % 2:
            await asyncio.sleep(2 * STREAMED)


async def test_what_is_streamed_in_pieces_is_said_in_one() -> None:
    ears = Ears()
    question = resample(read_wav(QUESTION), RATE, 24_000)
    async with connected(PipelineBot(ears)) as (connection, _):
        await stream(connection, bytes(2 * 24_000), 24_000)
        await stream(connection, question, 24_000)
        await stream(connection, bytes(2 * 24_000), 24_000)
        await heard(QUESTION, lambda: ears.pcm)


async def test_what_the_phone_hears_is_heard_and_silence_is_left_out() -> None:
    greeting = read_wav(GREETING)
    said = greeting + bytes(6 * RATE) + greeting
    passed_on = b""
    async with connected(PipelineBot(prepare=says(said, then_end=True))) as (connection, _):
        async for message in connection:
            content = json.loads(message.data)
            if content["type"] == "eval-bot-audio":
                assert content["data"]["sampleRate"] == RATE
                passed_on += base64.b64decode(content["data"]["audio"])
    assert share_found(greeting, passed_on) > MOSTLY
    assert len(passed_on) < len(said) - 2 * 2 * RATE


async def test_who_does_not_want_to_hear_the_bot_does_not(served: tuple[Command, str]) -> None:
    _, url = served
    kinds = set()
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
        await connection.send_json(rtvi("dtmf", buttons=["#"]))
        async for message in connection:
            kinds.add(json.loads(message.data)["type"])
    assert {"bot-llm-text", "bot-started-speaking"} <= kinds
    assert "eval-bot-audio" not in kinds


async def test_the_handshake_and_the_context_reach_the_pipeline() -> None:
    ears = Ears()
    async with connected(PipelineBot(ears)) as (connection, _):
        await connection.send_json(rtvi("client-ready", version="1.0.0"))
        assert "version" in await receives(connection, "bot-ready")
        context = {"t": "eval-context", "d": {"messages": [{"role": "user", "content": "Hi"}]}}
        await connection.send_json(rtvi("client-message", **context))
        await until(lambda: any(isinstance(f, LLMMessagesUpdateFrame) for f in ears.frames))
    (update,) = (f for f in ears.frames if isinstance(f, LLMMessagesUpdateFrame))
    assert update.messages == [{"role": "user", "content": "Hi"}]


async def test_keys_are_pressed_on_the_phone() -> None:
    keys: list[str] = []

    def note(transport: WhatsAppTransport, _: PipelineWorker) -> None:
        async def on_dtmf(_: object, data: dict[str, str]) -> None:
            keys.append(data["tone"])

        transport.add_event_handler("on_dtmf_event", on_dtmf)

    async with connected(PipelineBot(prepare=note)) as (connection, _):
        await connection.send_json(rtvi("dtmf", buttons=["1", "2", "#"]))
        await until(lambda: keys == ["1", "2", "#"])


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (json.dumps(rtvi("send-text", content="Hi")), NO_TEXT),
        (json.dumps(rtvi("client-message", t="eval-image", d={"image": ""})), NO_IMAGE),
        (json.dumps(rtvi("raw-audio")), NO_MESSAGE),
        (json.dumps(["raw-audio"]), NO_MESSAGE),
        (json.dumps({"type": "raw-audio", "data": ["sound"]}), NO_MESSAGE),
        (
            json.dumps(rtvi("raw-audio", base64Audio="AAAA", sampleRate=0, numChannels=1)),
            NO_MESSAGE,
        ),
        (
            json.dumps(rtvi("raw-audio", base64Audio="AAAA", sampleRate=16000, numChannels=0)),
            NO_MESSAGE,
        ),
        ("no JSON", NO_MESSAGE),
    ],
)
async def test_what_a_call_cannot_do_is_refused(message: str, why: str, reports: Reports) -> None:
    async with connected(PlainBot(), on_call_ended=reports) as (connection, lines):
        await connection.send_str(message)
        assert await close_of(connection) == (1008, why)
        assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert lines == [why]


async def test_the_call_ends_with_the_connection(reports: Reports) -> None:
    async with connected(PlainBot(), on_call_ended=reports) as (connection, _):
        await connection.send_json(rtvi("client-ready", version="1.0.0"))
        await connection.close()
        assert (await reports.next()).cause is Cause.CALLER_HUNG_UP


async def test_the_connection_ends_with_the_call(reports: Reports) -> None:
    async with connected(PlainBot(), on_call_ended=reports) as (connection, _):
        await connection.send_json(rtvi("client-message", t="eval-cancel", d={}))
        assert await close_of(connection) == (1000, "the caller hung up")
        assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    bot = PipelineBot(prepare=says(bytes(RATE), then_end=True))
    async with connected(bot) as (connection, _):
        assert await close_of(connection) == (1000, "the bot hung up")


async def test_a_bot_that_does_not_answer_is_told_of() -> None:
    async def declines(_: Call) -> Decision:
        return Reject("not now")

    async with connected(PlainBot(), on_incoming_call=declines) as (connection, lines):
        why = "The bot did not answer: the call is over: rejected."
        assert await close_of(connection) == (1013, why)
    assert lines == [why]


async def test_the_hooks_of_the_bot_are_its_own() -> None:
    begun = {"on_start": asyncio.Event(), "on_process_start": asyncio.Event()}

    async def on_start(_: object) -> None:
        begun["on_start"].set()

    async def on_process_start(_: object) -> None:
        begun["on_process_start"].set()

    hooks = {"on_start": on_start, "on_process_start": on_process_start}
    async with connected(PlainBot(), **hooks), asyncio.timeout(PATIENCE):
        for each in begun.values():
            await each.wait()


async def test_no_page_in_a_browser_may_connect() -> None:
    bot = PlainBot()
    module = BotModule(bot=bot, cli_args=argparse.Namespace())
    async with evaluated(module, lambda _: None) as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(url, origin="http://127.0.0.1:7860")
    assert not bot.started


@pytest.mark.parametrize("before", [None, "/somebody/elses.py"])
async def test_the_environment_is_left_as_it_was(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SETUP_FILES, raising=False)
    if before is not None:
        monkeypatch.setenv(SETUP_FILES, before)
    module = BotModule(bot=PlainBot(), cli_args=argparse.Namespace())
    async with evaluated(module, lambda _: None):
        files = os.environ[SETUP_FILES].split(os.pathsep)
        assert files[:-1] == ([before] if before else [])
        assert files[-1].endswith("pipecat_setup.py")
    assert os.environ.get(SETUP_FILES) == before


async def test_a_port_that_is_in_use_raises() -> None:
    module = BotModule(bot=PlainBot(), cli_args=argparse.Namespace())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"Port {port} cannot be had"):
            async with evaluated(module, lambda _: None, port=port):
                pass
