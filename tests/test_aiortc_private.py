from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import NoReturn

import numpy as np
import pytest
from aioice import stun
from aiortc import RTCDtlsTransport, RTCInboundRtpStreamStats, RTCRemoteInboundRtpStreamStats
from pipecat.frames.frames import OutputDTMFFrame

from aiortc_business import loud, pitch, tone
from bots import RATE, Echo, PipelineBot
from conftest import Reports, until
from links import Link, OwnLink, rtcp_reached
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media import connection
from pipecat_whatsapp.media.aiortc_private import (
    Send,
    _is_there,
    ask_consent,
    open_rtp_door,
    place_sockets,
)
from pipecat_whatsapp.media.network import Interface, Network
from pipecat_whatsapp.media.rtp import (
    ReportBlock,
    RtpPacket,
    is_rtcp,
    read_rtcp,
    receiver_report,
    source_description,
)
from pipecat_whatsapp.media.sdp import read_source
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from ports import free_ports
from recordings import chirp, heard
from test_sender import new_sender

REPORT = receiver_report(5, [ReportBlock(ssrc=6, lost=0, highest=7)]) + source_description(5, "x")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_handle_rtp_data", ["self", "data", "arrival_time_ms"]),
        ("_handle_rtcp_data", ["self", "data"]),
        ("_send_rtp", ["self", "data"]),
    ],
)
def test_aiortc_has_not_moved_its_door(name: str, parameters: list[str]) -> None:
    method = getattr(RTCDtlsTransport, name, None)
    moved = f"aiortc {version('aiortc')} has moved RTCDtlsTransport.{name}: see aiortc_private.py"
    assert inspect.iscoroutinefunction(method), moved
    assert list(inspect.signature(method).parameters) == parameters, moved


def nothing(data: bytes) -> None:
    """Drop a packet."""


def taken(data: bytes) -> bool:
    """Drop an RTP packet."""
    return True


def unchanged(data: bytes) -> bytes:
    return data


def transport_of(link: Link) -> RTCDtlsTransport:
    return link.connection.pc.getReceivers()[0].transport


def open_door(
    link: Link,
    *,
    on_rtp: Callable[[bytes], bool] = taken,
    on_rtcp: Callable[[bytes], None] = nothing,
    outgoing: Callable[[bytes], bytes | None] = unchanged,
) -> Send:
    send = open_rtp_door(transport_of(link), on_rtp=on_rtp, on_rtcp=on_rtcp, outgoing=outgoing)
    assert send is not None
    return send


async def test_whatever_comes_in_comes_through_the_door(link: Link) -> None:
    rtp: list[bytes] = []
    rtcp: list[bytes] = []

    def on_rtp(data: bytes) -> bool:
        rtp.append(data)
        return True

    await link.answer()
    open_door(link, on_rtp=on_rtp, on_rtcp=rtcp.append)
    await link.start()
    # Of a kind that aiortc would drop unseen.
    key = RtpPacket(126, 1, 2, 3, b"\x01\x0a\x00\xa0", marker=True)
    link.send(key)
    link.endpoint.send_rtcp(REPORT)
    await until(lambda: bool(rtp and rtcp))
    assert rtp == [bytes(key)]
    assert rtcp == [REPORT]


async def test_a_door_can_be_opened_while_the_link_is_up(link: Link) -> None:
    rtp: list[bytes] = []

    def on_rtp(data: bytes) -> bool:
        rtp.append(data)
        return True

    await link.come_up()
    open_door(link, on_rtp=on_rtp)
    packet = RtpPacket(111, 1, 2, 3, b"opus")
    link.send(packet)
    await until(lambda: rtp == [bytes(packet)])


async def test_what_is_not_taken_is_aiortcs(link: Link) -> None:
    seen: list[bytes] = []

    def on_rtp(data: bytes) -> bool:
        seen.append(data)
        return len(seen) > 3

    await link.come_up()
    await link.connection.open()
    open_door(link, on_rtp=on_rtp)
    for sequence in range(5):
        link.send(RtpPacket(111, sequence, sequence * 960, 3, b"\x08opus"))
    await until(lambda: len(seen) == 5)
    report = await link.connection.pc.getStats()
    received = [s for s in report.values() if isinstance(s, RTCInboundRtpStreamStats)]
    assert [stats.packetsReceived for stats in received] == [3]


async def test_reports_go_on_to_aiortc(link: Link) -> None:
    await link.come_up()
    open_door(link)
    ssrc, _ = read_source(link.connection.pc.localDescription.sdp)
    block = ReportBlock(ssrc=ssrc, lost=3, highest=7)
    link.endpoint.send_rtcp(receiver_report(5, [block]))
    lost: list[int] = []
    async with asyncio.timeout(30):
        while not lost:
            await asyncio.sleep(0.01)
            report = await link.connection.pc.getStats()
            lost = [
                stats.packetsLost
                for stats in report.values()
                if isinstance(stats, RTCRemoteInboundRtpStreamStats)
            ]
    assert lost == [3]


