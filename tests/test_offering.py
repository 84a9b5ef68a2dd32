"""Calls of ours: the offer, Meta's answer to it, and both against an aiortc of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from aiortc_business import Business, loud, pitch, tone
from conftest import until
from links import Link, OwnLink
from pipecat_whatsapp.errors import SdpError
from pipecat_whatsapp.media.connection import LinkEvent
from pipecat_whatsapp.media.offering import make_offer
from pipecat_whatsapp.media.opus import create_encoder
from pipecat_whatsapp.media.rate import RateControl
from pipecat_whatsapp.media.sdp import read_answer
from pipecat_whatsapp.media.sender import AudioSender
from pipecat_whatsapp.simulator.rules import check_offer
from test_connection import reviewed_until, send_tone
from test_opus import frames
from test_sender import new_sender

OFFERED = 96
"""What aiortc offers Opus as."""

KEYS = 126


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with OwnLink() as made:
        yield made


async def test_the_offer_keeps_metas_rules_and_is_complete(link: Link) -> None:
    await link.answer()
    check_offer(link.offer)
    assert " typ host" in link.offer
    assert "a=end-of-candidates\r\n" in link.offer
    assert "a=setup:actpass\r\n" in link.offer


async def test_the_offer_is_aiortcs_own_but_for_metas_rules(link: Link) -> None:
    await link.answer()
    ours = link.offer.split("\r\n")
    aiortcs = link.connection.pc.localDescription.sdp.split("\r\n")
    added = [line for line in ours if line not in aiortcs]
    assert [line.partition(":")[0] for line in added] == [
        "m=audio " + added[0].split()[1] + " UDP/TLS/RTP/SAVPF 96 126",
        "a=fmtp",
        "a=rtpmap",
        "a=ptime",
        "a=maxptime",
    ]
    assert {line.partition(":")[0] for line in aiortcs if line not in ours} == {
        "m=audio " + added[0].split()[1] + " UDP/TLS/RTP/SAVPF 96",
        "a=extmap",
        "a=fingerprint",
    }


async def test_a_cancelled_offer_leaves_no_socket() -> None:
    task = asyncio.create_task(make_offer(lambda event: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_ends_before_the_answer_takes_none(link: Link) -> None:
    await link.answer()
    assert link.connection.remote is None
    await link.connection.close()
    await link.connection.take_answer(link.sdp)
    assert link.connection.remote is None
    assert link.connection.pc.connectionState == "closed"


# Meta's answer


async def test_a_repeated_answer_changes_nothing(link: Link) -> None:
    """Meta sends its webhooks again and again."""
    await link.answer()
    taking = [link.connection.take_answer(link.sdp) for _ in range(2)]
    await asyncio.gather(*taking)
    await until(lambda: LinkEvent.UP in link.events)
    remote = link.connection.remote
    await link.connection.take_answer(link.sdp.replace("20000", "8000"))
    assert link.connection.remote is remote
    assert remote == read_answer(link.sdp)
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP]


async def test_actpass_in_an_answer_is_taken_for_passive() -> None:
    """No answer may say so (RFC 5763 section 5), but Meta has."""
    async with OwnLink("actpass") as link:
        await link.come_up()
        assert "a=setup:actpass" in link.sdp
        assert link.connection.remote is not None
        assert "a=setup:passive\r\n" in link.connection.remote.sdp


BROWSERS = (
    "m=audio {port} UDP/TLS/RTP/SAVPF 111 9 0 8 110 126\r\n",
    "a=rtpmap:111 opus/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:110 telephone-event/48000\r\n"
    "a=candidate:1000000002 1 udp 2122262783 2001:db8::face:b00c:0:1 3480 typ host generation 0\r\n"
    "a=fmtp:111 minptime=20;useinbandfec=1\r\n",
)
"""The media line of Meta's printed sample, and what belongs to it."""


