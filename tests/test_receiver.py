from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_whatsapp.media.dtmf import KEYS, event_payload, tone_payloads
from pipecat_whatsapp.media.opus import SAMPLE_RATES, create_encoder
from pipecat_whatsapp.media.opus_packet import FRAME_TICKS, RTP_CLOCK_RATE
from pipecat_whatsapp.media.receiver import MAX_STREAMS, AudioReceiver
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.rtp import RtpStream, sender_report
from pipecat_whatsapp.simulator.sound import read_wav

OPUS, EVENT = 111, 126
RATE = 16_000


def tone(seconds: float, frequency: float = 440.0, rate: int = RATE) -> bytes:
    times = np.arange(int(seconds * rate)) / rate
    return (12_000 * np.sin(2 * np.pi * frequency * times)).astype(np.int16).tobytes()


def opus_packets(pcm: bytes, *, expected_loss: float = 0.1) -> list[bytes]:
    encoder = create_encoder(RATE, expected_loss=expected_loss)
    encoder.set_max_playback_rate(RATE)
    size = RATE // 50 * 2
    return [encoder.encode(pcm[i : i + size]) for i in range(0, len(pcm) - size + 1, size)]


def rtp_packets(payloads: list[bytes]) -> list[bytes]:
    stream = RtpStream(1, sequence=65_500, timestamp=0xFFFFF000)
    packets = []
    for payload in payloads:
        packets.append(bytes(stream.packet(OPUS, payload)))
        stream.advance(FRAME_TICKS)
    return packets


