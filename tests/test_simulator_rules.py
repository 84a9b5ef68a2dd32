from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.simulator.rules import RefusalError, check_answer, check_offer, judge
from simulated_business import ANSWER, BUSINESS_OFFER, FINGERPRINT, OFFER

CANDIDATE = "a=candidate:1 1 udp 2130706431 198.51.100.7 51420 typ host\r\n"

REFUSED_ANSWERS = [
    ("\r\n", "\n", "CRLF"),
    ("\r\ns=-", "\ns=-", "CRLF"),
    ("v=0\r\n", '{"sdp":"v=0"}\r\n', "v=0"),
    ("m=audio", "x=audio", "one m-line"),
    ("a=sendrecv", "a=sendrecv\r\nm=video 9 UDP/TLS/RTP/SAVPF 96", "one m-line"),
    ("a=sendrecv", "a=sendrecv\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111", "one m-line"),
    ("m=audio", "m=video", "audio"),
    ("m=audio 51420", "m=audio 0", "switched off"),
    ("UDP/TLS/RTP/SAVPF", "RTP/AVP", "UDP/TLS/RTP/SAVPF"),
    ("SAVPF 111 126", "SAVPF", "no codecs"),
    (f"a=fingerprint:sha-256 {FINGERPRINT}\r\n", "", "fingerprint"),
    ("a=setup:active", "a=setup:active\r\na=ice-lite", "ice-lite"),
    ("a=ice-ufrag:TJvX\r\n", "", "ice-ufrag"),
    ("TJvX", "TJ vX", "ice-ufrag"),
    ("TJvX", "T" * 257, "ice-ufrag"),
    ("ExamplePwdExamplePwd12", "short", "ice-pwd"),
    ("ExamplePwdExamplePwd12", "ExamplePwdExamplePwd 12", "ice-pwd"),
    ("a=setup:active", "a=setup:actpass", "setup"),
    ("a=setup:active\r\n", "", "setup"),
    ("a=rtcp-mux\r\n", "", "rtcp-mux"),
    ("a=mid:audio", "a=mid:0", "mid"),
    ("a=mid:audio\r\n", "", "mid"),
    ("BUNDLE audio", "BUNDLE 0", "BUNDLE"),
    ("a=group:BUNDLE audio\r\n", "", "BUNDLE"),
    ("SAVPF 111 126", "SAVPF 126", "Opus"),
    ("a=rtpmap:111 opus/48000/2\r\n", "", "rtpmap"),
    ("opus/48000/2", "opus/16000/2", "opus/48000/2"),
    ("opus/48000/2", "opus/48000", "opus/48000/2"),
    ("telephone-event/8000", "telephone-event/48000", "8000"),
    ("111 126", "111 126 0", "pcmu"),
    ("a=ptime:20", "a=ptime:60", "ptime"),
    ("a=sendrecv", "a=recvonly", "sendrecv"),
    ("a=ssrc:871000001 cname:one", "a=ssrc:1 cname:one\r\na=ssrc:2 cname:two", "SSRC"),
    ("a=msid:stream track", "a=msid:s one\r\na=msid:s two", "track"),
]
"""What is changed in a good answer, before and after, and a word out of Meta's about it."""

REFUSED_OFFERS = [
    ("a=setup:actpass", "a=setup:passive", "setup"),
    ("a=mid:audio\r\n", "", "mid"),
    ("BUNDLE audio", "BUNDLE 0", "BUNDLE"),
    (CANDIDATE, "", "candidates"),
    (" udp ", " tcp ", "UDP"),
    (CANDIDATE, "a=candidate:1 1 udp\r\n", "UDP"),
    ("a=setup:actpass", "a=setup:actpass\r\na=ice-lite", "ice-lite"),
    ("a=rtcp-mux\r\n", "", "rtcp-mux"),
    ("a=sendrecv", "a=sendrecv\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111", "one m-line"),
    ("\r\n", "\n", "CRLF"),
    ("telephone-event/8000", "telephone-event/48000", "8000"),
    ("opus/48000/2", "opus/24000/2", "opus/48000/2"),
    ("a=ptime:20", "a=ptime:40", "ptime"),
    ("a=ssrc:871000001 cname:one", "a=ssrc:1 cname:one\r\na=ssrc:2 cname:two", "SSRC"),
]


def refusal(answer: str) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        check_answer(answer, OFFER)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("a=setup:active", "a=setup:passive"),
        ("a=ptime:20\r\n", ""),
        (" 111 126", " 111"),
        ("a=candidate:1 1 udp 2130706431 198.51.100.7 51420 typ host\r\n", ""),
        ("a=ssrc:871000001 cname:one", "a=ssrc:871000001 cname:one\r\na=ssrc:871000001 msid:a b"),
    ],
)
def test_what_meta_takes(old: str, new: str) -> None:
    check_answer(ANSWER.replace(old, new) if old else ANSWER, OFFER)


