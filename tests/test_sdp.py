from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_whatsapp.errors import SdpError
from pipecat_whatsapp.media.answering import answer_offer
from pipecat_whatsapp.media.offering import make_offer
from pipecat_whatsapp.media.sdp import (
    MAX_SDP_BYTES,
    RemoteDescription,
    read_answer,
    read_offer,
    read_payload_types,
    read_source,
    write_answer,
    write_offer,
)
from pipecat_whatsapp.simulator.offer import write_answer as write_whatsapp_answer
from pipecat_whatsapp.simulator.offer import write_offer as write_whatsapp_offer
from pipecat_whatsapp.simulator.rules import check_answer, check_offer

AIORTC_ANSWER = "\r\n".join(
    [
        "v=0",
        "o=- 4000000001 4000000001 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE audio",
        "a=msid-semantic:WMS *",
        "m=audio 51420 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 198.51.100.7",
        "a=sendrecv",
        "a=mid:audio",
        "a=msid:aaaaaaaa-0000-4000-8000-000000000001 aaaaaaaa-0000-4000-8000-000000000002",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=rtcp-mux",
        "a=ssrc:871000001 cname:aaaaaaaa-0000-4000-8000-000000000003",
        "a=rtpmap:111 opus/48000/2",
        "a=candidate:1 1 udp 2130706431 198.51.100.7 51420 typ host",
        "a=end-of-candidates",
        "a=ice-ufrag:TJvX",
        "a=ice-pwd:ExamplePwdExamplePwd12",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=fingerprint:sha-384 " + ":".join(["AB"] * 48),
        "a=fingerprint:sha-512 " + ":".join(["AB"] * 64),
        "a=setup:active",
        "",
    ]
)


def whatsapp_offer(variant: str = "today") -> str:
    return write_whatsapp_offer(
        host="203.0.113.10",
        port=3480,
        ufrag="ExampleUfrag0001",
        pwd="ExAmple+Pwd/0123456789==",
        fingerprint=":".join(["00"] * 32),
        ssrc=1234567890,
        variant=variant,
    )


def test_reads_todays_offer() -> None:
    offer = read_offer(whatsapp_offer())
    assert offer.opus_payload_type == 111
    assert offer.telephone_event_payload_type == 126
    assert offer.max_average_bitrate == 20_000
    assert "ice-pwd" not in repr(offer)


def test_reads_the_offer_of_metas_older_samples() -> None:
    offer = read_offer(whatsapp_offer("printed"))
    assert (offer.opus_payload_type, offer.telephone_event_payload_type) == (111, 126)
    assert offer.max_average_bitrate is None


def test_reads_an_offer_with_bare_line_feeds() -> None:
    assert read_offer(whatsapp_offer().replace("\r\n", "\n")).opus_payload_type == 111


def test_a_telephone_event_at_another_clock_is_not_kept() -> None:
    sdp = whatsapp_offer().replace("telephone-event/8000", "telephone-event/48000")
    assert read_offer(sdp).telephone_event_payload_type is None


def without(prefix: str) -> str:
    lines = whatsapp_offer().split("\r\n")
    return "\r\n".join(line for line in lines if not line.startswith(prefix))


