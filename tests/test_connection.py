from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from av import AudioFrame

from aiortc_business import tone
from conftest import until
from links import Link, OwnLink, rtcp_reached
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.connection import LinkEvent
from pipecat_whatsapp.media.dtmf import event_payload
from pipecat_whatsapp.media.interfaces import read_interfaces
from pipecat_whatsapp.media.network import Network
from pipecat_whatsapp.media.opus import create_encoder
from pipecat_whatsapp.media.quality import CallQuality, QualityMeter
from pipecat_whatsapp.media.receiver import AudioReceiver
from pipecat_whatsapp.media.rtp import (
    ReceiverReport,
    ReportBlock,
    RtpPacket,
    read_rtcp,
    receiver_report,
    source_description,
)
from pipecat_whatsapp.media.sdp import read_source
from pipecat_whatsapp.media.sender import AudioSender
from pipecat_whatsapp.simulator.offer import read_offer
from ports import free_ports, ports_named
from test_opus import frames
from test_sender import new_sender

KEYS = 126


def new_meter() -> QualityMeter:
    return QualityMeter(asyncio.get_running_loop().time())


@pytest.fixture(params=["user's", "active", "passive"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """Of a user's call, and of calls of ours by Meta's part in DTLS."""
    made = Link() if request.param == "user's" else OwnLink(request.param)
    async with made:
        yield made


def told_of(link: Link, event: str) -> list[object]:
    """The connections of which an event is told from now on."""
    told: list[object] = []

    async def note(connection: object) -> None:
        told.append(connection)

    link.connection.add_event_handler(event, note)
    return told


async def test_the_link_stays_down_until_it_is_started(link: Link) -> None:
    """Meta must have our answer, or we Meta's, before DTLS begins."""
    await link.answer()
    await asyncio.sleep(0.05)
    assert link.connection.pc.connectionState == "new"
    await link.start()
    local = link.connection.pc.localDescription.sdp
    assert local.count("a=ice-ufrag") == 1
    assert f"a=ice-ufrag:{read_offer(link.ours).ufrag}\r\n" in local
    assert link.connection.pc.getReceivers()[0].transport.transport.role == "controlling"


async def test_ice_is_up_before_the_link_is(link: Link) -> None:
    await link.come_up()
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP]


async def test_nothing_is_sent_before_the_gate_opens(link: Link) -> None:
    await link.come_up()
    link.connection.replace_audio_track(new_sender())
    await link.connection.connect()
    # RTCP goes on meanwhile: wait for it, to have given RTP its chance.
    await rtcp_reached(link.endpoint)
    assert link.sent == []
    assert not link.connection.is_connected()
    await link.connection.open()
    assert link.connection.is_connected()
    await link.gets(5)


async def test_connected_is_told_once_both_sides_are_ready(link: Link) -> None:
    await link.come_up()
    connected = told_of(link, "connected")
    await link.connection.connect()
    assert connected == []
    assert link.events[-1] is LinkEvent.BOT_READY
    await link.connection.open()
    await until(lambda: connected == [link.connection])


async def test_a_call_has_no_data_channel_and_warns_of_none(
    link: Link, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat.transports.smallwebrtc.connection.DATA_CHANNEL_TIMEOUT_SECS", 0.05)
    await link.come_up()
    await link.connection.connect()
    await link.connection.open()
    link.connection.send_app_message({"type": "anything"})
    await asyncio.sleep(0.2)
    assert warnings == []


# The end


async def test_the_far_ends_close_is_told(link: Link) -> None:
    await link.come_up()
    await link.endpoint.close()
    await until(lambda: LinkEvent.LOST in link.events)


async def test_our_own_close_is_no_loss(link: Link) -> None:
    await link.come_up()
    closed = told_of(link, "closed")
    await link.connection.close()
    await link.connection.close()
    await link.connection.disconnect()
    await until(lambda: closed == [link.connection])
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP]


async def test_a_close_is_finished_though_whoever_asked_for_it_is_cancelled(link: Link) -> None:
    await link.come_up()
    closed = told_of(link, "closed")
    asking = asyncio.create_task(link.connection.close())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await link.connection.close()
    assert link.connection.pc.connectionState == "closed"
    await until(lambda: closed == [link.connection])


async def test_disconnect_says_that_the_bot_hung_up(link: Link) -> None:
    await link.come_up()
    await link.connection.disconnect()
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP, LinkEvent.BOT_HUNG_UP]


