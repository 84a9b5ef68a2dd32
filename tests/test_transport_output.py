"""What the bot says and presses, in real pipelines over real calls."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
)
from pipecat.pipeline.worker import PipelineWorker

from aiortc_business import loud, pitch, tone
from bots import RATE, PipelineBot, says
from conftest import Reports
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.media.opus_packet import has_fec
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport
from recordings import ALIKE, PACKET, chirp, heard_whole, similarity
from test_opus import speech


async def test_the_greeting_is_heard_from_its_first_sample_to_its_last(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    greeting = chirp(1.0)
    bot = PipelineBot(prepare=says(greeting, then_end=True))
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    assert await call.ended() == "terminated"
    assert call.recording.sound_seconds > 0.99, "not a packet is missing"
    assert similarity(call.recording.pcm, greeting) > ALIKE
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
    assert similarity(call.recording.pcm, greeting) > ALIKE


@pytest.mark.parametrize("chunks", [2, 100])
async def test_an_interruption_silences_the_bot(
    whatsapp: WhatsApp, phone: Phone, chunks: int
) -> None:
    """Whatever has been written already: 20 ms, or a second."""
    params = WhatsAppParams(audio_out_10ms_chunks=chunks)
    bot = PipelineBot(prepare=says(chirp(6.0)), params=lambda: params)
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.wait_sound()
    await bot.workers[0].queue_frame(InterruptionFrame())
    heard = call.recording.sound_seconds
    received = call.recording.received
    await call.until(lambda recording: recording.received > received + 75)
    assert call.recording.sound_seconds < heard + 0.5


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


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
async def test_the_bot_is_heard_whatever_rate_it_speaks_at(
    whatsapp: WhatsApp, phone: Phone, rate: int
) -> None:
    greeting = chirp(0.5)
    params = WhatsAppParams(audio_out_sample_rate=rate)
    await whatsapp.serve(PipelineBot(prepare=says(greeting), params=lambda: params))
    call = await phone.dial()
    await call.answered()
    await heard_whole(greeting, lambda: call.recording.pcm)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (24_000, 1), (48_000, 2)])
async def test_speech_of_another_rate_is_heard_at_its_pitch(
    whatsapp: WhatsApp, phone: Phone, rate: int, channels: int
) -> None:
    """As a speech service gives it, whatever the pipeline's rate."""
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    said = np.frombuffer(tone(440, 1.0, rate), np.int16)
    pcm = np.repeat(said, channels).tobytes()
    size = rate // 50 * 2 * channels
    pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    frames = [OutputAudioRawFrame(piece, rate, channels) for piece in pieces]
    await bot.workers[0].queue_frames(frames)
    await call.until(lambda recording: recording.sound_seconds >= 0.9)
    assert pitch(loud(call.recording.pcm)) == pytest.approx(440, abs=5)


# Parameters


async def test_whatsapp_gets_no_more_bits_than_it_asks_for(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    params = WhatsAppParams(audio_out_bitrate=64_000)
    noise = np.random.default_rng(1).integers(-8000, 8000, 2 * RATE, np.int16).tobytes()
    await whatsapp.serve(
        PipelineBot(prepare=says(noise), params=lambda: params), on_call_ended=reports
    )
    call = await phone.dial()
    await call.answered()
    await call.until(lambda recording: recording.sound_seconds > 1.5)
    await call.hang_up()
    assert 10_000 < (await reports.next()).quality.bitrate_out < 25_000


async def test_dtx_leaves_the_silence_out(whatsapp: WhatsApp, phone: Phone) -> None:
    params = WhatsAppParams(audio_out_dtx=True)
    await whatsapp.serve(PipelineBot(prepare=says(chirp(0.2)), params=lambda: params))
    call = await phone.dial()
    await call.wait_sound()
    await call.until(lambda recording: recording.received >= 10)
    await asyncio.sleep(2.0)
    # Of 100 packets: those of the chirp, of the 200 ms behind it, and a few more.
    assert call.recording.received < 50
    assert call.recording.lost == 0


async def test_loss_can_be_expected_from_the_first_packet_on(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads: list[bytes] = []
    add = Recording.add

    def keep(self: Recording, packet: RtpPacket, arrival: float, **options: bool) -> None:
        payloads.append(packet.payload)
        add(self, packet, arrival, **options)

    monkeypatch.setattr(Recording, "add", keep)
    params = WhatsAppParams(audio_out_expected_loss=0.1)
    await whatsapp.serve(PipelineBot(prepare=says(speech()), params=lambda: params))
    call = await phone.dial()
    await call.until(lambda recording: recording.sound_seconds > 0.5)
    assert sum(map(has_fec, payloads)) > 10


# Keys


@pytest.mark.parametrize("kind", [OutputDTMFFrame, OutputDTMFUrgentFrame])
async def test_keys_are_heard_as_telephone_events(
    whatsapp: WhatsApp, phone: Phone, kind: type[OutputDTMFFrame | OutputDTMFUrgentFrame]
) -> None:
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frame(kind.from_string("11#"))
    await call.until(lambda recording: recording.keys.endswith("#"))
    assert call.recording.keys == "11#"
    assert call.recording.sound_seconds == 0, "events are no sound"
    assert len(call.recording.ssrcs) == 1
    assert call.recording.lost == 0


async def test_a_key_waits_until_the_speech_before_it_is_out(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    speech = chirp(0.5)
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frames(
        [OutputAudioRawFrame(speech, RATE, 1), OutputDTMFFrame.from_string("5")]
    )
    await call.until(lambda recording: recording.keys == "5")
    received = call.recording.received
    await call.until(lambda recording: recording.received > received + 20)
    end = speech[-RATE // 10 * 2 :]
    assert similarity(call.recording.pcm, end, piece=PACKET) > ALIKE, "its last 100 ms"


async def test_speech_goes_on_after_a_key(whatsapp: WhatsApp, phone: Phone) -> None:
    speech = chirp(0.5)
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frames(
        [OutputDTMFFrame.from_string("5"), OutputAudioRawFrame(speech, RATE, 1)]
    )
    await heard_whole(speech, lambda: call.recording.pcm)
    assert call.recording.keys == "5"


async def test_keys_pressed_for_a_caller_who_has_gone_hold_nothing_up(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    frames = [OutputDTMFFrame.from_string("12345678" * 10), OutputDTMFFrame.from_string("9")]
    bot = PipelineBot()
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frames(frames)
    await call.until(lambda recording: recording.keys.startswith("1"))
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert bot.returned == 1


async def test_urgent_keys_before_the_end_are_all_heard(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frames([OutputDTMFUrgentFrame.from_string("12345"), EndFrame()])
    assert await call.ended() == "terminated"
    assert call.recording.keys == "12345"


async def test_keys_before_the_end_are_all_heard(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frames([OutputDTMFFrame.from_string("12345"), EndFrame()])
    assert await call.ended() == "terminated"
    assert call.recording.keys == "12345"
