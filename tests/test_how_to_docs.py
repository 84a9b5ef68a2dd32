"""What the pages on recording and on several numbers show, called by phones."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from fastapi import FastAPI
from pipecat.frames.frames import (
    ClientConnectedFrame,
    Frame,
    SpeechOutputAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from asgi import served
from bots import RATE, PlainBot, run_worker
from conftest import Reports, until
from page_programs import Program, bot, program, programs_of
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.runner import create_transport
from pipecat_whatsapp.simulator.graph import Account, SimulatedMeta
from pipecat_whatsapp.simulator.payloads import signature
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.transport import WhatsAppParams
from recordings import MOSTLY, chirp, heard, share_found

__all__ = ["bot", "program"]

RECORDER, NOTICE = programs_of("how-to/recording.md")
_, _, ROOM, TENANTS, _ = programs_of("how-to/several-numbers.md")

ANSWER, QUESTION = chirp(2.0), chirp(2.0, low=2500, high=300)


class Talker(FrameProcessor):
    """Says something as soon as it is heard."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, ClientConnectedFrame):
            await self.push_frame(SpeechOutputAudioRawFrame(ANSWER, RATE, 1))


async def test_both_sides_of_a_call_are_recorded(
    whatsapp: WhatsApp,
    phone: Phone,
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    await whatsapp.serve(program(RECORDER, conversation=lambda: [Talker()]).bot)
    call = await phone.dial()
    await heard(ANSWER, lambda: call.recording.pcm)
    # What is said last before a hang-up may still be on its way.
    await call.say(QUESTION + bytes(2 * RATE))
    await call.hang_up()
    file = tmp_path / f"{quote(call.id, safe='')}.wav"
    await until(file.exists)
    await until(lambda: is_written(file))
    with wave.open(str(file), "rb") as recording:
        assert (recording.getframerate(), recording.getnchannels()) == (RATE, 2)
        both = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
    caller, bots = both[0::2].tobytes(), both[1::2].tobytes()
    assert share_found(QUESTION, caller) >= MOSTLY > share_found(ANSWER, caller)
    assert share_found(ANSWER, bots) >= MOSTLY > share_found(QUESTION, bots)


def is_written(file: Path) -> bool:
    """Whether a WAV file is complete; its length is written last."""
    try:
        with wave.open(str(file), "rb") as recording:
            return recording.getnframes() > 0
    except (EOFError, wave.Error):
        return False


class Speaker(FrameProcessor):
    """Stands for text-to-speech."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSSpeakFrame):
            frame = SpeechOutputAudioRawFrame(ANSWER, RATE, 1)
        await self.push_frame(frame, direction)


async def test_the_recording_begins_behind_the_notice_and_a_key_ends_it(
    whatsapp: WhatsApp, phone: Phone, program: Program
) -> None:
    recorded: list[bytes] = []
    started, stopped = asyncio.Event(), asyncio.Event()

    async def bot(runner_args: WhatsAppRunnerArguments) -> None:
        transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
        recorder = AudioBufferProcessor()
        worker = PipelineWorker(
            Pipeline([transport.input(), Speaker(), transport.output(), recorder]),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        )

        @recorder.event_handler("on_audio_data")
        async def on_audio_data(_: object, audio: bytes, rate: int, channels: int) -> None:
            recorded.append(audio)

        @recorder.event_handler("on_recording_started")
        async def on_recording_started(_: object) -> None:
            started.set()

        @recorder.event_handler("on_recording_stopped")
        async def on_recording_stopped(_: object) -> None:
            stopped.set()

        program(NOTICE).ask(transport, worker)
        await run_worker(worker)

    await whatsapp.serve(bot)
    call = await phone.dial()
    await heard(ANSWER, lambda: call.recording.pcm)
    async with asyncio.timeout(30):
        await started.wait()
    await call.say(QUESTION)
    await call.press("2")
    async with asyncio.timeout(30):
        await stopped.wait()
    audio = b"".join(recorded)
    assert share_found(QUESTION, audio) > MOSTLY > share_found(ANSWER, audio)


# Several numbers


async def test_a_busy_number_does_not_take_the_lines_of_all(
    whatsapp: WhatsApp, phone: Phone, program: Program, reports: Reports
) -> None:
    number = whatsapp.meta.account.display_phone_number
    assert f'MOST = {{"{number}": 8}}' in ROOM
    page = program(ROOM.replace(": 8}", ": 1}"), adapter=SimpleNamespace(calls=()))
    adapter = await whatsapp.serve(
        PlainBot(), on_incoming_call=page.on_incoming_call, on_call_ended=reports
    )
    page.on_incoming_call.__globals__["adapter"] = adapter
    await (await phone.dial()).answered()
    second = await (await whatsapp.phone(User(user_id="DE.2"))).dial()
    assert await second.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.detail) == (Cause.REJECTED, "its lines are busy")


async def test_tenants_have_an_adapter_each(
    whatsapp: WhatsApp, phone: Phone, program: Program
) -> None:
    account = Account(
        token="EAA-of-the-clinic",
        app_secret="not-a-real-app-secret",
        verification_token="not-a-real-verification-token",
        phone_number_id="200000000000009",
    )
    async with SimulatedMeta(account) as clinic, Phone(clinic, User(user_id="DE.2")) as bens:
        tenants = [tenant("/shop", whatsapp.meta), tenant("/clinic", clinic)]
        block = TENANTS.replace("max_calls=10,", "max_calls=10, graph_url=tenant.graph_url,")
        app: FastAPI = program(block, tenants=tenants).app
        async with served(app) as url:
            for meta, path in ((whatsapp.meta, "/shop"), (clinic, "/clinic")):
                await meta.subscribe(url.replace("/whatsapp", f"{path}/whatsapp"))
            calls = [await phone.dial(), await bens.dial()]
            for call in calls:
                await call.answered()
            assert [len(tenant.bot.started) for tenant in tenants] == [1, 1]
            body, secret = b"{}", whatsapp.meta.account.app_secret
            headers = {"X-Hub-Signature-256": signature(body, secret)}
            assert (await clinic.deliver_raw(body, headers)).status == 401
            assert (await whatsapp.meta.deliver_raw(body, headers)).status == 200


def tenant(path: str, meta: SimulatedMeta) -> SimpleNamespace:
    """A business with an app of its own."""
    account = meta.account
    return SimpleNamespace(
        path=path,
        bot=PlainBot(),
        token=account.token,
        phone_number_ids=[account.phone_number_id],
        app_secret=account.app_secret,
        verification_token=account.verification_token,
        graph_url=meta.graph_url,
    )