async def test_closing_before_the_link_comes_up_frees_whoever_writes(link: Link) -> None:
    await link.answer()
    sender = new_sender()
    link.connection.replace_audio_track(sender)
    writing = asyncio.ensure_future(sender.write(bytes(64_000)))
    await asyncio.sleep(0)
    await link.connection.close()
    assert not await writing
    await link.connection.start_link()
    assert link.connection.pc.connectionState == "closed"


async def test_the_far_ends_close_frees_whoever_writes(link: Link) -> None:
    await link.come_up()
    sender = new_sender()
    link.connection.replace_audio_track(sender)
    await link.connection.open()
    writing = asyncio.ensure_future(sender.write(bytes(32_000 * 3600)))
    await link.gets(3)
    await link.endpoint.close()
    async with asyncio.timeout(30):
        assert not await writing


# Receiving


def decoder_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "audio-decoder"]


@pytest.mark.parametrize("late", [False, True])
async def test_aiortcs_own_receiver_is_set_aside_with_its_thread(link: Link, late: bool) -> None:
    await link.answer()
    if late:
        await link.start()
        await until(lambda: len(decoder_threads()) == 1)
    assert isinstance(link.connection.create_receiver(), AudioReceiver)
    if not late:
        await link.start()
    await until(lambda: decoder_threads() == [])
    # It does not come back either, and aiortc can still be closed.
    await asyncio.sleep(0.05)
    assert decoder_threads() == []
    await link.connection.close()


async def test_sound_and_keys_are_heard(link: Link) -> None:
    pcm: list[bytes] = []
    keys: list[str] = []
    await link.answer()
    receiver = link.connection.create_receiver()
    receiver.start(16_000, pcm.append, keys.append)
    await link.start()
    await link.connection.open()
    send_tone(link, 5)
    link.send(RtpPacket(KEYS, 5, 5 * 960, 9, event_payload("#", 160), marker=True))
    await until(lambda: len(pcm) >= 5 and keys == ["#"])


def send_tone(link: Link, packets: int, *, start: int = 0) -> None:
    """Let the far end send a tone, all at once."""
    encoder = create_encoder(16_000)
    opus_pt = link.phone.voice.opus_pt
    for sequence, frame in enumerate(frames(tone(440, packets / 50), 16_000), start):
        link.send(RtpPacket(opus_pt, sequence, sequence * 960, 9, encoder.encode(frame)))


async def test_nothing_is_heard_before_the_gate_opens(link: Link) -> None:
    """Nobody has accepted or picked up: whatever sounds then is no caller."""
    pcm: list[bytes] = []
    keys: list[str] = []
    await link.answer()
    link.connection.create_receiver().start(16_000, pcm.append, keys.append)
    await link.start()
    await link.connection.connect()
    _, before = await reviewed(link)
    send_tone(link, 50)
    link.send(RtpPacket(KEYS, 50, 50 * 960, 9, event_payload("1", 160), marker=True))
    await reviewed_until(link, lambda _, packets: packets >= before + 51)
    await link.connection.open()
    send_tone(link, 5, start=51)
    link.send(RtpPacket(KEYS, 56, 56 * 960, 9, event_payload("2", 160), marker=True))
    quality = await reviewed_until(link, lambda quality, _: quality.packets_in == 6)
    assert quality.lost_in == 0, "and what nobody was to hear is not missed"
    assert keys == ["2"]
    # What fills a gap may be heard as well.
    assert 5 <= len(pcm) < 50


