from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from functools import cache
from itertools import chain, cycle
from pathlib import Path

import numpy as np
import pytest

from aiortc_business import tone
from pipecat_whatsapp.media.level import is_quiet
from pipecat_whatsapp.media.rtp import RtpPacket
from pipecat_whatsapp.simulator.demo import FOLDER
from pipecat_whatsapp.simulator.listening import Listener
from pipecat_whatsapp.simulator.matching import find
from pipecat_whatsapp.simulator.network import Network, NetworkConditions, Way
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.sound import FRAME_BYTES, RATE, OpusEncoder, read_wav, resample

EXAMPLES = Path(__file__).parent.parent / "examples" / "sounds"
FILES = sorted([*EXAMPLES.glob("*.wav"), *FOLDER.glob("*.wav")])
SOUNDS = {file.stem: read_wav(file) for file in FILES}
PAUSE = bytes(2 * RATE // 2)
LOSS = 0.1


@cache
def encoded(pcm: bytes) -> list[bytes]:
    """A sound as Opus packets. Once for each: most of the time goes into that."""
    encoder = OpusEncoder()
    return [encoder.encode(pcm[at : at + FRAME_BYTES]) for at in range(0, len(pcm), FRAME_BYTES)]


def packets(*parts: bytes) -> list[RtpPacket]:
    payloads = enumerate(chain.from_iterable(map(encoded, parts)))
    return [RtpPacket(111, i, 960 * i, 1, payload) for i, payload in payloads]


def feed(heard: Recording, packets: Iterable[RtpPacket]) -> None:
    for packet in packets:
        heard.add(packet, 0.02 * packet.sequence)


def recording(*parts: bytes, loss: float = 0.0) -> Recording:
    """What a phone hears of sounds: through Opus, with packets missing."""
    network, heard = Network(NetworkConditions(loss=loss), seed=1), Recording()
    feed(heard, (packet for packet in packets(*parts) if network.plan(Way.TO_PHONE)))
    return heard


@cache
def heard(*parts: bytes, loss: float = 0.0) -> bytes:
    """Sounds with pauses around each, as a phone hears them."""
    with_pauses = chain.from_iterable((PAUSE, part) for part in parts)
    return recording(*with_pauses, PAUSE, loss=loss).pcm


def louder(pcm: bytes, decibels: float) -> bytes:
    samples = np.frombuffer(pcm, np.int16) * 10 ** (decibels / 20)
    return samples.clip(-32768, 32767).astype(np.int16).tobytes()


def noisy(pcm: bytes) -> bytes:
    noise = np.random.default_rng(1).normal(0, 30, len(pcm) // 2)
    samples = np.frombuffer(pcm, np.int16) + noise
    return samples.clip(-32768, 32767).astype(np.int16).tobytes()


def seconds(pcm: bytes) -> float:
    """How long a sound lasts, in whole packets."""
    return len(encoded(pcm)) / 50


@pytest.mark.parametrize("name", SOUNDS)
def test_each_sound_is_found_among_the_others_where_it_is(name: str) -> None:
    match = find(heard(*SOUNDS.values()), SOUNDS[name])
    assert match is not None
    before = list(SOUNDS)[: list(SOUNDS).index(name)]
    begin = sum(seconds(PAUSE + SOUNDS[other]) for other in before) + seconds(PAUSE)
    # The silence within the files is not looked for.
    assert begin - 0.05 < match.at < begin + seconds(SOUNDS[name]) / 2
    assert match.at < match.end < begin + seconds(SOUNDS[name]) + 0.05
    assert match.score > 0.9


@pytest.mark.parametrize("name", SOUNDS)
def test_no_sound_is_found_in_others_of_the_same_voice(name: str) -> None:
    lines = {other: heard(pcm) for other, pcm in SOUNDS.items()}
    assert [other for other, line in lines.items() if find(line, SOUNDS[name])] == [name]


@pytest.mark.parametrize("name", SOUNDS)
def test_neither_loss_nor_level_nor_noise_matters(name: str) -> None:
    lines = {
        other: heard(noisy(louder(pcm, decibels)), loss=LOSS)
        for (other, pcm), decibels in zip(SOUNDS.items(), cycle([-12, 6]), strict=False)
    }
    assert [other for other, line in lines.items() if find(line, SOUNDS[name])] == [name]


@pytest.mark.parametrize("name", SOUNDS)
def test_a_busy_machine_that_speaks_with_pauses_does_not_matter(name: str) -> None:
    pause, size = bytes(RATE // 2), 2 * int(1.3 * RATE)
    parts = [SOUNDS[name][at : at + size] for at in range(0, len(SOUNDS[name]), size)]
    match = find(heard(pause.join(parts), loss=0.03), SOUNDS[name])
    assert match is not None
    assert match.end - match.at > seconds(SOUNDS[name]) - 0.7 + seconds(pause) * (len(parts) - 1)


def heard_of_halting(pcm: bytes, seed: int, *, loss: float = 0.0) -> bytes:
    """What is heard of a machine that halts now and then, and makes up for it wherever it is quiet.

    Once a second, for 80 to 300 ms; media/pacer.py tells what the sender does about it.
    """
    random, pcm = np.random.default_rng(seed), PAUSE + pcm + PAUSE
    slots: list[int] = []
    said, slot, behind = b"", 0, 0
    for at in range(0, len(pcm), FRAME_BYTES):
        frame = pcm[at : at + FRAME_BYTES]
        if random.random() < 1 / 50:
            halt = int(random.integers(4, 16))
            slot, behind = slot + halt, behind + halt
        if behind and is_quiet(frame):
            behind -= 1
        else:
            slots.append(slot)
            said, slot = said + frame, slot + 1
    network, line = Network(NetworkConditions(loss=loss), seed=1), Recording()
    for sequence, (slot, payload) in enumerate(zip(slots, encoded(said), strict=True)):
        if network.plan(Way.TO_PHONE):
            line.add(RtpPacket(111, sequence, 960 * slot, 1, payload), 0.02 * slot)
    return line.pcm


@pytest.mark.parametrize("name", SOUNDS)
def test_a_machine_that_halts_in_words_again_and_again_does_not_matter(name: str) -> None:
    lines = {seed: heard_of_halting(SOUNDS[name], seed, loss=0.01) for seed in range(5)}
    assert [seed for seed, line in lines.items() if find(line, SOUNDS[name]) is None] == []


def test_a_sound_that_breaks_off_on_such_a_machine_was_not_heard() -> None:
    for pcm in SOUNDS.values():
        said = pcm[: 2 * int(0.7 * len(pcm) / 2)]
        assert find(heard_of_halting(said + bytes(20 * RATE), seed=1), pcm) is None


@pytest.mark.parametrize("name", SOUNDS)
def test_nothing_else_is_found_on_such_a_machine(name: str) -> None:
    lines = {other: heard_of_halting(pcm, seed=2) for other, pcm in SOUNDS.items()}
    assert [other for other, line in lines.items() if find(line, SOUNDS[name])] == [name]


def test_a_pause_that_is_shortened_does_not_matter() -> None:
    said, cut = SOUNDS["hours"] + bytes(RATE // 2) + SOUNDS["goodbye"], 2 * int(0.08 * RATE)
    shortened = SOUNDS["hours"] + bytes(RATE // 2 - cut) + SOUNDS["goodbye"]
    assert find(heard(shortened), said) is not None


@pytest.mark.parametrize("rate", [RATE - 16, RATE + 16])
def test_a_clock_that_drifts_does_not_matter(rate: int) -> None:
    assert find(heard(resample(SOUNDS["menu"], rate, RATE)), SOUNDS["menu"]) is not None


def words(length: float) -> Iterable[tuple[str, bytes]]:
    """Loud pieces of all sounds."""
    size = 2 * int(length * RATE)
    for name, pcm in SOUNDS.items():
        for at in range(0, len(pcm) - size, 4 * size):
            piece = pcm[at : at + size]
            if np.mean(np.abs(np.frombuffer(piece, np.int16).astype(int)) > 1000) > 0.3:
                yield name, piece


@pytest.mark.parametrize("length", [0.3, 0.8])
def test_a_word_is_enough_to_know_which_sound_was_heard(length: float) -> None:
    lines = {name: heard(pcm, loss=0.02) for name, pcm in SOUNDS.items()}
    pieces = list(words(length))
    assert all(find(lines[name], piece) for name, piece in pieces)
    elsewhere = [find(lines[o], piece) for name, piece in pieces for o in SOUNDS if o != name]
    # Some words are said in several of them.
    assert sum(found is None for found in elsewhere) > 0.9 * len(elsewhere)


def test_a_sound_is_found_while_another_thread_still_loads_parts_of_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is loaded, and not yet an attribute, numpy looks for until the stack is full."""
    assert "numpy.fft" in sys.modules
    monkeypatch.delattr(np, "fft")
    assert find(SOUNDS["question"], SOUNDS["question"]) is not None


def test_silence_around_the_sound_that_is_wanted_does_not_count() -> None:
    wanted = bytes(3 * 2 * RATE) + SOUNDS["farewell"] + bytes(2 * 2 * RATE)
    match = find(heard(SOUNDS["farewell"]), wanted)
    assert match is not None
    assert match == find(heard(SOUNDS["farewell"]), SOUNDS["farewell"])


def test_a_sound_that_breaks_off_was_not_heard() -> None:
    for pcm in SOUNDS.values():
        (loud,) = np.nonzero(np.abs(np.frombuffer(pcm, np.int16).astype(int)) > 330)
        said = pcm[: 2 * int(loud[0] + 0.8 * (loud[-1] - loud[0]))]
        assert find(heard(said, bytes(20 * RATE)), pcm) is None


def test_a_steady_tone_is_found_too() -> None:
    line = heard(SOUNDS["hours"], tone(440, 0.5), SOUNDS["menu"])
    match = find(line, tone(440, 0.5))
    assert match is not None
    assert match.at == pytest.approx(2 * seconds(PAUSE) + seconds(SOUNDS["hours"]), abs=0.05)
    assert find(line, tone(1000, 0.5)) is None


def test_of_several_places_the_first_one_is_found() -> None:
    match = find(heard(*[SOUNDS["goodbye"]] * 3), SOUNDS["goodbye"])
    assert match is not None
    assert match.end < seconds(PAUSE) + seconds(SOUNDS["goodbye"]) + 0.05


@pytest.mark.parametrize("line", [b"", bytes(2), bytes(2 * RATE), bytes(20 * RATE)])
def test_nothing_is_found_where_nothing_was_heard(line: bytes) -> None:
    assert find(line, SOUNDS["question"]) is None
    assert find(line, tone(440, 0.5)) is None


def test_all_of_what_was_heard_may_be_the_sound() -> None:
    match = find(SOUNDS["question"], SOUNDS["question"])
    assert match is not None
    assert match.score == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("wanted", [b"", bytes(2 * RATE), louder(tone(440, 1.0), -60)])
def test_silence_is_nothing_to_look_for(wanted: bytes) -> None:
    with pytest.raises(ValueError, match="no sound to look for"):
        find(SOUNDS["question"], wanted)


# Listening


def halves(pcm: bytes) -> tuple[list[RtpPacket], list[RtpPacket]]:
    """The packets of a sound, in two parts."""
    sent = packets(pcm)
    return sent[: len(sent) // 2], sent[len(sent) // 2 :]


async def listens(listener: Listener, name: str) -> bool:
    return await listener.hears(SOUNDS[name], timeout=0, is_over=lambda: False)


async def test_a_listener_finds_sounds_in_their_order() -> None:
    names = ["goodbye", "hours", "goodbye"]
    listener = Listener(recording(PAUSE.join(SOUNDS[name] for name in names)))
    assert await listens(listener, "hours")
    assert await listens(listener, "goodbye")
    assert not await listens(listener, "goodbye")
    assert not await listens(listener, "hours")


@pytest.mark.parametrize("follows", ["address", "goodbye", "menu", "hours"])
async def test_a_listener_finds_a_sound_that_began_before_the_last_had_ended(follows: str) -> None:
    """As it seems when the end of the last one was heard late."""
    overlap = RATE // 4
    first, second = (
        np.trim_zeros(np.frombuffer(SOUNDS[name], np.int16)).astype(int)
        for name in ("hours", follows)
    )
    both = np.zeros(len(first) + len(second) - overlap, int)
    both[: len(first)] += first
    both[len(first) - overlap :] += second
    listener = Listener(recording(both.clip(-32768, 32767).astype(np.int16).tobytes(), PAUSE))
    assert await listens(listener, "hours")
    assert await listens(listener, follows)
    assert not await listens(listener, "hours")


async def test_a_listener_that_did_not_find_one_sound_finds_another_before() -> None:
    listener = Listener(recording(SOUNDS["hours"] + PAUSE))
    assert not await listens(listener, "menu")
    assert await listens(listener, "hours")


async def test_a_listener_waits_until_all_of_a_sound_was_heard() -> None:
    first, rest = halves(PAUSE + SOUNDS["question"] + PAUSE)
    arrived = Recording()
    feed(arrived, first)
    listener = Listener(arrived)
    assert not await listens(listener, "question")
    waiting = asyncio.create_task(
        listener.hears(SOUNDS["question"], timeout=60, is_over=lambda: False)
    )
    await asyncio.sleep(0)
    feed(arrived, rest)
    assert await waiting


async def test_a_listener_looks_once_more_when_all_is_over() -> None:
    first, rest = halves(PAUSE + SOUNDS["question"] + PAUSE)
    arrived = Recording()
    feed(arrived, first)

    def is_over() -> bool:
        """The last packets come right before the end."""
        feed(arrived, rest)
        return True

    assert await Listener(arrived).hears(SOUNDS["question"], timeout=60, is_over=is_over)
    assert not await Listener(arrived).hears(SOUNDS["menu"], timeout=60, is_over=is_over)