@pytest.mark.parametrize(("old", "new", "details"), REFUSED_ANSWERS)
def test_what_meta_refuses(old: str, new: str, details: str) -> None:
    assert old in ANSWER
    refused = refusal(ANSWER.replace(old, new))
    assert refused.code == 100
    assert details in refused.details


@pytest.mark.parametrize(
    "fingerprints",
    [
        [f"sha-256 {FINGERPRINT}", f"sha-384 {FINGERPRINT}"],
        [f"sha-256 {FINGERPRINT}", f"sha-256 {FINGERPRINT}"],
        [f"sha-384 {FINGERPRINT}"],
        [f"SHA-256 {FINGERPRINT}"],
        ["sha-256 AB:CD"],
    ],
)
def test_one_sha_256_fingerprint(fingerprints: list[str]) -> None:
    lines = "\r\n".join(f"a=fingerprint:{value}" for value in fingerprints)
    refused = refusal(ANSWER.replace(f"a=fingerprint:sha-256 {FINGERPRINT}", lines))
    assert refused.code == 138008


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=setup:actpass", "a=setup:active"),
        ("a=group:BUNDLE audio\r\n", ""),
        ("111 126", "111 126 0 8 9 13"),
        ("111 126\r\n", "111 63\r\na=rtpmap:63 red/48000/2\r\n"),
        ("m=audio 51420", "m=audio 9"),
        (CANDIDATE, CANDIDATE * 2),
    ],
)
def test_what_meta_takes_of_an_offer(old: str, new: str) -> None:
    assert old in BUSINESS_OFFER
    check_offer(BUSINESS_OFFER.replace(old, new))


@pytest.mark.parametrize(("old", "new", "details"), REFUSED_OFFERS)
def test_what_meta_refuses_of_an_offer(old: str, new: str, details: str) -> None:
    assert old in BUSINESS_OFFER
    with pytest.raises(RefusalError) as caught:
        check_offer(BUSINESS_OFFER.replace(old, new))
    assert caught.value.code == 100
    assert details in caught.value.details


def test_one_sha_256_fingerprint_in_an_offer() -> None:
    line = f"a=fingerprint:sha-256 {FINGERPRINT}\r\n"
    with pytest.raises(RefusalError) as caught:
        check_offer(BUSINESS_OFFER.replace(line, line * 2))
    assert caught.value.code == 138008


def broken(sdp: str, offer: str | None) -> list[str]:
    return [refusal.details for _, refusal in judge(sdp, offer) if refusal]


def test_every_broken_rule_is_found() -> None:
    answer = ANSWER.replace("a=rtcp-mux\r\n", "").replace("a=ptime:20", "a=ptime:60")
    answer = answer.replace("opus/48000/2", "opus/48000")
    assert broken(answer, OFFER) == [
        "SDP needs rtcp-mux",
        "Opus must be opus/48000/2",
        "ptime must be 20",
    ]


def test_what_another_broken_rule_makes_meaningless_is_passed_over() -> None:
    judged = [rule.kept for rule, _ in judge(ANSWER.replace("m=audio", "x=audio"), OFFER)]
    assert "There is exactly one m-line." in judged
    assert not [sentence for sentence in judged if sentence.startswith("The m-line")]
    assert "Opus is among the codecs." not in judged
    assert "Opus is opus/48000/2." not in judged
    assert "The fingerprint is sha-256." in judged


def test_a_good_sdp_is_judged_by_every_rule() -> None:
    assert all(refusal is None for _, refusal in judge(ANSWER, OFFER))
    answer, offer = list(judge(ANSWER, OFFER)), list(judge(BUSINESS_OFFER, None))
    assert len({rule.kept for rule, _ in answer}) == len(answer) == 26
    assert len({rule.kept for rule, _ in offer}) == len(offer) == 27


@given(sdp=st.text(), offer=st.none() | st.text())
def test_any_text_can_be_judged(sdp: str, offer: str | None) -> None:
    assert broken(sdp, offer)


lines = st.sampled_from([*ANSWER.split("\r\n"), *OFFER.split("\r\n"), "m=audio", "m=", "a=rtpmap:"])


def first_refusal(sdp: str, offer: str | None) -> list[str]:
    try:
        check_offer(sdp) if offer is None else check_answer(sdp, offer)
    except RefusalError as error:
        return [error.details]
    return []


@given(changed=st.lists(lines, max_size=40), offer=st.sampled_from([None, OFFER, ""]))
def test_meta_refuses_with_the_first_rule_that_is_broken(
    changed: list[str], offer: str | None
) -> None:
    sdp = "\r\n".join(["v=0", *changed, ""])
    assert broken(sdp, offer)[:1] == first_refusal(sdp, offer)