async def test_metas_printed_answer_is_understood(link: Link) -> None:
    """It echoes a browser's offer: extra codecs, another Opus, a second candidate."""
    await link.answer()
    media = f"m=audio {link.endpoint.port} UDP/TLS/RTP/SAVPF {OFFERED} {KEYS}\r\n"
    rtpmap = f"a=rtpmap:{OFFERED} opus/48000/2\r\n"
    assert media in link.sdp
    link.sdp = link.sdp.replace(media, BROWSERS[0].format(port=link.endpoint.port))
    link.sdp = link.sdp.replace(rtpmap, BROWSERS[1])
    link.sdp = link.sdp.replace(f":{OFFERED} ", ":111 ")
    await link.start()
    assert link.connection.remote is not None
    assert link.connection.remote.opus_payload_type == 111


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("a=setup:active\r\n", ""), "who begins DTLS"),
        (("a=setup:active", "a=setup:holdconn"), "who begins DTLS"),
        (("a=fingerprint:", "a=x:"), "answer has no DTLS fingerprint"),
        (("opus/48000/2", "PCMU/8000"), "answer lacks opus"),
        (("a=mid:0", "a=mid:audio"), "cannot be used"),
        (("a=rtcp-mux\r\n", ""), "cannot be used"),
        ((" 1 udp ", " one udp "), "cannot be used"),
        (("v=0", "v=1"), "not a session description"),
    ],
)
async def test_an_answer_that_carries_no_call_is_an_sdp_error(
    change: tuple[str, str], word: str
) -> None:
    async with OwnLink(change=change) as link:
        await link.answer()
        with pytest.raises(SdpError, match=word) as caught:
            await link.connection.take_answer(link.sdp)
        assert link.endpoint.pwd not in str(caught.value)
        assert link.events == []


# What the answer says of our stream


async def stream_of(link: Link, sender: AudioSender, pcm: bytes) -> float:
    """Speak over a link that is open. Returns the bit rate, bit/s."""
    await link.gets(5)
    start = len(link.sent)
    await sender.write(pcm)
    packets = link.sent[start:]
    return sum(len(packet.payload) for packet in packets) * 8 / (len(packets) * 0.02)


@pytest.mark.parametrize("early", [True, False])
async def test_the_answer_bounds_a_sender_that_may_be_older_than_it(
    link: Link, early: bool
) -> None:
    """The pipeline may be set up before Meta has answered."""
    sender = AudioSender(create_encoder(16_000, bitrate=64_000), 16_000, rate=RateControl(64_000))
    await link.answer()
    if early:
        link.connection.replace_audio_track(sender)
    await link.start()
    if not early:
        link.connection.replace_audio_track(sender)
    await link.connection.open()
    noise = np.random.default_rng(1).integers(-8000, 8000, 16_000, np.int16).tobytes()
    assert 12_000 < await stream_of(link, sender, noise) < 25_000


@pytest.mark.parametrize("answered", [OFFERED, 111])
async def test_sound_and_keys_leave_as_the_answer_wants_them(answered: int) -> None:
    """An answer may choose payload types for what it gets (RFC 3264 section 6.1)."""
    async with OwnLink() as link:
        await link.answer()
        keys = 101 if answered == 111 else KEYS
        link.sdp = link.sdp.replace(f"SAVPF {OFFERED} {KEYS}", f"SAVPF {answered} {keys}")
        link.sdp = link.sdp.replace(f":{OFFERED} ", f":{answered} ")
        link.sdp = link.sdp.replace(f"a=rtpmap:{KEYS} ", f"a=rtpmap:{keys} ")
        sender = new_sender()
        link.connection.replace_audio_track(sender)
        await link.start()
        await link.connection.open()
        sender.press("5")
        await sender.released()
        await link.gets(2)
        assert {packet.payload_type for packet in link.sent} == {answered, keys}
        assert len({packet.ssrc for packet in link.sent}) == 1


