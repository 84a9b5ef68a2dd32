"""The transport in real pipelines, over real calls."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputTransportStartAudioStreamingFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from bots import RATE, Echo, PipelineBot, PlainBot, says
from conftest import Reports, until
from pipecat_whatsapp.calls.call import Cause
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport

Pcm = np.ndarray[tuple[int], np.dtype[np.float64]]


def chirp(seconds: float, *, low: float = 300, high: float = 2500) -> bytes:
    """A sound unlike any other part of itself, so that its place can be found."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * t + (high - low) * t**2 / (2 * seconds))
    return (12_000 * np.sin(phase)).astype(np.int16).tobytes()


def samples(pcm: bytes) -> Pcm:
    return np.frombuffer(pcm, np.int16).astype(np.float64)


def similarity(heard: bytes, said: bytes) -> float:
    """How well what was said is found in what was heard, 0 to 1."""
    a, b = samples(heard), samples(said)
    if len(a) < len(b):
        return 0.0
    products = np.correlate(a, b, "valid")
    energies = np.convolve(a**2, np.ones(len(b)), "valid") * np.sum(b**2)
    return float(np.max(np.abs(products) / np.sqrt(energies + 1e-9)))


class Ear(FrameProcessor):
    """Keeps what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.pcm = b""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        if isinstance(frame, InputAudioRawFrame):
            self.pcm += frame.audio
        await self.push_frame(frame, direction)


async def test_the_greeting_is_heard_from_its_first_sample_to_its_last(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    greeting = chirp(1.0)
    bot = PipelineBot(prepare=says(greeting, then_end=True))
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    assert await call.ended() == "terminated"
    heard = call.recording.pcm
    assert similarity(heard, greeting[: RATE // 10 * 2]) > 0.9, "its first 100 ms"
    assert similarity(heard, greeting[-RATE // 10 * 2 :]) > 0.9, "its last 100 ms"
    assert similarity(heard, greeting) > 0.9
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    assert bot.returned == 1


async def test_audio_written_before_the_caller_can_hear_is_held(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    greeting = chirp(0.5)

    def speak_at_once(transport: WhatsAppTransport, worker: PipelineWorker) -> asyncio.Future[None]:
        return asyncio.ensure_future(
            worker.queue_frames([OutputAudioRawFrame(greeting, RATE, 1), EndFrame()])
        )

    whatsapp.meta.faults.latency = 0.2
    await whatsapp.serve(PipelineBot(prepare=speak_at_once))
    call = await phone.dial()
    assert await call.ended() == "terminated"
    assert call.recording.media_before_accept == 0
    assert similarity(call.recording.pcm, greeting) > 0.9


async def test_the_caller_is_heard(whatsapp: WhatsApp, phone: Phone) -> None:
    ears: list[Ear] = []
    question = chirp(1.0)

    def ear() -> Ear:
        ears.append(Ear())
        return ears[-1]

    await whatsapp.serve(PipelineBot(ear))
    call = await phone.dial()
    await call.answered()
    await call.play(question)
    await until(lambda: similarity(ears[0].pcm, question) > 0.85)
    frame = next(f for f in ears[0].frames if isinstance(f, InputAudioRawFrame))
    assert (frame.sample_rate, frame.num_channels, len(frame.audio)) == (RATE, 1, 640)


async def test_both_hear_each_other(whatsapp: WhatsApp, phone: Phone) -> None:
    question = chirp(1.0)
    await whatsapp.serve(PipelineBot(Echo))
    call = await phone.dial()
    await call.answered()
    await call.play(question)
    await call.hears(lambda recording: similarity(recording.pcm, question) > 0.85)
    assert len(call.recording.ssrcs) == 1


async def test_events_come_in_order_and_once(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    ears: list[Ear] = []
    states: list[str] = []

    def ear() -> Ear:
        ears.append(Ear())
        return ears[-1]

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_state(_: object, state: str) -> None:
            states.append(state)

        transport.add_event_handler("on_call_state_updated", on_state)

    bot = PipelineBot(ear, prepare=prepare)
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await until(lambda: any(isinstance(f, ClientConnectedFrame) for f in ears[0].frames))
    kinds = [type(frame) for frame in ears[0].frames]
    assert kinds.index(StartFrame) < kinds.index(ClientConnectedFrame)
    assert bot.events == ["on_client_connected"]
    await call.hang_up()
    await reports.next()
    assert bot.events == ["on_client_connected", "on_client_disconnected"]
    assert kinds.count(ClientConnectedFrame) == 1
    assert states == ["accepting", "active", "ended"]


async def test_the_callers_hang_up_ends_a_pipeline_without_handlers(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    ears: list[Ear] = []

    def ear() -> Ear:
        ears.append(Ear())
        return ears[-1]

    bot = PipelineBot(ear)
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    await reports.next()
    assert bot.returned == 1
    assert any(isinstance(frame, EndFrame) for frame in ears[0].frames), "no cancellation"


async def test_the_usual_cancelling_handler_works_too(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_disconnected(_: object, __: object) -> None:
            await worker.cancel()

        transport.add_event_handler("on_client_disconnected", on_disconnected)

    bot = PipelineBot(prepare=prepare)
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert bot.returned == 1


@pytest.mark.parametrize("frame", [EndFrame, CancelFrame])
async def test_a_pipeline_that_ends_hangs_up_at_graph(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, frame: type[Frame]
) -> None:
    bot = PipelineBot()
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await until(lambda: "on_client_connected" in bot.events)
    await bot.workers[0].queue_frame(frame())
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    assert bot.events == ["on_client_connected", "on_before_disconnect"]
    await whatsapp.stop_serving()
    actions = [request.action for request in whatsapp.meta.requests]
    assert actions == ["pre_accept", "accept", "terminate"]


async def test_an_interruption_silences_the_bot(whatsapp: WhatsApp, phone: Phone) -> None:
    speech = chirp(6.0)
    bot = PipelineBot(prepare=says(speech))
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.wait_sound()
    await bot.workers[0].queue_frame(InterruptionFrame())
    heard = call.recording.sound_seconds
    await call.hears(lambda recording: len(recording.pcm) > 2 * RATE * 2)
    assert call.recording.sound_seconds < heard + 0.5
    assert call.recording.sound_seconds < 2.0


async def test_an_end_after_the_callers_hang_up_is_quick(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """A minute of queued speech does not keep a pipeline alive that nobody hears."""
    bot = PipelineBot(prepare=says(chirp(60.0)))
    await whatsapp.serve(bot, timing=Timing(bot_grace=3600), on_call_ended=reports)
    call = await phone.dial()
    await call.wait_sound()
    await call.hang_up()
    await reports.next()
    assert bot.returned == 1


async def test_listening_may_start_later(whatsapp: WhatsApp, phone: Phone) -> None:
    ears: list[Ear] = []

    def ear() -> Ear:
        ears.append(Ear())
        return ears[-1]

    bot = PipelineBot(ear, params=lambda: WhatsAppParams(audio_in_stream_on_start=False))
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await call.play(chirp(0.2))
    assert ears[0].pcm == b""
    await bot.workers[0].queue_frame(InputTransportStartAudioStreamingFrame())
    await until(lambda: ears[0].pcm != b"")


async def test_an_error_is_told(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    errors: list[str] = []

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_error(_: object, error: str) -> None:
            errors.append(error)

        transport.add_event_handler("on_error", on_error)

    whatsapp.meta.faults.fail["accept"] = [(400, 100)]
    await whatsapp.serve(PipelineBot(prepare=prepare), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    await reports.next()
    assert len(errors) == 1
    assert errors[0].startswith("graph failed: ")


async def test_a_rate_that_opus_cannot_code_connects_nobody_to_a_silent_bot(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    errors: list[str] = []
    sink = logger.add(lambda message: errors.append(str(message)), level="ERROR")
    bot = PipelineBot(params=lambda: WhatsAppParams(audio_out_sample_rate=44_100))
    await whatsapp.serve(bot, on_call_ended=reports)
    try:
        call = await phone.dial()
        assert await call.ended() == "rejected"
        assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    finally:
        logger.remove(sink)
    assert bot.returned == 1
    assert "audio_out_sample_rate" in errors[0]


def test_parameters_alone_are_right_for_a_voice_bot() -> None:
    params = WhatsAppParams()
    assert params.audio_in_enabled
    assert params.audio_out_enabled
    assert params.audio_out_10ms_chunks == 2
    assert params.audio_out_end_silence_secs == 0


async def test_input_and_output_are_the_same_objects_each_time(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    (args,) = bot.started
    transport = WhatsAppTransport(args.webrtc_connection, args.call)
    assert transport.input() is transport.input()
    assert transport.output() is transport.output()
    assert transport.get_client_id(args.webrtc_connection) == call.id
    assert transport.call.caller.name == "Ada Example"


async def test_pipecat_has_nothing_to_complain_about(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """No warning and no error in a usual call: no dangling task, no lost frame, no data channel."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    try:
        await whatsapp.serve(PipelineBot(Echo), on_call_ended=reports)
        call = await phone.dial()
        await call.answered()
        await call.play(chirp(0.5))
        await call.hang_up()
        await reports.next()
    finally:
        logger.remove(sink)
    assert lines == []
