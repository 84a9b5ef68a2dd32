from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.media.dtmf import KEYS, KeyReceiver, event_payload, tone_payloads
from pipecat_whatsapp.media.rtp import RtpPacket

SEGMENT = 0xFFFF * 6  # In 48000 Hz timestamps.


def press(key: str, timestamp: int = 0, sequence: int = 0, ticks: int = 5) -> list[RtpPacket]:
    payloads = [payload for tick in tone_payloads(key, ticks) for payload in tick]
    return [
        RtpPacket(126, (sequence + at) & 0xFFFF, timestamp, 1, payload, marker=at == 0)
        for at, payload in enumerate(payloads)
    ]


def keys(packets: Sequence[RtpPacket], receiver: KeyReceiver | None = None) -> str:
    receiver = receiver or KeyReceiver()
    return "".join(receiver.receive(packet) or "" for packet in packets)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_read_once(key: str) -> None:
    assert keys(press(key)) == key


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_any_packets_of_a_press_in_any_order_are_one_key(picks: list[int]) -> None:
    packets = press("#", timestamp=0xFFFFFFFE)
    assert keys([packets[pick] for pick in picks]) == "#"


def test_a_key_is_told_by_the_first_packet_of_it() -> None:
    receiver = KeyReceiver()
    first, *rest = press("7")
    assert receiver.receive(first) == "7"
    assert [receiver.receive(packet) for packet in rest] == [None] * len(rest)


def test_the_same_key_twice_is_two_presses() -> None:
    assert keys(press("1") + press("1", timestamp=9600)) == "11"


def test_late_packets_of_an_earlier_press_are_no_press() -> None:
    receiver = KeyReceiver()
    first = press("1")
    later = [press(str(n), timestamp=9600 * n) for n in range(2, 10)]
    assert keys(first[:2], receiver) == "1"
    assert keys([p for packets in later for p in packets], receiver) == "23456789"
    assert keys(first, receiver) == ""


def long_press(key: str, start: int, seconds: int) -> list[RtpPacket]:
    """A press longer than one event can tell, as RFC 4733 section 2.5.1.3 wants it sent."""
    packets: list[RtpPacket] = []
    for units in range(160, 8000 * seconds, 160):
        segment, duration = divmod(units, 0xFFFF)
        timestamp = (start + SEGMENT * segment) & 0xFFFFFFFF
        payload = event_payload(key, duration)
        packets.append(RtpPacket(126, len(packets), timestamp, 1, payload, marker=units == 160))
    return packets


def test_a_press_longer_than_a_segment_is_one_press() -> None:
    packets = long_press("*", start=0xFFFF0000, seconds=30)
    assert len({packet.timestamp for packet in packets}) == 4
    assert keys(packets) == "*"


def test_a_new_segment_is_known_only_by_its_key_its_time_and_the_missing_marker() -> None:
    begun = press("5")[:3]
    follower = RtpPacket(126, 9, SEGMENT, 1, event_payload("5", 160))
    assert keys([*begun, follower]) == "5"
    assert keys([*begun, replace(follower, marker=True)]) == "55"
    assert keys([*begun, replace(follower, timestamp=SEGMENT + 960)]) == "55"
    assert keys([*begun, replace(follower, payload=event_payload("6", 160))]) == "56"


def test_the_first_of_several_events_in_a_packet_counts() -> None:
    both = event_payload("1", 400, end=True) + event_payload("2", 400)
    assert keys([RtpPacket(126, 0, 0, 1, both)]) == "1"


@pytest.mark.parametrize(
    "payload", [b"", b"\x05", b"\x05\x0a\x00", b"\x10\x0a\x00\xa0", b"\xff\x0a\x00\xa0"]
)
def test_what_is_no_key_is_nothing(payload: bytes) -> None:
    receiver = KeyReceiver()
    assert receiver.receive(RtpPacket(126, 0, 0, 1, payload)) is None
    # It leaves no trace either.
    assert receiver.receive(press("5")[0]) == "5"


@given(st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.booleans(), st.binary(max_size=12))))
def test_arbitrary_packets_give_keys_or_nothing(
    packets: list[tuple[int, bool, bytes]],
) -> None:
    receiver = KeyReceiver()
    for timestamp, marker, payload in packets:
        key = receiver.receive(RtpPacket(126, 0, timestamp, 1, payload, marker))
        assert key is None or key == KEYS[payload[0]]


def bad_line(packets: list[RtpPacket], draw: random.Random) -> list[RtpPacket]:
    """Lose one in ten, double one in ten, and let packets overtake each other by up to 60 ms."""
    arrivals = [
        (at + draw.uniform(0, 3), packet)
        for at, packet in enumerate(packets)
        if draw.random() >= 0.1
        for _ in range(2 if draw.random() < 0.1 else 1)
    ]
    return [packet for _, packet in sorted(arrivals, key=lambda arrival: arrival[0])]


@pytest.mark.parametrize("seed", range(5))
def test_of_1000_presses_on_a_bad_line_each_is_seen_once(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    timestamp, sent, pressed = draw.randrange(1 << 32), list[RtpPacket](), {}
    for _ in range(1000):
        key, ticks = draw.choice(KEYS), draw.randint(2, 8)
        sent += press(key, timestamp, len(sent) & 0xFFFF, ticks)
        pressed[timestamp] = key
        timestamp = (timestamp + 960 * (ticks + draw.randint(2, 20))) & 0xFFFFFFFF
    arrived = bad_line(sent, draw)
    expected = [pressed[time] for time in dict.fromkeys(packet.timestamp for packet in arrived)]
    assert len(expected) > 990
    assert keys(arrived) == "".join(expected)


@given(
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=8),
    st.data(),
)
def test_a_press_is_seen_exactly_when_any_of_its_packets_is(
    pressed: list[str], data: st.DataObject
) -> None:
    sent = [press(key, 9600 * at) for at, key in enumerate(pressed)]
    flat = [packet for packets in sent for packet in packets]
    arrived = data.draw(st.lists(st.sampled_from(flat), max_size=3 * len(flat)))
    times = dict.fromkeys(packet.timestamp for packet in arrived)
    assert keys(arrived) == "".join(pressed[time // 9600] for time in times)


def test_a_key_press_is_four_updates_and_three_ends() -> None:
    ticks = tone_payloads("#", 5)
    assert [len(tick) for tick in ticks] == [1, 1, 1, 1, 3]
    payloads = [payload for tick in ticks for payload in tick]
    assert {payload[0] for payload in payloads} == {11}
    durations = [int.from_bytes(payload[2:], "big") for payload in payloads]
    assert durations == [160, 320, 480, 640, 800, 800, 800]
    assert [payload[1] >> 7 for payload in payloads] == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("ticks", [-1, 0, 410])
def test_a_tone_has_a_length_that_one_event_can_hold(ticks: int) -> None:
    assert len(tone_payloads("1", 409)) == 409
    with pytest.raises(ValueError, match="1 to 409"):
        tone_payloads("1", ticks)


@pytest.mark.parametrize("key", ["", "x", "12", "é"])
def test_there_are_no_other_keys(key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        event_payload(key, 160)


def test_letters_are_keys_in_either_case() -> None:
    assert event_payload("a", 160) == event_payload("A", 160) == bytes([12, 10, 0, 160])