async def test_what_is_sent_to_us_may_bear_our_payload_types_or_the_answers(link: Link) -> None:
    await link.answer()
    link.connection.create_receiver().start(16_000, lambda pcm: None, lambda key: None)
    link.sdp = link.sdp.replace(f"SAVPF {OFFERED} ", "SAVPF 111 ")
    link.sdp = link.sdp.replace(f":{OFFERED} ", ":111 ")
    await link.start()
    await link.connection.open()
    send_tone(link, 5)
    link.phone.voice.opus_pt = 111
    send_tone(link, 5, start=5)
    quality = await reviewed_until(link, lambda quality, _: quality.packets_in == 10)
    assert quality.lost_in == 0


async def test_keys_are_heard_but_not_sent_where_the_answer_has_none() -> None:
    """WhatsApp sends them without having been offered any, too (Meta: DTMF)."""
    async with OwnLink(change=(f"a=rtpmap:{KEYS} telephone-event/8000\r\n", "")) as link:
        pressed: list[str] = []
        await link.answer()
        link.connection.create_receiver().start(16_000, lambda pcm: None, pressed.append)
        sender = new_sender(keys=None)
        link.connection.replace_audio_track(sender)
        await link.start()
        await link.connection.open()
        assert not sender.sends_keys
        link.phone.speak()
        link.phone.voice.press("7")
        await until(lambda: pressed == ["7"])


# A voice before the call is known to be picked up


async def rings(link: Link) -> None:
    """Have the link up while the phone still rings, with a bot that waits."""
    await link.answer()
    link.connection.create_receiver().start(16_000, lambda pcm: None, lambda key: None)
    await link.start()
    link.phone.speak()


async def test_a_voice_is_told_of_once(link: Link) -> None:
    await rings(link)
    link.phone.voice.say(tone(440, 1.0))
    await until(lambda: LinkEvent.VOICE in link.events)
    spoken = link.phone.voice.spoken
    await until(lambda: link.phone.voice.spoken > spoken + 10)
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP, LinkEvent.VOICE]


async def test_a_voice_is_told_of_without_any_pipeline(link: Link) -> None:
    await link.come_up()
    link.phone.speak()
    link.phone.voice.say(tone(440, 0.5))
    await until(lambda: LinkEvent.VOICE in link.events)


async def test_silence_and_keys_are_no_voice(link: Link) -> None:
    await rings(link)
    link.phone.voice.press("123")
    done = link.phone.voice.say(bytes(32_000 // 2))
    await until(lambda: link.phone.voice.spoken == done)
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP]


async def test_a_voice_is_told_of_before_the_call_is_open_only(link: Link) -> None:
    await rings(link)
    await link.connection.open()
    done = link.phone.voice.say(tone(440, 0.5))
    await until(lambda: link.phone.voice.spoken == done)
    await reviewed_until(link, lambda quality, _: quality.packets_in > 20)
    assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP]


async def test_the_caller_of_a_users_call_tells_nothing_by_speaking() -> None:
    """There our accept opens the call, and nothing else."""
    async with Link() as link:
        await link.come_up()
        link.phone.speak()
        done = link.phone.voice.say(tone(440, 0.5))
        await until(lambda: link.phone.voice.spoken == done)
        assert link.events == [LinkEvent.ICE_UP, LinkEvent.UP]


# Against aiortc


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_a_full_webrtc_stack_understands_our_offer(setup: str) -> None:
    heard: list[bytes] = []
    connection, offer = await make_offer(lambda event: None)
    connection.create_receiver().start(16_000, heard.append, lambda key: None)
    sender = new_sender()
    connection.replace_audio_track(sender)
    async with Business() as far_end:
        try:
            await connection.take_answer(await far_end.answer(offer, setup))
            await until(lambda: connection.pc.connectionState == "connected")
            await connection.open()
            assert not sender.sends_keys, "aiortc knows none"
            speaking = asyncio.create_task(speak(sender))
            assert pitch(await far_end.hears(0.5, patience=30)) == pytest.approx(660, abs=10)
            await until(lambda: len(loud(b"".join(heard))) > 16_000)
            assert pitch(loud(b"".join(heard))) == pytest.approx(440, abs=10)
            speaking.cancel()
        finally:
            await connection.close()


async def speak(sender: AudioSender) -> None:
    for frame in frames(tone(660, 30)):
        await sender.write(frame)
