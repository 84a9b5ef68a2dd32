from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from aiortc_business import RATE, Business, pitch, tone
from pipecat_whatsapp.simulator.offer import AnswerError
from pipecat_whatsapp.simulator.page.browser_leg import BrowserLeg
from pipecat_whatsapp.simulator.rtp import RtpStream
from pipecat_whatsapp.simulator.sound import FRAME_BYTES, OPUS_CLOCK, OpusDecoder, OpusEncoder

PATIENCE = 60


@pytest.fixture
async def leg() -> AsyncIterator[BrowserLeg]:
    made = await BrowserLeg.open("127.0.0.1")
    yield made
    await made.close()


@pytest.fixture
async def browser() -> AsyncIterator[Business]:
    """Another WebRTC stack, which speaks 440 Hz and keeps what it hears."""
    async with Business() as made:
        yield made


async def connect(leg: BrowserLeg, browser: Business) -> None:
    leg.start(await browser.answer(leg.offer))
    async with asyncio.timeout(PATIENCE):
        await browser.connected.wait()
    assert leg.connected


async def test_the_microphone_comes_out_as_the_opus_that_the_browser_made(
    leg: BrowserLeg, browser: Business
) -> None:
    packets: list[tuple[bytes, int]] = []
    enough = asyncio.Event()

    def take(packet: bytes, units: int) -> None:
        packets.append((packet, units))
        if len(packets) == 60:
            enough.set()

    leg.on_opus = take
    await connect(leg, browser)
    async with asyncio.timeout(PATIENCE):
        await enough.wait()
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(packet) for packet, _ in packets])
    assert pitch(heard[OPUS_CLOCK // 2 :].tobytes(), OPUS_CLOCK) == pytest.approx(440, abs=5)
    assert {units for _, units in packets} == {960}


async def test_the_browser_hears_what_is_played_and_nothing_of_a_second_stream(
    leg: BrowserLeg, browser: Business
) -> None:
    await connect(leg, browser)
    sound, encoder = tone(700, 2.0), OpusEncoder()
    bot, stranger = RtpStream(5, sequence=100), RtpStream(6)
    for at in range(0, len(sound), FRAME_BYTES):
        packet = bot.packet(96, encoder.encode(sound[at : at + FRAME_BYTES]))
        leg.play(packet)
        leg.play(replace(stranger.packet(96, b"no opus at all"), timestamp=packet.timestamp))
        bot.advance(960)
        await asyncio.sleep(0.01)
    assert pitch(await browser.hears(0.5, PATIENCE), RATE) == pytest.approx(700, abs=10)


async def test_an_answer_that_can_carry_no_call_is_refused(leg: BrowserLeg) -> None:
    with pytest.raises(AnswerError, match="ice-ufrag"):
        leg.start("v=0\r\n")
    assert not leg.connected