async def test_what_aiortc_sends_can_be_changed_but_for_its_reports(link: Link) -> None:
    seen: list[bytes] = []

    def outgoing(data: bytes) -> bytes:
        seen.append(data)
        return data[:1] + bytes([126]) + data[2:]

    await link.answer()
    open_door(link, outgoing=outgoing)
    await link.start()
    link.connection.replace_audio_track(new_sender())
    await link.connection.open()
    packets = await link.gets(3)
    assert {packet.payload_type for packet in packets} == {126}
    (report,) = await rtcp_reached(link.endpoint)
    assert read_rtcp(report), "as aiortc wrote it"
    assert not any(map(is_rtcp, seen))
    assert {data[1] & 0x7F for data in seen} == {111}


async def test_what_aiortc_sends_can_be_held_back(link: Link) -> None:
    await link.answer()
    held: list[bytes] = []

    def outgoing(data: bytes) -> bytes | None:
        if len(held) < 5:
            held.append(data)
            return None
        return data

    open_door(link, outgoing=outgoing)
    await link.start()
    link.connection.replace_audio_track(new_sender())
    await link.connection.open()
    (first,) = await link.gets(1)
    assert first.sequence == RtpPacket.parse(held[-1]).sequence + 1
    assert link.sent[0] == first


async def test_packets_of_ones_own_can_be_sent(link: Link) -> None:
    await link.answer()
    send = open_door(link, outgoing=lambda data: b"never asked")
    with pytest.raises(ConnectionError):
        await send(REPORT)
    await link.start()
    await send(bytes(RtpPacket(126, 1, 2, 3, b"key")))
    await until(lambda: link.sent == [RtpPacket(126, 1, 2, 3, b"key")])
    await send(REPORT)
    while REPORT not in await rtcp_reached(link.endpoint):
        await send(REPORT)


async def test_a_handler_that_raises_ends_nothing(link: Link, warnings: list[str]) -> None:
    seen: list[bytes] = []

    def broken(data: bytes) -> NoReturn:
        seen.append(data)
        raise RuntimeError("a bug of ours")

    await link.answer()
    open_door(link, on_rtp=broken, on_rtcp=broken)
    await link.start()
    for sequence in range(3):
        link.send(RtpPacket(111, sequence, 0, 3, b"opus"))
        link.endpoint.send_rtcp(REPORT)
    await until(lambda: len(seen) == 6)
    assert link.connection.pc.connectionState == "connected"
    assert len(warnings) == 6
    assert "a bug of ours" in warnings[0]