@pytest.mark.parametrize(
    ("sdp", "word"),
    [
        (whatsapp_offer("sdes"), "SDES"),
        (without("a=fingerprint:"), "fingerprint"),
        (without("a=ice-ufrag:"), "ICE user name"),
        (without("a=ice-pwd:"), "ICE password"),
        (without("a=rtpmap:111"), "opus"),
        (without("m=audio"), "0 media lines"),
        (whatsapp_offer() + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "2 media lines"),
        (whatsapp_offer().replace("m=audio", "m=video"), "media line"),
        (whatsapp_offer() + "a=x:" + "x" * MAX_SDP_BYTES, "characters"),
        (whatsapp_offer() + "a=x\r\n" * 1000, "lines"),
        (whatsapp_offer() + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n" * 100, "candidates"),
        ("", "not a session description"),
        ("\0\1\2", "not a session description"),
        ("GET / HTTP/1.1\r\n\r\n", "not a session description"),
    ],
)
def test_refuses_what_cannot_carry_a_call(sdp: str, word: str) -> None:
    with pytest.raises(SdpError, match=word) as caught:
        read_offer(sdp)
    assert "ExAmple+Pwd" not in str(caught.value)


def test_writes_the_answer_by_metas_rules() -> None:
    answer = write_answer(AIORTC_ANSWER, read_offer(whatsapp_offer()))
    check_answer(answer, whatsapp_offer())
    lines = answer.split("\r\n")
    assert [line for line in lines if line.startswith("a=fingerprint:")] == [
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
    ]
    assert "m=audio 51420 UDP/TLS/RTP/SAVPF 111 126" in lines
    assert "a=rtpmap:126 telephone-event/8000" in lines
    assert "a=fmtp:111 minptime=20;useinbandfec=1" in lines
    assert "a=ptime:20" in lines
    assert "a=maxptime:20" in lines
    assert "a=setup:active" in lines
    assert answer.count("a=ssrc:") == 1
    assert "\n" not in answer.replace("\r\n", "")
    assert answer.endswith("\r\n")


def test_the_answer_has_no_telephone_event_when_the_offer_has_none() -> None:
    answer = write_answer(AIORTC_ANSWER, RemoteDescription(sdp="", opus_payload_type=111))
    assert "telephone-event" not in answer
    assert "m=audio 51420 UDP/TLS/RTP/SAVPF 111\r\n" in answer


AIORTC_OFFER = (
    AIORTC_ANSWER.replace("111", "96")
    .replace("a=setup:active", "a=setup:actpass")
    .replace("a=mid:", "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=mid:")
)


def test_writes_the_offer_by_metas_rules() -> None:
    offer = write_offer(AIORTC_OFFER)
    check_offer(offer)
    lines = offer.split("\r\n")
    assert [line for line in lines if line.startswith("a=fingerprint:")] == [
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
    ]
    assert "m=audio 51420 UDP/TLS/RTP/SAVPF 96 126" in lines
    assert "a=rtpmap:126 telephone-event/8000" in lines
    assert "a=fmtp:96 minptime=20;useinbandfec=1" in lines
    assert {"a=ptime:20", "a=maxptime:20", "a=setup:actpass", "a=sendrecv"} <= set(lines)
    assert "a=extmap" in AIORTC_OFFER
    assert "a=extmap" not in offer
    assert "\n" not in offer.replace("\r\n", "")
    assert offer.endswith("\r\n")
    assert read_payload_types(offer) == (96, 126)


def test_an_offer_without_opus_is_no_offer_to_whatsapp() -> None:
    with pytest.raises(SdpError, match="opus"):
        write_offer(AIORTC_OFFER.replace("opus/48000/2", "G722/8000"))


def whatsapp_answer(setup: str = "active") -> str:
    return write_whatsapp_answer(
        write_offer(AIORTC_OFFER),
        host="203.0.113.10",
        port=3480,
        ufrag="ExampleUfrag0001",
        pwd="ExAmple+Pwd/0123456789==",
        fingerprint=":".join(["00"] * 32),
        ssrc=1234567890,
        setup=setup,
    )


@pytest.mark.parametrize("setup", ["active", "passive"])
def test_reads_an_answer(setup: str) -> None:
    answer = read_answer(whatsapp_answer(setup))
    assert (answer.opus_payload_type, answer.telephone_event_payload_type) == (96, 126)
    assert (answer.max_average_bitrate, answer.max_playback_rate) == (20_000, 16_000)
    assert answer.use_in_band_fec
    assert answer.sdp.count(f"a=setup:{setup}\r\n") == 1
    assert "ice-pwd" not in repr(answer)


def test_whoever_leaves_it_open_who_begins_dtls_leaves_it_to_us() -> None:
    before = whatsapp_answer("actpass")
    assert read_answer(before).sdp == before.replace("a=setup:actpass", "a=setup:passive")


@pytest.mark.parametrize("setup", ["", "a=setup:", "a=setup:holdconn", "a=setup: active"])
def test_an_answer_must_say_who_begins_dtls(setup: str) -> None:
    with pytest.raises(SdpError, match="who begins DTLS"):
        read_answer(whatsapp_answer().replace("a=setup:active", setup))


def test_an_answer_must_not_say_both() -> None:
    with pytest.raises(SdpError, match="who begins DTLS"):
        read_answer(whatsapp_answer() + "a=setup:passive\r\n")


def test_an_answer_that_is_refused_is_called_an_answer() -> None:
    for sdp in ("", whatsapp_answer() * 2, whatsapp_answer().replace("a=ice-ufrag", "a=x")):
        with pytest.raises(SdpError, match=r"^The answer "):
            read_answer(sdp)


def test_of_two_payload_types_for_opus_the_first_counts() -> None:
    """So says aiortc, which sends."""
    sdp = whatsapp_offer().replace("SAVPF 111", "SAVPF 111 96")
    sdp = sdp.replace("a=rtpmap:126", "a=rtpmap:96 opus/48000/2\r\na=rtpmap:126")
    assert read_offer(sdp).opus_payload_type == 111


def test_a_payload_type_has_seven_bits() -> None:
    offer = whatsapp_offer().replace("111 126", "111 926").replace(":126 ", ":926 ")
    assert read_offer(offer).telephone_event_payload_type is None


def test_reads_what_the_far_end_can_play() -> None:
    assert read_offer(whatsapp_offer()).max_playback_rate == 16_000
    offer = whatsapp_offer().replace("maxplaybackrate=16000;", "")
    assert read_offer(offer).max_playback_rate is None


def test_reads_the_one_source_of_a_description() -> None:
    assert read_source(AIORTC_ANSWER) == (871000001, "aaaaaaaa-0000-4000-8000-000000000003")
    with pytest.raises(SdpError, match="no RTP source"):
        read_source("v=0\r\n")


@st.composite
def damaged_offers(draw: st.DrawFn) -> str:
    return draw(damaged(whatsapp_offer(draw(st.sampled_from(["today", "printed"])))))


@st.composite
def damaged(draw: st.DrawFn, sdp: str) -> str:
    """With lines lost, doubled, cut, shuffled, or with a letter changed."""
    lines = sdp.split("\r\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = draw(st.integers(0, len(line)))
        lines[at : at + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [line, line],
                    [line[:cut]],
                    [" ".join(reversed(line.split(" ")))],
                    [line[:cut] + draw(st.characters()) + line[cut + 1 :]],
                ]
            )
        )
    return draw(st.sampled_from(["\r\n", "\n"])).join(lines)


