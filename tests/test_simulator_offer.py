from __future__ import annotations

import re

import pytest
from aiortc.sdp import SessionDescription

from pipecat_whatsapp.simulator.offer import (
    Answer,
    AnswerError,
    ice_credentials,
    read_answer,
    read_offer,
    write_answer,
    write_offer,
)

PRINT = ":".join(["AB"] * 32)
ANSWER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\na=mid:audio\r\n"
    "a=rtcp-mux\r\na=ssrc:871000001 cname:x\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=rtpmap:126 telephone-event/8000\r\na=ice-ufrag:TJvX\r\na=ice-pwd:Exam+ple/Pwd=\r\n"
    f"a=fingerprint:sha-256 {PRINT.lower()}\r\na=setup:active\r\n"
)


def offer(variant: str = "today", host: str = "203.0.113.10") -> str:
    return write_offer(
        host=host,
        port=3480,
        ufrag="ExampleUfrag0001",
        pwd="ExAmple+Pwd/0123456789==",
        fingerprint=PRINT,
        ssrc=1234567890,
        variant=variant,
    )


def test_credentials_look_like_whatsapps() -> None:
    ufrag, pwd = ice_credentials()
    assert re.fullmatch(r"[0-9a-f]{16}", ufrag)
    assert re.fullmatch(r"\w+\+\w+/==", pwd)
    assert ice_credentials() != (ufrag, pwd)


def test_todays_offer_is_metas_line_by_line() -> None:
    sdp = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", offer())
    sdp = re.sub(r"o=- \d{13} ", "o=- NOW ", sdp)
    assert sdp.split("\r\n") == [
        "v=0",
        "o=- NOW 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE audio",
        "a=msid-semantic: WMS UUID",
        "a=ice-lite",
        "m=audio 3480 UDP/TLS/RTP/SAVPF 111 126",
        "c=IN IP4 203.0.113.10",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=candidate:1000000001 1 udp 2122260223 203.0.113.10 3480 typ host generation 0"
        " network-cost 50",
        "a=ice-ufrag:ExampleUfrag0001",
        "a=ice-pwd:ExAmple+Pwd/0123456789==",
        f"a=fingerprint:sha-256 {PRINT}",
        "a=setup:actpass",
        "a=mid:audio",
        "a=sendrecv",
        "a=msid:UUID WhatsAppTrack1",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtcp-fb:111 transport-cc",
        "a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;"
        "sprop-maxcapturerate=16000;useinbandfec=1",
        "a=rtpmap:126 telephone-event/8000",
        "a=maxptime:20",
        "a=ptime:20",
        "a=ssrc:1234567890 cname:WhatsAppAudioStream1",
        "",
    ]


@pytest.mark.parametrize("variant", ["today", "printed", "sdes"])
def test_every_offer_ends_its_lines_with_crlf(variant: str) -> None:
    sdp = offer(variant)
    assert sdp.endswith("\r\n")
    assert sdp.count("\r\n") == sdp.count("\n") == sdp.count("\r")


@pytest.mark.parametrize("variant", ["today", "printed"])
def test_aiortc_reads_the_offer(variant: str) -> None:
    (media,) = SessionDescription.parse(offer(variant)).media
    assert media.ice is not None
    assert media.ice.iceLite
    assert media.ice.password == "ExAmple+Pwd/0123456789=="
    assert (media.port, media.ice_candidates[0].port) == (3480, 3480)
    assert [codec.payloadType for codec in media.rtp.codecs] == [111, 126]
    assert len(media.rtp.headerExtensions) == (3 if variant == "printed" else 0)


def test_an_sdes_offer_has_neither_fingerprint_nor_ice() -> None:
    sdp = offer("sdes")
    assert "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" in sdp
    assert "m=audio 3480 RTP/SAVP 111 126\r\n" in sdp
    assert not re.search("fingerprint|ice-|candidate|setup", sdp)


def test_an_ipv6_relay_is_offered_as_one() -> None:
    assert "c=IN IP6 2001:db8::1\r\n" in offer(host="2001:db8::1")


def test_there_is_no_other_variant() -> None:
    with pytest.raises(ValueError, match="tomorrow"):
        offer("tomorrow")


