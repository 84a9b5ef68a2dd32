"""The sender on a loop whose time is virtual: what is said to happen at a time happens exactly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from aiortc import MediaStreamError

from aiortc_business import pitch, tone
from pipecat_whatsapp.media.dtmf import event_payload
from pipecat_whatsapp.media.effort import STEPS
from pipecat_whatsapp.media.opus import SAMPLE_RATES, create_decoder, create_encoder
from pipecat_whatsapp.media.opus_packet import FRAME_TICKS, RTP_CLOCK_RATE, has_fec
from pipecat_whatsapp.media.rate import RateControl
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.media.sdp import RemoteDescription
from pipecat_whatsapp.media.sender import PAUSE_SLOTS, AudioSender
from test_opus import frames, speech
from virtual_time import in_virtual_time, virtual_loop

SLOT = 0.02
KEYS = 126
OPUS = 111


@dataclass(frozen=True)
class Sent:
    """A packet on the wire.

    Parameters:
        at: When it went, s since the first.
        slot: Its timestamp, in packet times.
    """

    at: float
    slot: int
    payload: bytes
    payload_type: int
    marker: bool


class Wire:
    """Asks a sender for packets as aiortc does, one after the other."""

    def __init__(self, sender: AudioSender, *, first: int = 65_500) -> None:
        self.packets: list[Sent] = []
        self._first = first
        self._sender = sender
        self._start: float | None = None

    async def run(self) -> None:
        while True:
            packet = await self._sender.recv()
            assert packet.pts is not None
            assert packet.time_base is not None
            assert packet.time_base.denominator == RTP_CLOCK_RATE
            now = virtual_loop().time()
            self._start = now if self._start is None else self._start
            # aiortc marks every packet.
            number = (self._first + len(self.packets)) & 0xFFFF
            written = bytes(RtpPacket(OPUS, number, packet.pts, 5, bytes(packet), marker=True))
            stamped = self._sender.stamp(written)
            assert stamped is not None
            read = RtpPacket.parse(stamped)
            assert (read.sequence, read.timestamp, read.ssrc) == (number, packet.pts, 5)
            slot, rest = divmod(packet.pts, FRAME_TICKS)
            assert rest == 0
            at = round(now - self._start, 6)
            self.packets.append(Sent(at, slot, read.payload, read.payload_type, read.marker))

    @property
    def audio(self) -> list[Sent]:
        return [packet for packet in self.packets if packet.payload_type == OPUS]

    @property
    def keys(self) -> list[Sent]:
        return [packet for packet in self.packets if packet.payload_type == KEYS]

    @property
    def slots(self) -> list[int]:
        return [packet.slot for packet in self.packets]

    @property
    def times(self) -> list[float]:
        return [packet.at for packet in self.packets]


@contextmanager
def on_the_wire(sender: AudioSender) -> Iterator[Wire]:
    wire = Wire(sender)
    task = asyncio.create_task(wire.run())
    try:
        yield wire
    finally:
        task.cancel()


def new_sender(rate: int = 16_000, *, dtx: bool = False, keys: int | None = KEYS) -> AudioSender:
    encoder = create_encoder(rate, dtx=dtx)
    sender = AudioSender(encoder, rate, dtx=dtx)
    sender.agree(asks(telephone_event_payload_type=keys, use_in_band_fec=True), with_keys=True)
    return sender


def asks(**wishes: Any) -> RemoteDescription:
    return RemoteDescription(sdp="", opus_payload_type=111, **wishes)


def hear(packets: list[Sent], rate: int = 16_000) -> bytes:
    decoder = create_decoder(rate)
    return b"".join(decoder.decode(packet.payload) for packet in packets)


def peak(pcm: bytes) -> int:
    return int(np.abs(np.frombuffer(pcm, np.int16).astype(int)).max())


def beat(count: int) -> object:
    return pytest.approx([slot * SLOT for slot in range(count)], abs=1e-5)


# What is said


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@in_virtual_time
async def test_speech_goes_as_20_ms_of_mono_opus_on_the_beat(rate: int) -> None:
    sender = new_sender(rate)
    with on_the_wire(sender) as wire:
        assert await sender.write(tone(440, 1.0, rate))
        await sender.drain()
    assert wire.slots == list(range(50))
    assert wire.times == beat(50)
    assert {packet.payload[0] & 0b111 for packet in wire.packets} == {0}
    assert {packet.payload_type for packet in wire.packets} == {OPUS}
    heard = hear(wire.packets, rate)
    assert len(heard) == rate * 2
    assert pitch(heard, rate) == pytest.approx(440, abs=2)


@in_virtual_time
async def test_silence_is_sent_while_nothing_is_written() -> None:
    with on_the_wire(new_sender()) as wire:
        await asyncio.sleep(1.01)
    assert wire.slots == list(range(51))
    assert wire.times == beat(51)
    assert min(len(packet.payload) for packet in wire.packets) > 2
    assert peak(hear(wire.packets)) < 50


@in_virtual_time
async def test_write_returns_when_all_but_the_last_20_ms_is_out_and_drain_after_that() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        assert await sender.write(tone(440, 0.1))
        assert len(wire.packets) == 4
        await sender.drain()
        assert len(wire.packets) == 5
        await sender.drain()
        assert len(wire.packets) == 5


@in_virtual_time
async def test_speech_written_20_ms_at_a_time_has_no_gap() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        for frame in frames(tone(440, 1.0)):
            await sender.write(frame)
        await sender.drain()
    assert wire.times == beat(50)
    assert pitch(hear(wire.packets)) == pytest.approx(440, abs=2)


@in_virtual_time
async def test_speech_that_comes_while_its_slot_is_open_goes_at_once() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        await asyncio.sleep(0.1 + 0.007)
        before = len(wire.packets)
        await sender.write(tone(440, 0.02))
        await asyncio.sleep(0)
        assert len(wire.packets) == before + 1
        await asyncio.sleep(1.0)
    assert wire.slots == list(range(len(wire.packets))), "and silence goes on behind it"


@in_virtual_time
async def test_what_fills_no_packet_is_filled_up_with_silence() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        await sender.write(tone(440, 0.05))
        await sender.drain()
        await asyncio.sleep(0.1)
    heard = hear(wire.packets)
    # Opus looks 6.5 ms ahead, so that all comes out so much later.
    assert peak(heard[32 * 40 : 32 * 56]) > 5_000
    assert peak(heard[32 * 60 :]) < 1_000
    assert wire.slots == list(range(len(wire.packets)))


@in_virtual_time
async def test_two_halves_make_a_packet() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        for half in frames(tone(440, 1.0), 8_000):
            await sender.write(half)
        await sender.drain()
    assert wire.times == beat(50)
    assert pitch(hear(wire.packets)) == pytest.approx(440, abs=2)


@in_virtual_time
async def test_clear_drops_what_is_not_out_within_one_packet() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        writing = asyncio.create_task(sender.write(tone(440, 60.0)))
        await asyncio.sleep(0.5)
        sender.clear()
        said = len(wire.packets)
        assert await writing
        await sender.drain()
        await asyncio.sleep(0.5)
    assert peak(hear(wire.packets[:said])) > 5_000
    # The decoder needs a packet to come to rest.
    assert peak(hear(wire.packets)[(said + 2) * 640 :]) < 300
    assert wire.slots == list(range(len(wire.packets)))


@in_virtual_time
async def test_a_bot_can_speak_on_after_clear() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        writing = asyncio.create_task(sender.write(tone(440, 60.0)))
        await asyncio.sleep(0.5)
        sender.clear()
        await writing
        said = len(wire.packets)
        await sender.write(tone(880, 1.0))
        await sender.drain()
    assert pitch(hear(wire.packets)[(said + 2) * 640 :]) == pytest.approx(880, abs=5)


@in_virtual_time
async def test_the_first_audio_is_timed_when_it_goes_out() -> None:
    sender = new_sender()
    with on_the_wire(sender):
        await asyncio.sleep(0.5)
        assert sender.first_audio is None
        before = virtual_loop().time()
        await sender.write(tone(440, 0.5))
    assert sender.first_audio == pytest.approx(before, abs=SLOT)


# The end


@in_virtual_time
async def test_a_stopped_track_takes_nothing_and_holds_nobody() -> None:
    sender = new_sender()
    writing = asyncio.create_task(sender.write(tone(440, 2.0)))
    draining = asyncio.create_task(sender.drain())
    sender.press("12")
    pressing = asyncio.create_task(sender.released())
    await asyncio.sleep(0)
    sender.stop()
    assert not await writing
    await draining
    await pressing
    with pytest.raises(MediaStreamError):
        await sender.recv()
    # The bot has not heard of it yet.
    assert not await sender.write(tone(440, 2.0))
    await sender.drain()
    sender.press("3")
    await sender.released()


@in_virtual_time
async def test_whoever_waits_for_a_packet_is_told_of_the_end() -> None:
    sender = new_sender()
    await sender.recv()
    receiving = asyncio.create_task(sender.recv())
    await asyncio.sleep(0)
    sender.stop()
    with pytest.raises(MediaStreamError):
        await receiving


@in_virtual_time
async def test_waiting_for_a_packet_can_be_cancelled() -> None:
    sender = new_sender()
    await sender.recv()
    receiving = asyncio.create_task(sender.recv())
    await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    with contextlib.suppress(asyncio.CancelledError):
        assert (await sender.recv()).pts == FRAME_TICKS


# A loop that stalls


@in_virtual_time
async def test_live_speech_catches_up_after_a_stall() -> None:
    """An echo: each 20 ms is written when it has been heard, and after a stall all at once."""
    sender = new_sender()
    said = frames(tone(440, 2.0))
    loop = virtual_loop()
    with on_the_wire(sender) as wire:
        await asyncio.sleep(0.005)
        start = loop.time()
        for at, frame in enumerate(said):
            await asyncio.sleep(start + at * SLOT - loop.time())
            if at == 50:
                loop.stall(0.15)
            await sender.write(frame)
        await sender.drain()
    late = [packet for packet in wire.packets if packet.at > packet.slot * SLOT + 0.01]
    assert 5 <= len(late) <= 8, "the packets that a stall of 150 ms holds up, and no more"
    assert wire.slots == list(range(len(wire.packets)))
    assert len(wire.packets) == len(said) + 1, "one of silence before it, and none in between"
    assert wire.times[-1] < len(said) * SLOT + 0.01
    assert pitch(hear(wire.packets)) == pytest.approx(440, abs=2)


@in_virtual_time
async def test_speech_that_was_waiting_loses_no_word_to_a_stall_and_never_bursts() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        writing = asyncio.create_task(sender.write(tone(440, 2.0)))
        await asyncio.sleep(1.0 + 0.005)
        before = len(wire.packets)
        virtual_loop().stall(0.15)
        await writing
        await sender.drain()
    assert len(wire.packets) == 1 + 100, "silence first, as there was nothing to say yet"
    after = wire.packets[before:]
    assert after[0].slot - wire.packets[before - 1].slot == pytest.approx(8, abs=1)
    assert [packet.slot - after[0].slot for packet in after] == list(range(len(after)))
    pauses = np.diff([packet.at for packet in after])
    assert pauses[1:].min() > SLOT - 0.001, "one packet at a time"
    assert pitch(hear(wire.packets)) == pytest.approx(440, abs=2)


@in_virtual_time
async def test_what_a_stall_has_cost_is_won_back_in_the_next_pause() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        writing = asyncio.create_task(
            sender.write(tone(440, 1.0) + bytes(32 * 300) + tone(440, 1.0))
        )
        await asyncio.sleep(0.5)
        virtual_loop().stall(0.15)
        await writing
        await sender.drain()
    assert wire.times[-1] == pytest.approx(2.3 - SLOT, abs=1.5 * SLOT)
    heard = np.frombuffer(hear(wire.packets), np.int16)
    loud = np.abs(heard.reshape(-1, 320).astype(int)).max(axis=1) > 2_000
    assert loud.sum() == pytest.approx(100, abs=2), "no word is lost"


@in_virtual_time
async def test_without_a_stall_no_pause_is_shortened() -> None:
    sender = new_sender()
    pcm = tone(440, 0.5) + bytes(32 * 300) + tone(440, 0.5)
    with on_the_wire(sender) as wire:
        await asyncio.sleep(0.3)
        before = len(wire.packets)
        await sender.write(pcm)
        await sender.drain()
    assert len(wire.packets) - before == 65
    assert wire.slots == list(range(len(wire.packets)))


@in_virtual_time
async def test_silence_never_bursts_after_a_stall() -> None:
    with on_the_wire(new_sender()) as wire:
        await asyncio.sleep(0.5)
        virtual_loop().stall(1.0)
        await asyncio.sleep(0.5)
    pauses = np.diff(wire.times)
    assert np.sum(pauses < SLOT / 2) <= 1
    assert np.all(np.diff(wire.slots) >= 1)
    last = wire.packets[-1]
    assert last.at == pytest.approx(last.slot * SLOT, abs=SLOT), "the timestamps tell the time"


# Keys


@in_virtual_time
async def test_a_key_is_a_telephone_event_in_the_stream_of_the_audio() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        await asyncio.sleep(0.09)
        sender.press("7")
        await sender.released()
        await asyncio.sleep(0.1)
    keys = wire.keys
    assert [packet.payload for packet in keys] == [
        *(event_payload("7", duration) for duration in (160, 320, 480, 640)),
        *[event_payload("7", 800, end=True)] * 3,
    ]
    assert [packet.marker for packet in keys] == [True] + [False] * 6
    assert len({packet.slot for packet in keys}) == 1, "that of its beginning"
    start = wire.packets.index(keys[0])
    assert wire.packets[start : start + 7] == keys, "audio waits while a key is down"
    assert keys[4].at == keys[5].at == keys[6].at
    assert np.diff([packet.at for packet in keys[1:5]]) == pytest.approx([SLOT] * 3, abs=1e-5)
    before, after = wire.packets[start - 1], wire.packets[start + 7]
    assert keys[0].slot == before.slot + 1
    assert after.slot == before.slot + 1 + 5, "a key of 100 ms takes five slots"
    assert [p.slot for p in wire.packets[start + 7 :]] == list(
        range(after.slot, after.slot + len(wire.packets) - start - 7)
    )


@in_virtual_time
async def test_keys_are_pressed_one_after_the_other_with_a_pause() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        sender.press("1")
        sender.press("1#")
        await sender.released()
        pressed = [packet for packet in wire.keys if packet.marker]
    assert [packet.payload[0] for packet in pressed] == [1, 1, 11]
    assert np.diff([packet.slot for packet in pressed]).tolist() == [5 + PAUSE_SLOTS] * 2
    assert len(wire.keys) == 3 * 7


@in_virtual_time
async def test_speech_waits_for_a_key_and_is_not_lost() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        writing = asyncio.create_task(sender.write(tone(440, 1.0)))
        await asyncio.sleep(0.3)
        sender.press("5")
        await sender.released()
        assert await writing
        await sender.drain()
    assert len(wire.keys) == 7
    assert len(wire.audio) == 1 + 50, "silence first, as there was nothing to say yet"
    assert pitch(hear(wire.audio)) == pytest.approx(440, abs=2)
    numbers = [packet.slot for packet in wire.audio]
    assert max(np.diff(numbers)) == 6
    assert wire.times[-1] == pytest.approx(1.0 + 0.1 - SLOT, abs=1e-5)


@in_virtual_time
async def test_clear_does_not_let_go_of_a_key() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        sender.press("5")
        await asyncio.sleep(0.05)
        sender.clear()
        await sender.released()
    assert [packet.payload[1] >> 7 for packet in wire.keys] == [0, 0, 0, 0, 1, 1, 1]


@in_virtual_time
async def test_a_key_that_does_not_exist_presses_nothing() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:
        with pytest.raises(ValueError, match="no key 'x'"):
            sender.press("1x")
        await asyncio.sleep(0.5)
    assert wire.keys == []


@in_virtual_time
async def test_keys_need_a_payload_type() -> None:
    assert new_sender(keys=KEYS).sends_keys
    assert not new_sender(keys=None).sends_keys


@in_virtual_time
async def test_what_aiortc_sends_again_is_held_back() -> None:
    """The far end asks for what it misses; by now, another packet has the type and the marker."""
    sender = new_sender()
    await sender.recv()
    first = bytes(RtpPacket(OPUS, 65_535, 0, 5, b"opus", marker=True))
    sent = bytes(RtpPacket(OPUS, 65_535, 0, 5, b"opus"))
    assert sender.stamp(first) == sent, "aiortc marks every packet, RFC 3551 none in a stream"
    sender.press("5")
    await sender.recv()
    key = sender.stamp(bytes(RtpPacket(OPUS, 0, 960, 5, b"key", marker=True)))
    assert key == bytes(RtpPacket(KEYS, 0, 960, 5, b"key", marker=True))
    assert sender.stamp(first) is None
    await sender.recv()
    assert sender.stamp(bytes(RtpPacket(OPUS, 1, 960, 5, b"key", marker=True))) is not None


# DTX, loss


@in_virtual_time
async def test_with_dtx_silence_is_left_out_and_speech_stays_in_its_place() -> None:
    sender = new_sender(dtx=True)
    loop = virtual_loop()
    with on_the_wire(sender) as wire:
        await sender.write(tone(440, 0.5))
        await asyncio.sleep(3.0)
        start = loop.time()
        await sender.write(tone(440, 0.5))
        await sender.drain()
        silent = len(wire.packets) - 50
    assert 5 <= silent <= 40, "of 150 packets of silence"
    assert min(len(packet.payload) for packet in wire.packets) > 2
    assert np.diff(wire.times).max() < 0.5, "the far end is never left alone for long"
    for packet in wire.packets:
        assert packet.at == pytest.approx(packet.slot * SLOT, abs=SLOT + 1e-5)
    again = wire.packets[-25]
    assert again.slot == pytest.approx((start - loop.time() + wire.times[-1]) / SLOT, abs=1.5)


@in_virtual_time
async def test_fec_follows_what_the_far_end_reports() -> None:
    sender = new_sender()
    with on_the_wire(sender) as wire:

        async def share_with_fec() -> float:
            before = len(wire.packets)
            await sender.write(speech())
            packets = wire.packets[before + 1 :]
            return sum(has_fec(packet.payload) for packet in packets) / len(packets)

        assert await share_with_fec() == 0
        sender.follow(0.05)
        assert await share_with_fec() > 0.7
        for _ in range(60):
            sender.follow(0.0)
        assert await share_with_fec() == 0


@in_virtual_time
async def test_what_the_far_end_asks_for_holds_from_when_it_is_known() -> None:
    """In a call of ours that is after the pipeline has been set up."""
    encoder = create_encoder(48_000, bitrate=64_000)
    sender = AudioSender(encoder, 48_000, rate=RateControl(64_000))
    remote = asks(max_average_bitrate=20_000, max_playback_rate=16_000)
    assert not sender.sends_keys
    sender.agree(remote, with_keys=True)
    assert not sender.sends_keys, "it wants none"
    for _ in range(60):
        sender.follow(0.0)
    for _ in range(10):
        sender.follow(0.05)
    with on_the_wire(sender) as wire:
        await sender.write(speech(48_000))
    octets = sum(len(packet.payload) for packet in wire.packets)
    assert octets * 8 / (len(wire.packets) * SLOT) < 22_000
    # SILK's and hybrid's first 12 configurations reach up to 16 kHz (RFC 6716 section 3.1).
    assert {packet.payload[0] >> 3 for packet in wire.packets[5:]} <= set(range(12))
    assert not any(has_fec(packet.payload) for packet in wire.packets), "it makes no use of it"


@in_virtual_time
async def test_keys_need_a_payload_type_and_whoever_stamps_them() -> None:
    sender = new_sender(keys=None)
    keys = asks(telephone_event_payload_type=KEYS)
    sender.agree(keys, with_keys=False)
    assert not sender.sends_keys
    sender.agree(keys, with_keys=True)
    assert sender.sends_keys


@pytest.mark.parametrize("complexity", STEPS)
@in_virtual_time
async def test_a_line_that_stays_bad_keeps_its_fec(complexity: int) -> None:
    """libopus gives FEC up where bit rate or effort is too low for it: just when it is needed."""
    encoder = create_encoder(16_000, complexity=complexity)
    rate = RateControl(20_000)
    sender = AudioSender(encoder, 16_000, rate=rate, max_complexity=complexity)
    for _ in range(60):
        sender.follow(0.2)
    with on_the_wire(sender) as wire:
        await sender.write(speech())
    assert sum(has_fec(packet.payload) for packet in wire.packets) > len(wire.packets) * 0.7


@in_virtual_time
async def test_the_bit_rate_never_exceeds_what_was_asked_for() -> None:
    encoder = create_encoder(16_000, bitrate=16_000)
    sender = AudioSender(encoder, 16_000, rate=RateControl(16_000))
    for _ in range(60):
        sender.follow(0.0)
    with on_the_wire(sender) as wire:
        await sender.write(speech())
    octets = sum(len(packet.payload) for packet in wire.packets)
    assert octets * 8 / (len(wire.packets) * SLOT) < 17_000