async def test_pipecats_own_transport_hears_nothing_before_the_gate_opens(link: Link) -> None:
    await link.come_up()
    _, before = await reviewed(link)
    send_tone(link, 30)
    await reviewed_until(link, lambda _, packets: packets >= before + 30)
    await link.connection.open()
    link.phone.speak()
    track = link.connection.audio_input_track()
    assert track is not None
    frame = await track.recv()
    assert isinstance(frame, AudioFrame)
    assert np.abs(frame.to_ndarray()).max() < 100, "silence, as the phone says now"


async def test_a_closed_connection_hears_nothing_more(link: Link) -> None:
    pcm: list[bytes] = []
    await link.answer()
    receiver = link.connection.create_receiver()
    receiver.start(16_000, pcm.append, lambda key: None)
    await link.start()
    await link.connection.open()
    link.phone.speak()
    await until(lambda: len(pcm) > 3)
    await link.connection.close()
    heard = len(pcm)
    await asyncio.sleep(0.1)
    assert len(pcm) == heard


async def test_a_key_leaves_in_the_stream_of_the_audio(link: Link) -> None:
    await link.answer()
    link.connection.create_receiver()
    sender = new_sender()
    link.connection.replace_audio_track(sender)
    await link.start()
    await link.connection.open()
    await link.gets(3)
    sender.press("8")
    await sender.released()
    await until(lambda: link.phone.recording.keys == "8")
    await link.gets(3)
    assert len({packet.ssrc for packet in link.sent}) == 1
    numbers = [packet.sequence for packet in link.sent]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    keys = [packet for packet in link.sent if packet.payload_type == KEYS]
    assert [packet.marker for packet in keys] == [True] + [False] * 6
    assert len({packet.timestamp for packet in keys}) == 1
    assert {packet.payload_type for packet in link.sent} == {link.phone.voice.opus_pt, KEYS}


# Reports


async def reviewed(link: Link) -> tuple[CallQuality, int]:
    return await link.connection.review(new_meter())


async def reviewed_until(link: Link, ready: Callable[[CallQuality, int], bool]) -> CallQuality:
    """Review again and again until the figures are as wanted."""
    async with asyncio.timeout(30):
        while True:
            quality, packets = await reviewed(link)
            if ready(quality, packets):
                return quality
            await asyncio.sleep(0.01)


async def test_a_review_tells_the_far_end_what_came_of_its_stream(link: Link) -> None:
    await link.answer()
    link.connection.create_receiver()
    await link.start()
    await link.connection.open()
    opus_pt = link.phone.voice.opus_pt
    for sequence in (65_534, 65_535, 0, 2, 3, 6):
        link.send(RtpPacket(opus_pt, sequence, 0, 0xABCDEF01, b"\x08opus"))
    quality = await reviewed_until(link, lambda quality, _: quality.packets_in == 6)
    assert quality.lost_in == 3
    ssrc, cname = read_source(link.ours)
    (compound,) = await first_report(link)
    assert compound.endswith(source_description(ssrc, cname))
    (report,) = read_rtcp(compound)
    assert isinstance(report, ReceiverReport)
    assert report.ssrc == ssrc
    (block,) = report.blocks
    assert (block.ssrc, block.lost, block.highest) == (0xABCDEF01, 3, 65_536 + 6)


async def first_report(link: Link) -> list[bytes]:
    """The receiver report of a review; aiortc's own sender reports do not count."""
    found: list[bytes] = []
    hear = link.endpoint.on_rtcp
    link.endpoint.on_rtcp = lambda data: found.append(data) if data[1] == 201 else None
    await reviewed(link)
    await until(lambda: bool(found))
    link.endpoint.on_rtcp = hear
    return found[:1]


async def test_without_a_stream_there_is_nothing_to_report(link: Link) -> None:
    await link.answer()
    link.connection.create_receiver()
    await link.start()
    quality, packets = await reviewed(link)
    assert (quality.packets_in, quality.mos) == (0, None)
    assert packets > 0, "the handshake itself"


