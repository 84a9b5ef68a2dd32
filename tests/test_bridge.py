"""Two real calls, and a bridge between them."""

from __future__ import annotations

import asyncio

import numpy as np

from bots import Ears, PipelineBot
from conftest import until
from pipecat_whatsapp.bridge import CallBridge
from pipecat_whatsapp.calls.outcome import Outcome
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.sound import RATE


def tone(frequency: float, seconds: float = 1.0) -> bytes:
    times = np.arange(int(16_000 * seconds)) / 16_000
    return (8000 * np.sin(2 * np.pi * frequency * times)).astype(np.int16).tobytes()


def loudest(pcm: bytes, rate: int) -> float:
    """The frequency that is heard most, Hz."""
    samples = np.frombuffer(pcm, np.int16).astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


async def test_two_people_hear_each_other_over_an_open_bridge(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    bridge = CallBridge()
    bots_ears = Ears()
    first = PipelineBot(lambda: bridge.caller.ear, bots_ears, lambda: bridge.caller.mouth)
    second = PipelineBot(lambda: bridge.colleague.ear, lambda: bridge.colleague.mouth)
    adapter = await whatsapp.serve(first)
    call = await phone.dial()
    await call.answered()
    ben = await whatsapp.phone(User(phone="4915550003333", user_id="DE.3", name="Ben"))
    whatsapp.meta.permissions.grant(ben.user)

    calling = asyncio.create_task(adapter.call(ben.user, bot=second))
    other = await ben.rings()
    await other.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    await until(lambda: "on_client_connected" in second.events)

    await call.say(tone(400))
    assert other.recording.sound_seconds == 0

    bridge.open()
    # What has passed the ear before may still be on its way to the bot.
    await asyncio.sleep(0.1)
    heard_by_the_bot = len(bots_ears.pcm)
    await asyncio.gather(call.say(tone(400)), other.say(tone(900)))
    await call.until(lambda recording: recording.sound_seconds > 0.8)
    await other.until(lambda recording: recording.sound_seconds > 0.8)
    heard = [(c.recording.pcm, RATE) for c in (call, other)]
    assert [round(loudest(*what), -2) for what in heard] == [900, 400]

    assert len(bots_ears.pcm) == heard_by_the_bot

    bridge.shut()
    await until(lambda: len(bots_ears.pcm) > heard_by_the_bot)
