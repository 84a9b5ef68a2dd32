"""What is said about a bot's SDP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulated_business
from links import Link, OwnLink
from pipecat_whatsapp.simulator.inspection.record import Verdict
from pipecat_whatsapp.simulator.inspection.sdp_review import review
from pipecat_whatsapp.simulator.sdp_forms import SDES
from simulated_business import FINGERPRINT, OFFER
from test_simulator_rules import REFUSED_ANSWERS, REFUSED_OFFERS

FORMAT = "a=fmtp:111 minptime=20;useinbandfec=1"
CANDIDATE = "a=candidate:1 1 udp 2130706431 9.9.9.9 51420 typ host\r\n"


def with_recommendations(sdp: str) -> str:
    """An SDP that Meta takes, with all that makes it a good one."""
    said = f"{FORMAT}\r\na=ptime:20\r\na=maxptime:20"
    return sdp.replace("a=ptime:20", said).replace("198.51.100.7", "9.9.9.9")


ANSWER = with_recommendations(simulated_business.ANSWER)
BUSINESS_OFFER = with_recommendations(simulated_business.BUSINESS_OFFER)


def told(verdict: Verdict, sdp: str, offer: str | None) -> list[str]:
    return [remark.text for remark in review(sdp, offer) if remark.verdict is verdict]


@pytest.mark.parametrize(("sdp", "offer"), [(ANSWER, OFFER), (BUSINESS_OFFER, None)])
def test_of_a_good_sdp_there_is_only_good_to_say(sdp: str, offer: str | None) -> None:
    remarks = review(sdp, offer)
    assert {remark.verdict for remark in remarks} == {Verdict.GOOD}
    texts = [remark.text for remark in remarks]
    assert "The fingerprint is sha-256." in texts
    assert "Opus is opus/48000/2." in texts
    assert len(set(texts)) == len(texts) > 25


@pytest.mark.parametrize(("old", "new", "details"), REFUSED_ANSWERS)
def test_what_meta_refuses_is_wrong(old: str, new: str, details: str) -> None:
    wrong = told(Verdict.WRONG, simulated_business.ANSWER.replace(old, new), OFFER)
    assert details in wrong[0]
    assert wrong[0].endswith(" (Meta's error 100).")


@pytest.mark.parametrize(("old", "new", "details"), REFUSED_OFFERS)
def test_what_meta_refuses_of_an_offer_is_wrong(old: str, new: str, details: str) -> None:
    wrong = told(Verdict.WRONG, simulated_business.BUSINESS_OFFER.replace(old, new), None)
    assert details in wrong[0]


def test_all_that_is_wrong_is_told_first_and_with_metas_code() -> None:
    fingerprint = f"a=fingerprint:sha-256 {FINGERPRINT}\r\n"
    answer = ANSWER.replace(fingerprint, fingerprint * 2).replace("a=rtcp-mux\r\n", "")
    remarks = review(answer.replace("useinbandfec=1", "useinbandfec=0"), OFFER)
    assert [remark.text for remark in remarks[:2]] == [
        "SDP must have exactly one fingerprint (Meta's error 138008).",
        "SDP needs rtcp-mux (Meta's error 100).",
    ]
    assert [remark.verdict for remark in remarks[:4]] == [
        Verdict.WRONG,
        Verdict.WRONG,
        Verdict.NOTE,
        Verdict.GOOD,
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" 111 126", " 111", "leaves out the offer's telephone-event"),
        (";useinbandfec=1", "", "does not ask for in-band FEC"),
        (FORMAT, "a=fmtp:96 useinbandfec=1", "does not ask for in-band FEC"),
        ("minptime=20;", "maxaveragebitrate=64000;", "maxaveragebitrate=64000, where"),
        ("minptime=20;", "minptime=20; maxplaybackrate=48000 ;", "maxplaybackrate=48000, where"),
        ("minptime=20;", "usedtx=1;", "switch DTX off"),
        ("a=ptime:20\r\n", "", "no a=ptime: WhatsApp takes packets of 20 ms"),
        ("a=maxptime:20\r\n", "", "no a=maxptime: WhatsApp takes packets of 20 ms"),
        ("a=maxptime:20", "a=maxptime:60", "a=maxptime:60"),
        ("a=setup:active", "a=setup:passive", "answer a=setup:active"),
        ("a=mid:", "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=mid:", "extensions"),
        ("a=mid:", "a=ice-options:trickle\r\na=mid:", "trickle"),
        ("a=mid:", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\na=mid:", "keys for SDES"),
        (CANDIDATE, "", "no candidates, which is fine"),
        (CANDIDATE, CANDIDATE + "a=candidate:2 1 tcp 9 9.9.9.9 9 typ host\r\n", "not UDP"),
        (CANDIDATE, CANDIDATE + "a=candidate:2 1 udp 9 9.9.9.8 9 typ srflx\r\n", "STUN"),
        (CANDIDATE, CANDIDATE + "a=candidate:2 1 udp 9 9.9.9.8 9 typ relay\r\n", "TURN"),
        ("9.9.9.9", "192.168.1.2", "All its addresses are private"),
        ("9.9.9.9", "127.0.0.1", "of this machine to itself"),
        ("9.9.9.9", "2620:fe::fe", "All its addresses are IPv6"),
    ],
)
def test_what_is_worth_a_note_about_an_answer(old: str, new: str, words: str) -> None:
    assert old in ANSWER
    answer = ANSWER.replace(old, new)
    (note,) = told(Verdict.NOTE, answer, OFFER)
    assert words in note
    assert told(Verdict.WRONG, answer, OFFER) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("111 126", "111", "payload type 126 with clock 8000"),
        ("111 126", "111 126 9 13", "no use for g722, cn, which does no harm"),
        ("111 126", "111 126 0 8", "audio.additional_codecs"),
        ("9.9.9.9", "10.0.0.1", "private"),
        (";useinbandfec=1", "", "FEC"),
    ],
)
def test_what_is_worth_a_note_about_an_offer(old: str, new: str, words: str) -> None:
    assert old in BUSINESS_OFFER
    offer = BUSINESS_OFFER.replace(old, new)
    (note,) = told(Verdict.NOTE, offer, None)
    assert words in note
    assert told(Verdict.WRONG, offer, None) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("9.9.9.9 51420 typ host", "host.local 51420 typ host"),
        (CANDIDATE, CANDIDATE + CANDIDATE.replace("9.9.9.9", "127.0.0.1")),
        (CANDIDATE, CANDIDATE + CANDIDATE.replace("9.9.9.9", "2620:fe::fe")),
        ("minptime=20;", "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;"),
    ],
)
def test_what_is_worth_no_note(old: str, new: str) -> None:
    assert old in ANSWER
    assert told(Verdict.NOTE, ANSWER.replace(old, new), OFFER) == []


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (("111", "96"), "gives opus payload type 96, where the offer has 111"),
        (("126", "101"), "gives telephone-event payload type 101, where the offer has 126"),
    ],
)
def test_an_answer_keeps_the_offers_payload_types(numbers: tuple[str, str], words: str) -> None:
    answer = ANSWER
    for before in ("SAVPF {} 126", "SAVPF 111 {}", "rtpmap:{} ", "fmtp:{} "):
        answer = answer.replace(before.format(numbers[0]), before.format(numbers[1]))
    (note,) = told(Verdict.NOTE, answer, OFFER)
    assert words in note


def test_keys_that_were_not_offered_are_not_missed() -> None:
    offer, answer = (sdp.replace(" 111 126", " 111") for sdp in (OFFER, ANSWER))
    assert told(Verdict.NOTE, answer, offer) == []


def test_an_offer_for_sdes_is_named() -> None:
    offer = SDES.replace("\n", "\r\n")
    assert any("srtp_key_exchange_protocol" in note for note in told(Verdict.NOTE, ANSWER, offer))


def test_of_what_is_no_sdp_there_is_nothing_to_note() -> None:
    assert told(Verdict.NOTE, "hello", OFFER) == []
    assert "SDP must start with v=0 (Meta's error 100)." in told(Verdict.WRONG, "hello", OFFER)


@pytest.mark.parametrize("kind", [Link, OwnLink])
async def test_our_own_sdp_has_nothing_to_say_about_but_where_it_is(kind: type[Link]) -> None:
    async with kind() as link:
        await link.answer()
        ours, offer = (link.offer, None) if kind is OwnLink else (link.sdp, link.offer)
    assert told(Verdict.WRONG, ours, offer) == []
    assert all(note.startswith("All its addresses") for note in told(Verdict.NOTE, ours, offer))


@given(sdp=st.text(), offer=st.none() | st.text())
def test_any_text_can_be_reviewed(sdp: str, offer: str | None) -> None:
    assert told(Verdict.WRONG, sdp, offer)


attributes = st.sampled_from(
    ["candidate", "crypto", "extmap", "fmtp", "ice-options", "maxptime", "ptime", "rtpmap", "setup"]
)
lines = (
    st.sampled_from(ANSWER.split("\r\n"))
    | st.builds("a={}:{}".format, attributes, st.text() | st.just("111 x=;=;y"))
    | st.builds("a=candidate:1 1 udp 1 {} 9 typ host".format, st.text(max_size=9))
    | st.builds("m={}".format, st.text())
)


@given(
    sdp=st.lists(lines, max_size=50).map("\r\n".join), offer=st.sampled_from([None, OFFER, ANSWER])
)
def test_any_lines_can_be_reviewed(sdp: str, offer: str | None) -> None:
    for remark in review(sdp, offer):
        assert remark.text.endswith(".")