async def test_what_comes_from_the_far_end_is_counted(link: Link) -> None:
    """A sign of life is a packet of any kind, with a receiver of ours or without."""
    await link.come_up()
    _, before = await reviewed(link)
    link.endpoint.send_rtcp(receiver_report(1))
    await reviewed_until(link, lambda _, packets: packets > before)


async def test_a_connection_can_be_reviewed_when_it_is_closed(link: Link) -> None:
    """The call's end may come while it is under review."""
    await link.answer()
    link.connection.create_receiver()
    await link.start()
    await link.connection.open()
    link.send(RtpPacket(link.phone.voice.opus_pt, 1, 0, 9, b"\x08opus"))
    await reviewed_until(link, lambda quality, _: quality.packets_in == 1)
    await link.connection.close()
    quality, _ = await reviewed(link)
    assert quality.packets_in == 1


class Follower(AudioSender):
    """Keeps what it is told of the loss."""

    def __init__(self) -> None:
        super().__init__(create_encoder(16_000), 16_000)
        self.followed: list[float] = []

    def follow(self, loss: float) -> None:
        self.followed.append(loss)
        super().follow(loss)


async def test_each_report_of_the_far_end_is_followed_once(link: Link) -> None:
    await link.answer()
    link.connection.create_receiver()
    sender = Follower()
    link.connection.replace_audio_track(sender)
    await link.start()
    await link.connection.open()
    ssrc, _ = read_source(link.ours)
    await reviewed(link)
    assert sender.followed == []
    for fraction in (64, 64, 0):
        count = len(sender.followed)
        block = ReportBlock(ssrc=ssrc, lost=1, highest=10, fraction=fraction, jitter=480)
        link.endpoint.send_rtcp(receiver_report(5, [block]))
        quality = await reviewed_until(link, lambda *_, n=count: len(sender.followed) > n)
        assert (quality.lost_out, quality.jitter_out_ms) == (fraction / 256, 10)
        await reviewed(link)
    assert sender.followed == [0.25, 0.25, 0]


async def test_a_report_on_somebody_elses_stream_is_not_followed(link: Link) -> None:
    await link.answer()
    link.connection.create_receiver()
    sender = Follower()
    link.connection.replace_audio_track(sender)
    await link.start()
    _, before = await reviewed(link)
    block = ReportBlock(ssrc=1, lost=1, highest=10, fraction=64)
    link.endpoint.send_rtcp(receiver_report(5, [block]))
    await reviewed_until(link, lambda _, packets: packets > before)
    assert sender.followed == []


async def test_both_sides_learn_of_each_other_by_rtcp(link: Link) -> None:
    """The phone reports on our stream, and how long our report was on its way."""
    qualities: list[CallQuality] = []

    async def on_quality(_: object, quality: CallQuality) -> None:
        qualities.append(quality)

    await link.answer()
    link.connection.create_receiver().start(16_000, lambda pcm: None, lambda key: None)
    link.connection.replace_audio_track(new_sender())
    link.connection.add_event_handler("quality", on_quality)
    await link.start()
    await link.connection.open()
    link.phone.speak()
    quality = await reviewed_until(link, lambda quality, _: quality.round_trip_ms is not None)
    assert quality.round_trip_ms is not None
    assert quality.round_trip_ms < 1000, "on this very machine"
    assert quality.lost_out == 0
    assert quality.packets_out > 0
    assert 1_000 < quality.bitrate_out < 25_000
    assert (quality.lost_in, quality.concealed_ms) == (0, 0)
    assert quality.mos is not None
    assert quality.first_audio_in is not None
    assert quality.first_audio_out is None, "the bot has said nothing"
    await until(lambda: quality in qualities)
    # And the other way round: the phone's own report is answered with its time.
    (report,) = read_rtcp((await first_report(link))[0])
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].lsr != 0