def test_an_answer_is_read() -> None:
    assert read_answer(ANSWER) == Answer(
        ufrag="TJvX",
        pwd="Exam+ple/Pwd=",
        fingerprint=PRINT,
        setup="active",
        opus_pt=111,
        dtmf_pt=126,
        ssrc=871000001,
    )


def test_bare_line_feeds_are_read_too() -> None:
    assert read_answer(ANSWER.replace("\r\n", "\n")) == read_answer(ANSWER)


def test_telephone_events_and_ssrc_may_be_missing() -> None:
    sdp = re.sub(r"a=(ssrc|rtpmap:126).*\r\n", "", ANSWER)
    answer = read_answer(sdp)
    assert answer.dtmf_pt is None
    assert answer.ssrc is None


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("a=ice-ufrag.*", "ice-ufrag"),
        ("a=ice-pwd.*", "ice-pwd"),
        ("a=fingerprint.*", "fingerprint"),
        ("a=setup.*", "setup"),
        ("a=rtpmap:111.*", "rtpmap"),
    ],
)
def test_an_answer_without_an_essential_is_refused(line: str, missing: str) -> None:
    with pytest.raises(AnswerError, match=missing):
        read_answer(re.sub(line + "\r\n", "", ANSWER))


def test_actpass_is_no_answer() -> None:
    with pytest.raises(AnswerError, match="actpass"):
        read_answer(ANSWER.replace("setup:active", "setup:actpass"))


def test_a_payload_type_beyond_seven_bits_is_refused() -> None:
    with pytest.raises(AnswerError, match="rtpmap"):
        read_answer(ANSWER.replace("a=rtpmap:111", "a=rtpmap:128"))


def test_an_endless_answer_is_refused() -> None:
    with pytest.raises(AnswerError, match="too long"):
        read_answer(ANSWER + "a=x\r\n" * 30_000)


OFFER = (
    ANSWER.replace("a=setup:active", "a=setup:actpass")
    .replace("a=mid:audio", "a=mid:0")
    .replace("BUNDLE audio", "BUNDLE 0")
    .replace("SAVPF 111 126", "SAVPF 96 63 9 0 126")
    .replace("rtpmap:111", "rtpmap:96")
    .replace("a=rtcp-mux", "a=rtpmap:63 red/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtcp-mux")
)


def whatsapps_answer(offer_sdp: str = OFFER, setup: str = "active") -> str:
    return write_answer(
        offer_sdp,
        host="203.0.113.10",
        port=3480,
        ufrag="ExampleUfrag0001",
        pwd="ExAmple+Pwd/0123456789==",
        fingerprint=PRINT,
        ssrc=1234567890,
        setup=setup,
    )


def test_an_offer_is_read() -> None:
    offered = read_offer(OFFER)
    assert (offered.setup, offered.opus_pt, offered.dtmf_pt) == ("actpass", 96, 126)


def test_an_answer_takes_over_what_the_offer_laid_down() -> None:
    answer = whatsapps_answer()
    assert "m=audio 3480 UDP/TLS/RTP/SAVPF 96 9 126\r\n" in answer
    assert "a=mid:0\r\n" in answer
    assert "a=group:BUNDLE 0\r\n" in answer
    for kind in ("96 opus/48000/2", "9 G722/8000", "126 telephone-event/8000"):
        assert f"a=rtpmap:{kind}\r\n" in answer
    assert "a=fmtp:96 " in answer
    assert "red" not in answer
    assert answer.count("\r\n") == answer.count("\n")


def test_an_answer_is_that_of_an_ice_lite_relay() -> None:
    (media,) = SessionDescription.parse(whatsapps_answer()).media
    assert media.ice is not None
    assert media.ice.iceLite
    assert media.ice.usernameFragment == "ExampleUfrag0001"
    assert (media.port, media.ice_candidates[0].port) == (3480, 3480)


@pytest.mark.parametrize("setup", ["active", "passive", "actpass"])
def test_an_answers_part_in_dtls_can_be_chosen(setup: str) -> None:
    assert f"a=setup:{setup}\r\n" in whatsapps_answer(setup=setup)


@pytest.mark.parametrize("line", ["a=mid:0", "a=rtpmap:96 opus/48000/2"])
def test_an_offer_without_what_an_answer_needs(line: str) -> None:
    with pytest.raises(AnswerError):
        whatsapps_answer(OFFER.replace(line + "\r\n", ""))
