"""What the caller says and presses, in real pipelines over real calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from loguru import logger
from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import (
    FilterControlFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportStartAudioStreamingFrame,
)
from pipecat.pipeline.worker import PipelineWorker

from bots import RATE, Ears, PipelineBot
from conftest import Reports, until
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport
from recordings import ALIKE, PACKET, chirp, heard_whole, similarity


async def test_the_caller_is_heard(whatsapp: WhatsApp, phone: Phone) -> None:
    ears = Ears()
    question = chirp(1.0)

    await whatsapp.serve(PipelineBot(ears))
    call = await phone.dial()
    await call.answered()
    await call.say(question)
    await heard_whole(question, lambda: ears.pcm)
    frame = next(f for f in ears.frames if isinstance(f, InputAudioRawFrame))
    assert (frame.sample_rate, frame.num_channels, len(frame.audio)) == (RATE, 1, 640)


async def test_listening_may_start_later(whatsapp: WhatsApp, phone: Phone) -> None:
    ears = Ears()

    bot = PipelineBot(ears, params=lambda: WhatsAppParams(audio_in_stream_on_start=False))
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await call.say(chirp(0.2))
    assert ears.pcm == b""
    await bot.workers[0].queue_frame(InputTransportStartAudioStreamingFrame())
    await until(lambda: ears.pcm != b"")


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
async def test_the_caller_is_heard_at_the_rate_that_is_asked_for(
    whatsapp: WhatsApp, phone: Phone, rate: int
) -> None:
    ears = Ears()
    await whatsapp.serve(
        PipelineBot(ears, params=lambda: WhatsAppParams(audio_in_sample_rate=rate))
    )
    call = await phone.dial()
    await call.answered()
    await call.say(chirp(0.2))
    await until(lambda: len(ears.pcm) > rate // 2)
    frames = [frame for frame in ears.frames if isinstance(frame, InputAudioRawFrame)]
    assert {frame.sample_rate for frame in frames} == {rate}
    assert {len(frame.audio) for frame in frames} == {rate // 50 * 2}


async def test_a_rate_that_opus_cannot_code_connects_nobody_to_a_deaf_bot(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    errors: list[str] = []
    sink = logger.add(lambda message: errors.append(str(message)), level="ERROR")
    bot = PipelineBot(params=lambda: WhatsAppParams(audio_in_sample_rate=44_100))
    await whatsapp.serve(bot, on_call_ended=reports)
    try:
        call = await phone.dial()
        assert await call.ended() == "rejected"
        assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    finally:
        logger.remove(sink)
    assert "audio_in_sample_rate" in errors[0]


# Parameters that pipecat's own input obeys


class Deafener(BaseAudioFilter):
    """Leaves nothing but silence, and of the first frames nothing at all."""

    def __init__(self) -> None:
        self.rate = 0
        self.frames = 0
        self.stopped = 0

    async def start(self, sample_rate: int) -> None:
        self.rate = sample_rate

    async def stop(self) -> None:
        self.stopped += 1

    async def process_frame(self, frame: FilterControlFrame) -> None:
        """Obey nothing."""

    async def filter(self, audio: bytes) -> bytes:
        self.frames += 1
        return b"" if self.frames <= 5 else bytes(len(audio))


async def test_audio_passes_the_filter(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    ears, deafener = Ears(), Deafener()
    bot = PipelineBot(ears, params=lambda: WhatsAppParams(audio_in_filter=deafener))
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.say(chirp(0.3))
    await until(lambda: deafener.frames > 20)
    assert deafener.rate == RATE
    assert 0 < len(ears.pcm) <= (deafener.frames - 5) * 640
    assert not np.frombuffer(ears.pcm, np.int16).any()
    await call.hang_up()
    await reports.next()
    assert deafener.stopped == 1


@pytest.mark.parametrize(
    "params",
    [
        lambda: WhatsAppParams(audio_in_enabled=False),
        lambda: WhatsAppParams(audio_in_passthrough=False),
    ],
    ids=["disabled", "without passthrough"],
)
async def test_audio_that_is_not_wanted_is_not_given(
    whatsapp: WhatsApp, phone: Phone, params: Callable[[], WhatsAppParams]
) -> None:
    """Keys are: they are no audio."""
    ears = Ears()
    await whatsapp.serve(PipelineBot(ears, params=params))
    call = await phone.dial()
    await call.answered()
    await call.say(chirp(0.2))
    await call.press("5")
    await until(lambda: any(isinstance(frame, InputDTMFFrame) for frame in ears.frames))
    assert ears.pcm == b""


# Keys


class Keypad:
    """Keeps the keys that a transport's event tells."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_dtmf_event(_: object, data: dict[str, str]) -> None:
            self.keys.append(data["tone"])

        transport.add_event_handler("on_dtmf_event", on_dtmf_event)


def pressed(ears: Ears) -> str:
    return "".join(frame.button.value for frame in ears.frames if isinstance(frame, InputDTMFFrame))


async def test_keys_come_once_and_in_order_as_frames_and_events(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    ears, keypad = Ears(), Keypad()
    await whatsapp.serve(PipelineBot(ears, prepare=keypad))
    call = await phone.dial()
    await call.answered()
    await call.press("1159*0#", tone=0.04)
    await call.press("2")
    await until(lambda: pressed(ears).endswith("2"))
    assert pressed(ears) == "1159*0#2"
    assert keypad.keys == list("1159*0#2")


async def test_keys_that_pipecat_does_not_know_are_events_only(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    ears, keypad = Ears(), Keypad()
    await whatsapp.serve(PipelineBot(ears, prepare=keypad))
    call = await phone.dial()
    await call.answered()
    await call.press("A1D2", tone=0.04)
    await until(lambda: pressed(ears).endswith("2"))
    assert pressed(ears) == "12"
    assert keypad.keys == list("A1D2")


async def test_a_bad_line_doubles_no_key(
    whatsapp: WhatsApp, phone: Phone, network: Network
) -> None:
    ears, keypad = Ears(), Keypad()
    await whatsapp.serve(PipelineBot(ears, prepare=keypad))
    call = await phone.dial()
    await call.answered()
    network.conditions = NetworkConditions(loss=0.2, jitter=0.03, reorder=0.2, duplicate=0.3)
    await call.press("1234567890", tone=0.1)
    network.conditions = NetworkConditions()
    await call.press("#")
    await until(lambda: pressed(ears).endswith("#"))
    heard = iter("1234567890#")
    # In order and once: each is found in what is left of what was pressed.
    assert all(key in heard for key in pressed(ears))
    assert len(pressed(ears)) >= 9
    assert keypad.keys == list(pressed(ears))


async def test_a_key_does_not_disturb_the_audio(whatsapp: WhatsApp, phone: Phone) -> None:
    ears = Ears()
    before, after = chirp(0.5), chirp(0.5, low=2500, high=300)
    await whatsapp.serve(PipelineBot(ears))
    call = await phone.dial()
    await call.answered()
    await call.say(before)
    await call.press("7")
    await call.say(after)
    await heard_whole(after, lambda: ears.pcm)
    assert similarity(ears.pcm, before) > ALIKE
    at = next(i for i, f in enumerate(ears.frames) if isinstance(f, InputDTMFFrame))
    heard = b"".join(f.audio for f in ears.frames[:at] if isinstance(f, InputAudioRawFrame))
    start = before[: RATE // 5 * 2]
    assert similarity(heard, start, piece=PACKET) > ALIKE, "it comes in its place"
    assert similarity(heard, after[: RATE // 5 * 2]) < ALIKE