async def test_the_far_end_is_asked_for_its_consent(link: Link) -> None:
    await link.answer()
    assert await link.connection.has_consent() is None
    await link.start()
    assert await link.connection.has_consent() is True


# The network


@pytest.fixture
def network() -> Network:
    """Two ports of loopback."""
    return Network(address="127.0.0.1", udp_ports=free_ports(2))


async def test_a_call_opens_its_one_socket_within_the_range(link: Link, network: Network) -> None:
    await link.answer(network=network)
    (port,) = ports_named(link.ours)
    assert port in (network.ports or ())
    await link.start()
    assert link.peer == ("127.0.0.1", port)


async def test_a_port_that_is_taken_is_passed_over(link: Link) -> None:
    first, last = free_ports(2)
    for taken, free in ((first, last), (last, first)):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            other.bind(("0.0.0.0", taken))  # noqa: S104 - as a server has it
            await link.answer(network=Network(address="127.0.0.1", udp_ports=(first, last)))
            assert ports_named(link.ours) == [free]
            await link.connection.close()


async def test_calls_share_a_range_until_it_is_used_up(network: Network) -> None:
    async with Link() as one, OwnLink() as other, Link() as third:
        await one.answer(network=network)
        await other.answer(network=network)
        assert {*ports_named(one.ours), *ports_named(other.ours)} == {*(network.ports or ())}
        with pytest.raises(ConfigError, match=r"in use.*WHATSAPP_UDP_PORTS"):
            await third.answer(network=network)
        await one.connection.close()
        await third.answer(network=network)
        assert ports_named(third.ours) == ports_named(one.ours)
        await third.start()
        await other.start()


async def test_an_interface_is_chosen_by_its_name(link: Link) -> None:
    (name,) = [each.name for each in read_interfaces() if "127.0.0.1" in each.addresses]
    await link.answer(network=Network(address=name, ipv4_only=True))
    candidates = [line for line in link.ours.splitlines() if line.startswith("a=candidate:")]
    assert candidates
    assert all(line.split()[4].startswith("127.0.0.") for line in candidates)
    await link.start()


async def test_an_ipv6_address_has_a_port_of_the_range_too(network: Network) -> None:
    if not any("::1" in each.addresses for each in read_interfaces()):
        pytest.skip("this machine has no IPv6")
    async with Link() as link:
        await link.answer(network=replace(network, address="::1"))
        (port,) = ports_named(link.ours)
        assert port in (network.ports or ())
        assert f" ::1 {port} typ host" in link.ours


async def test_behind_a_1_to_1_nat_the_public_ip_is_named(link: Link, network: Network) -> None:
    await link.answer(network=replace(network, public_ip="203.0.113.7"))
    (port,) = ports_named(link.ours)
    assert f" 203.0.113.7 {port} typ host" in link.ours
    assert "127.0.0.1" not in link.ours
    await link.start()
    assert link.peer == ("127.0.0.1", port)


async def test_an_address_that_has_gone_is_told(link: Link) -> None:
    with pytest.raises(ConfigError, match=r"at '192\.0\.2\.1'"):
        await link.answer(network=Network(address="192.0.2.1"))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_range_is_kept_on_either_loop(loop: str, network: Network) -> None:
    factory = pytest.importorskip(loop).new_event_loop

    async def use_up() -> None:
        async with Link() as one, Link() as other, Link() as third:
            for link in (one, other):
                await link.answer(network=network)
                await link.start()
            assert {*ports_named(one.ours), *ports_named(other.ours)} == {*(network.ports or ())}
            with pytest.raises(ConfigError, match=r"in use.*WHATSAPP_UDP_PORTS"):
                await third.answer(network=network)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(use_up())


async def test_a_link_that_is_closed_while_it_comes_up_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    for tenths in range(0, 300, 12):
        async with Link() as link:
            await link.answer()
            starting = asyncio.create_task(link.start())
            await asyncio.sleep(tenths / 10_000)
            await link.connection.close()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
    await until(lambda: asyncio.all_tasks() <= before)