class Clock:
    """The loop's clock, moved by hand, and its timers with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.timers: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_at", self._call_at)

    def _call_at(self, when: float, callback: object, *args: object) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        timer = asyncio.TimerHandle(when, callback, args, loop)  # type: ignore[arg-type]
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float, *, stalled: bool = False) -> None:
        """Let time pass; a stalled loop fires what became due only at the end."""
        end = self.now + seconds
        while True:
            due = [t for t in self.timers if not t.cancelled() and t.when() <= end]
            if not due:
                break
            timer = min(due, key=asyncio.TimerHandle.when)
            self.timers.remove(timer)
            self.now = end if stalled else max(self.now, timer.when())
            timer._run()  # noqa: SLF001 - what the loop itself does
            if stalled:
                break
        self.now = end


def new_receiver() -> AudioReceiver:
    receiver = AudioReceiver()
    receiver.expect(OPUS, EVENT)
    return receiver


class Ear:
    """What a pipeline gets of a receiver."""

    def __init__(self, receiver: AudioReceiver, rate: int = RATE) -> None:
        self.frames: list[bytes] = []
        self.keys = ""
        self.rate = rate
        receiver.start(rate, self.frames.append, self._on_key)

    def _on_key(self, key: str) -> None:
        self.keys += key

    @property
    def samples(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.frombuffer(b"".join(self.frames), np.int16).astype(np.float64)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
async def test_gives_20_ms_of_mono_at_the_pipelines_rate(clock: Clock, rate: int) -> None:
    receiver = new_receiver()
    ear = Ear(receiver, rate)
    for packet in rtp_packets(opus_packets(tone(1.0))):
        receiver.receive(packet)
        clock.advance(0.02)
    assert {len(frame) for frame in ear.frames} == {rate // 50 * 2}
    assert len(ear.frames) == 50
    spectrum = np.abs(np.fft.rfft(ear.samples[rate // 2 :]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)
    assert np.abs(ear.samples).max() > 8_000


async def test_a_packet_in_order_is_given_before_receive_returns(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    for number, packet in enumerate(rtp_packets(opus_packets(tone(0.2))), start=1):
        receiver.receive(packet)
        assert len(ear.frames) == number
        clock.advance(0.02)


async def test_what_comes_before_the_start_is_counted_and_not_heard(clock: Clock) -> None:
    receiver = new_receiver()
    packets = rtp_packets(opus_packets(tone(1.0)))
    for packet in packets[:30]:
        receiver.receive(packet)
        clock.advance(0.02)
    ear = Ear(receiver)
    clock.advance(1.0)
    assert ear.frames == []
    for number, packet in enumerate(packets[30:], start=1):
        receiver.receive(packet)
        clock.advance(0.02)
        assert len(ear.frames) == number, "and what comes after is heard at once"
    assert receiver.statistics().packets == len(packets)


async def test_a_stream_may_bear_one_of_several_payload_types(clock: Clock) -> None:
    """Those of our offer, and those of an answer that has others."""
    receiver = new_receiver()
    receiver.expect(OPUS + 1, EVENT + 1)
    ear = Ear(receiver)
    opus = opus_packets(tone(0.2))
    for sequence, payload in enumerate(opus):
        payload_type = OPUS + sequence % 3
        packet = RtpPacket(payload_type, sequence, sequence * 960, 7, payload)
        receiver.receive(bytes(packet))
        clock.advance(0.02)
    for sequence, (payload_type, key) in enumerate([(EVENT, "1"), (EVENT + 1, "2")], len(opus)):
        event = event_payload(key, 160)
        receiver.receive(bytes(RtpPacket(payload_type, sequence, sequence * 960, 7, event)))
    assert ear.keys == "12"
    assert receiver.statistics().packets == sum(n % 3 < 2 for n in range(len(opus))) + 2


async def test_a_lost_packet_is_heard_all_the_same(clock: Clock) -> None:
    pcm = read_wav(QUESTION)
    packets = rtp_packets(opus_packets(pcm))

    def heard(lost: set[int]) -> tuple[np.ndarray, AudioReceiver]:
        receiver = new_receiver()
        ear = Ear(receiver)
        for number, packet in enumerate(packets):
            if number not in lost:
                receiver.receive(packet)
            clock.advance(0.02)
        return ear.samples, receiver

    whole, _ = heard(set())
    lost = set(range(20, len(packets) - 1, 20))
    patched, receiver = heard(lost)
    assert len(patched) == len(whole)
    statistics = receiver.statistics()
    assert statistics.lost == len(lost)
    assert statistics.recovered + statistics.concealed == pytest.approx(0.02 * len(lost))
    assert statistics.recovered > statistics.concealed
    likeness = np.corrcoef(whole, patched)[0, 1]
    assert likeness > 0.95


async def test_an_outage_is_filled_in_time_and_ends_in_silence(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    for packet in rtp_packets(opus_packets(tone(0.5))):
        receiver.receive(packet)
        clock.advance(0.02)
    clock.advance(1.0)
    assert len(ear.frames) * 0.02 == pytest.approx(1.5, abs=0.1)
    assert not np.any(ear.samples[-RATE // 2 :])
    assert np.abs(ear.samples[RATE // 2 : RATE // 2 + RATE // 50]).max() > 1000, "it fades out"


async def test_a_stalled_loop_reads_what_has_come_before_it_gives_it_up(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    packets = rtp_packets(opus_packets(tone(1.0)))
    for packet in packets[:20]:
        receiver.receive(packet)
        clock.advance(0.02)
    clock.advance(0.3, stalled=True)
    assert len(ear.frames) == 20
    for packet in packets[20:36]:
        receiver.receive(packet)
    assert len(ear.frames) == 36
    for packet in packets[36:]:
        receiver.receive(packet)
        clock.advance(0.02)
    assert len(ear.frames) == 50
    assert receiver.statistics().concealed == 0


async def test_a_held_up_burst_is_heard_in_full_and_silence_repays_it(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    packets = rtp_packets(opus_packets(tone(1.0) + bytes(RATE * 2)))
    for packet in packets[:20]:
        receiver.receive(packet)
        clock.advance(0.02)
    clock.advance(0.4)
    for packet in packets[20:40]:
        receiver.receive(packet)
    for packet in packets[40:]:
        receiver.receive(packet)
        clock.advance(0.02)
    loud = [frame for frame in ear.frames if np.abs(np.frombuffer(frame, np.int16)).max() > 5000]
    assert len(loud) >= 49, "every packet of the tone was heard"
    assert len(ear.frames) * 0.02 == pytest.approx(2.0, abs=0.05), "and the duration is right"


async def test_keys_are_given_once_each_and_leave_the_audio_unharmed(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    stream = RtpStream(1)
    audio = iter(opus_packets(tone(2.0)))

    def speak(packets: int) -> None:
        for payload in itertools.islice(audio, packets):
            receiver.receive(bytes(stream.packet(OPUS, payload)))
            stream.advance(FRAME_TICKS)
            clock.advance(0.02)

    speak(20)
    for key in KEYS:
        for tick, payloads in enumerate(tone_payloads(key)):
            for payload in payloads:
                receiver.receive(
                    bytes(stream.packet(EVENT, payload, marker=not tick, back=tick * FRAME_TICKS))
                )
            stream.advance(FRAME_TICKS)
            clock.advance(0.02)
        speak(3)
    assert ear.keys == KEYS
    statistics = receiver.statistics()
    assert (statistics.lost, statistics.late, statistics.duplicates) == (0, 0, 0)
    assert statistics.concealed == 0
    sent = 20 + len(KEYS) * (5 + 3)
    assert len(ear.frames) == pytest.approx(sent, abs=4)


async def test_statistics_and_reports_tell_what_came(clock: Clock) -> None:
    receiver = new_receiver()
    Ear(receiver)
    assert receiver.reports() == []
    payloads = opus_packets(tone(1.0))
    stream = RtpStream(7)
    for number, payload in enumerate(payloads):
        packet = bytes(stream.packet(OPUS, payload))
        if number not in (10, 11, 12):
            receiver.receive(packet)
        if number == 20:
            receiver.receive(packet)
        stream.advance(FRAME_TICKS)
        clock.advance(0.02)
    receiver.receive_rtcp(sender_report(stream, 1_800_000_000.25))
    clock.advance(0.5)
    (block,) = receiver.reports()
    assert block.ssrc == 7
    assert block.lost == 2, "a packet that came twice makes up for one, as RFC 3550 has it"
    assert block.fraction == 2 * 256 // 50
    assert block.dlsr == pytest.approx(0.5 * 65536, abs=2)
    assert block.lsr & 0xFFFF == 0x4000, "a quarter of a second"
    statistics = receiver.statistics()
    assert statistics.packets == 48
    assert statistics.duplicates == 1
    assert statistics.octets == sum(map(len, payloads)) - sum(
        len(payloads[n]) for n in (10, 11, 12)
    ) + len(payloads[20])
    assert statistics.first_audio == 1000.0
    assert statistics.jitter < 0.001


async def test_stopping_ends_everything(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    packets = rtp_packets(opus_packets(tone(0.4)))
    for packet in packets[:10]:
        receiver.receive(packet)
    receiver.stop()
    for packet in packets[10:]:
        receiver.receive(packet)
    clock.advance(2.0)
    assert len(ear.frames) == 10


async def test_other_payload_types_are_ignored(clock: Clock) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    receiver.receive(bytes(RtpPacket(0, 1, 1, 1, bytes(160))))
    assert receiver.statistics().packets == 0
    assert ear.frames == []


@settings(max_examples=200)
@given(st.lists(st.tuples(st.binary(max_size=60), st.floats(0, 0.1)), max_size=40))
async def test_arbitrary_datagrams_never_raise(datagrams: list[tuple[bytes, float]]) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    for datagram, _ in datagrams:
        receiver.receive(datagram)
        receiver.receive_rtcp(datagram)
    receiver.stop()
    assert all(len(frame) == RATE // 50 * 2 for frame in ear.frames)


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            RtpPacket,
            payload_type=st.sampled_from([OPUS, EVENT]),
            sequence=st.integers(0, 0xFFFF),
            timestamp=st.integers(0, 0xFFFFFFFF),
            ssrc=st.integers(0, 20),
            payload=st.binary(max_size=40),
            marker=st.booleans(),
        ),
        max_size=60,
    )
)
async def test_hostile_streams_never_raise_and_stay_bounded(packets: list[RtpPacket]) -> None:
    receiver = new_receiver()
    ear = Ear(receiver)
    for packet in packets:
        receiver.receive(bytes(packet))
        assert len(receiver.reports()) <= 1
    receiver.stop()
    # Each packet may bridge a gap of a second, and play 120 ms.
    assert len(ear.frames) * 0.02 <= len(packets) * (1.0 + 0.12) + 1
    assert receiver.statistics().packets <= len(packets)


async def test_the_number_of_sources_is_bounded(clock: Clock) -> None:
    receiver = new_receiver()
    Ear(receiver)
    (payload,) = opus_packets(tone(0.02))
    for ssrc in range(50):
        receiver.receive(bytes(RtpPacket(OPUS, 1, 1, ssrc, payload)))
    assert receiver.statistics().packets == MAX_STREAMS


def test_the_clock_of_opus_divides_into_every_rate() -> None:
    assert all(RTP_CLOCK_RATE % rate == 0 for rate in SAMPLE_RATES)


async def test_a_thousand_keys_on_a_bad_line_come_once_or_are_wholly_lost(clock: Clock) -> None:
    draw = random.Random(1)  # noqa: S311 - repeatable, not secret
    receiver = new_receiver()
    ear = Ear(receiver)
    stream = RtpStream(1, sequence=65_000)
    audio = itertools.cycle(opus_packets(tone(1.0)))
    sent = ""

    def send(payload_type: int, payload: bytes, **options: Any) -> bool:
        packet = bytes(stream.packet(payload_type, payload, **options))
        if draw.random() < 0.1:
            return False
        receiver.receive(packet)
        return True

    for _ in range(1000):
        key, arrived = draw.choice(KEYS), False
        for tick, payloads in enumerate(tone_payloads(key, draw.randint(2, 6))):
            for payload in payloads:
                arrived |= send(EVENT, payload, marker=not tick, back=tick * FRAME_TICKS)
            stream.advance(FRAME_TICKS)
            clock.advance(0.02)
        sent += key * arrived
        for _ in range(draw.randint(2, 6)):
            send(OPUS, next(audio))
            stream.advance(FRAME_TICKS)
            clock.advance(0.02)
    assert ear.keys == sent
    assert len(sent) >= 999
    seconds = clock.now - 1000.0
    assert len(ear.frames) * 0.02 == pytest.approx(seconds, rel=0.01), "no audio more or less"
    assert receiver.statistics().late == 0