# With the door shut


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An aiortc of a later day, which has another parameter there."""
    module = "pipecat_whatsapp.media.aiortc_private"
    monkeypatch.setattr(f"{module}._DOOR", {"_send_rtp": ["packet", "why"]})
    monkeypatch.setattr(f"{module}._is_there", functools.cache(_is_there.__wrapped__))


@pytest.mark.usefixtures("shut")
async def test_a_door_that_has_moved_is_left_alone(link: Link, warnings: list[str]) -> None:
    await link.answer()
    transport = transport_of(link)
    before = dict(vars(transport))
    for _ in range(2):
        assert open_rtp_door(transport, on_rtp=taken, on_rtcp=nothing, outgoing=unchanged) is None
    assert vars(transport) == before
    assert len(warnings) == 1
    assert "RTCDtlsTransport._send_rtp" in warnings[0]


@pytest.mark.usefixtures("shut")
async def test_with_the_door_shut_both_still_hear_each_other(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, warnings: list[str]
) -> None:
    question = chirp(1.0)
    await whatsapp.serve(PipelineBot(Echo), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.say(question)
    await heard(question, lambda: call.recording.pcm)
    await call.press("5")
    await call.hang_up()
    report = await reports.next()
    assert report.quality.packets_in > 0
    assert report.quality.packets_out > 0
    assert len(warnings) == 1
    assert "slower way" in warnings[0]


@pytest.mark.usefixtures("shut")
async def test_with_the_door_shut_keys_are_pipecats_tones(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PipelineBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await bot.workers[0].queue_frame(OutputDTMFFrame.from_string("5"))
    await call.until(lambda recording: recording.sound_seconds > 0.1)
    received = call.recording.received
    await call.until(lambda recording: recording.received > received + 10)
    sound = np.frombuffer(call.recording.pcm, np.int16).astype(float)
    spectrum = np.abs(np.fft.rfft(sound))
    strongest = np.argsort(spectrum)[-10:] * RATE / len(sound)
    # ITU-T Q.23: 5 is 770 Hz and 1336 Hz.
    assert {round(hertz, -2) for hertz in strongest} == {800, 1300}
    assert call.recording.keys == ""


@pytest.mark.usefixtures("shut")
async def test_with_the_door_shut_a_call_of_ours_is_heard_from_its_opening_on() -> None:
    heard: list[bytes] = []
    async with OwnLink() as link:
        await link.answer()
        receiver = link.connection.create_receiver()
        receiver.start(RATE, heard.append, lambda key: None)
        sender = new_sender()
        link.connection.replace_audio_track(sender)
        await link.start()
        assert not sender.sends_keys
        link.phone.speak()
        done = link.phone.voice.say(tone(440, 0.5))
        await until(lambda: link.phone.voice.spoken == done)
        # Then only silence is under way.
        await asyncio.sleep(1.0)
        await link.connection.open()
        link.phone.voice.say(tone(880, 1.0))
        await until(lambda: len(loud(b"".join(heard))) > RATE)
    sound = b"".join(heard)
    # aiortc's buffer may hold the last 80 ms back.
    assert pitch(loud(sound)[RATE // 4 :]) == pytest.approx(880, abs=20)


# Consent


async def test_a_far_end_that_is_there_consents(link: Link) -> None:
    await link.come_up()
    assert await ask_consent(transport_of(link)) is True


async def test_a_far_end_that_has_vanished_does_not(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stun, "RETRY_RTO", 0.01)
    await link.come_up()
    link.endpoint.vanish()
    assert await ask_consent(transport_of(link)) is False


async def test_nobody_is_asked_before_the_link_is_up_and_after_its_end(link: Link) -> None:
    await link.answer()
    transport = transport_of(link)
    assert await ask_consent(transport) is None
    await link.start()
    await link.connection.close()
    assert await ask_consent(transport) is None


async def test_a_far_end_that_refuses_to_be_asked_is_there_all_the_same(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        answer = stun.Message(stun.Method.BINDING, stun.Class.ERROR)
        raise stun.TransactionFailed(answer)

    await link.come_up()
    monkeypatch.setattr("aioice.ice.StunProtocol.request", refused)
    assert await ask_consent(transport_of(link)) is None


async def test_an_aiortc_that_cannot_be_asked_is_not_taken_for_a_dead_caller() -> None:
    class Moved:
        transport = object()

    assert await ask_consent(Moved()) is None  # type: ignore[arg-type]


# Sockets


async def test_aiortc_has_not_moved_where_it_gathers(link: Link) -> None:
    await link.answer()
    moved = f"aioice {version('aioice')} gathers in another way: see aiortc_private.py"
    assert place_sockets(transport_of(link), [], None), moved


@pytest.fixture(params=["parameters", "names"])
def gathers_otherwise(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An aioice of a later day."""
    module = "pipecat_whatsapp.media.aiortc_private"
    if request.param == "parameters":
        monkeypatch.setattr(f"{module}._GATHERING", ["self", "component", "sockets"])
    else:
        monkeypatch.setattr(f"{module}._AIOICE_NAMES", ((stun, "StunProtocol"),))


@pytest.mark.usefixtures("gathers_otherwise")
async def test_what_cannot_be_done_is_an_error_and_not_passed_over(link: Link) -> None:
    for network in (Network(address="127.0.0.1"), Network(udp_ports=(20000, 20100))):
        with pytest.raises(ConfigError, match="use a tested version of it, or drop WHATSAPP_UDP"):
            await link.answer(network=network)


@pytest.mark.usefixtures("gathers_otherwise")
async def test_where_nothing_was_asked_for_aiortc_gathers_its_own_way(link: Link) -> None:
    await link.answer()
    assert " typ host" in link.sdp
    assert not place_sockets(transport_of(link), ["127.0.0.1"], range(20000, 20101))
    await link.start()


NOT_OURS = "192.0.2.1"


async def test_an_address_that_cannot_be_used_is_left_out(
    link: Link, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    lie_about_addresses(monkeypatch, NOT_OURS, "127.0.0.1")
    await link.answer(network=Network(address="lo", udp_ports=free_ports(1)))
    assert NOT_OURS not in link.sdp
    assert f"leaves out {NOT_OURS}" in warnings[0]
    await link.start()


async def test_where_no_address_can_be_used_it_is_said_what_to_change(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie_about_addresses(monkeypatch, NOT_OURS)
    with pytest.raises(ConfigError, match=f"on {NOT_OURS}, .* set WHATSAPP_BIND_ADDRESS"):
        await link.answer(network=Network(address="lo", udp_ports=free_ports(1)))


def lie_about_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """An address may be gone, or not yet be usable, when a call wants it."""
    monkeypatch.setattr(connection, "read_interfaces", lambda: [Interface("lo", addresses)])


async def test_a_transport_without_an_aioice_connection_is_left_alone() -> None:
    class Moved:
        transport = object()

    assert not place_sockets(Moved(), [], None)  # type: ignore[arg-type]