@settings(max_examples=300)
@given(damaged_offers() | st.text(max_size=300))
def test_a_damaged_offer_is_read_or_refused(sdp: str) -> None:
    try:
        offer = read_offer(sdp)
    except SdpError:
        return
    assert 0 <= offer.opus_payload_type <= 127
    assert 0 <= (offer.telephone_event_payload_type or 0) <= 127
    assert offer.telephone_event_payload_type != offer.opus_payload_type
    assert offer.sdp == sdp


@settings(max_examples=60)
@given(damaged_offers())
async def test_a_damaged_offer_is_answered_or_refused(sdp: str) -> None:
    try:
        connection, answer = await answer_offer(read_offer(sdp), lambda _: None)
    except SdpError:
        return
    try:
        assert answer.count("a=fingerprint:") == 1
        connection.create_receiver()
    finally:
        await connection.close()


@settings(max_examples=300)
@given(damaged(whatsapp_answer()) | st.text(max_size=300))
def test_a_damaged_answer_is_read_or_refused(sdp: str) -> None:
    try:
        answer = read_answer(sdp)
    except SdpError:
        return
    assert 0 <= answer.opus_payload_type <= 127
    assert answer.telephone_event_payload_type != answer.opus_payload_type


@settings(max_examples=60)
@given(damaged(whatsapp_answer().replace("a=mid:audio", "a=mid:0")))
async def test_a_damaged_answer_is_taken_or_refused(sdp: str) -> None:
    connection, _ = await make_offer(lambda _: None)
    try:
        await connection.take_answer(sdp)
        assert connection.remote is not None
    except SdpError:
        pass
    finally:
        await connection.close()
