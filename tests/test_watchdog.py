"""The watch over a call's media, on a loop whose time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.calls.watchdog import REVIEW_SECONDS, watch
from pipecat_whatsapp.config import Timing
from virtual_time import in_virtual_time, virtual_loop

TIMING = Timing(silence_timeout=5, media_timeout=20)
HANDSHAKE = 7
"""Packets that came before the call was accepted."""


class Caller:
    """A call by script.

    Args:
        packets: How many packets have come so many seconds after the start.
        consent: What the far end says when asked.
    """

    def __init__(
        self,
        packets: Callable[[float], int],
        *,
        consent: bool | None = True,
        answer_seconds: float = 0.0,
    ) -> None:
        self.asked: list[float] = []
        self.reviewed: list[float] = []
        self._packets = packets
        self.consent = consent
        self._answer_seconds = answer_seconds
        self._start = virtual_loop().time()

    @property
    def seconds(self) -> float:
        return virtual_loop().time() - self._start

    async def review(self) -> int:
        self.reviewed.append(self.seconds)
        return self._packets(self.seconds)

    async def has_consent(self) -> bool | None:
        self.asked.append(round(self.seconds, 3))
        await asyncio.sleep(self._answer_seconds)
        return self.consent


def silent_after(seconds: float) -> Callable[[float], int]:
    """50 packets a second, and none any more from then on."""
    return lambda now: HANDSHAKE + int(50 * min(now, seconds))


def never(now: float) -> int:
    return HANDSHAKE


def guarding(caller: Caller, timing: Timing = TIMING) -> asyncio.Task[tuple[Cause, float]]:
    return asyncio.create_task(watch(caller.review, caller.has_consent, timing))


async def still_watched_after(seconds: float, caller: Caller) -> bool:
    watching = guarding(caller)
    await asyncio.sleep(seconds)
    return watching.cancel()


@in_virtual_time
async def test_a_caller_who_is_heard_is_never_asked() -> None:
    caller = Caller(silent_after(3600))
    assert await still_watched_after(3600, caller)
    assert caller.asked == []


@in_virtual_time
async def test_a_caller_who_is_silent_but_there_stays() -> None:
    caller = Caller(silent_after(3.5))
    assert await still_watched_after(3600, caller)
    # Told apart from a dead one again and again.
    assert len(caller.asked) > 1000
    assert caller.asked[0] == 4 + 5


@in_virtual_time
async def test_one_packet_now_and_then_is_life_enough() -> None:
    """DTX, or a report every few seconds."""
    caller = Caller(lambda now: HANDSHAKE + int(now / 4))
    assert await still_watched_after(3600, caller)
    assert caller.asked == []


@in_virtual_time
async def test_a_caller_who_has_vanished_is_given_up() -> None:
    caller = Caller(silent_after(30.5), consent=False)
    assert await guarding(caller) == (Cause.MEDIA_LOST, 5)
    assert len(caller.asked) == 1


@in_virtual_time
async def test_a_caller_who_has_vanished_is_noticed_within_10_s() -> None:
    """Even if it happens right after a review, and STUN needs all its time."""
    vanished = 30.001
    caller = Caller(silent_after(vanished), consent=False, answer_seconds=3.5)
    await guarding(caller, Timing())
    assert caller.seconds - vanished < 10


@in_virtual_time
async def test_a_caller_who_vanishes_after_a_long_silence_is_noticed_too() -> None:
    caller = Caller(silent_after(3.5))
    watching = guarding(caller)
    await asyncio.sleep(600)
    assert not watching.done()
    caller.consent = False
    assert (await watching)[0] is Cause.MEDIA_LOST
    assert caller.seconds < 603


@in_virtual_time
async def test_a_call_without_anybody_there_has_no_media() -> None:
    caller = Caller(never, consent=False)
    assert await guarding(caller) == (Cause.NO_MEDIA, 5)


@in_virtual_time
async def test_a_caller_who_is_there_but_never_sends_has_no_media() -> None:
    """Consent alone carries no call; a phone sends something at its start."""
    caller = Caller(never, consent=True)
    assert await guarding(caller) == (Cause.NO_MEDIA, 20)


@pytest.mark.parametrize(
    ("packets", "cause"), [(silent_after(9.5), Cause.MEDIA_LOST), (never, Cause.NO_MEDIA)]
)
@in_virtual_time
async def test_where_nobody_can_be_asked_only_time_tells(
    packets: Callable[[float], int], cause: Cause
) -> None:
    caller = Caller(packets, consent=None)
    assert await guarding(caller) == (cause, 20)


@in_virtual_time
async def test_a_packet_starts_the_silence_anew() -> None:
    def twice(now: float) -> int:
        return HANDSHAKE + (1 if now < 18 else 2) - (1 if now < 1 else 0)

    caller = Caller(twice, consent=None)
    assert await guarding(caller) == (Cause.MEDIA_LOST, 20)
    assert caller.seconds == pytest.approx(18 + 20, abs=0.01)


@in_virtual_time
async def test_a_loop_that_stalls_is_no_silence() -> None:
    """What came meanwhile waits to be read, and is counted after the next turn only."""
    seen = [0]

    def packets(now: float) -> int:
        count, seen[0] = seen[0], int(50 * now)
        return HANDSHAKE + count

    caller = Caller(packets, consent=False)
    watching = guarding(caller)
    for _ in range(5):
        await asyncio.sleep(10.5)
        virtual_loop().stall(60)
    await asyncio.sleep(10)
    assert watching.cancel(), "still watching"


@in_virtual_time
async def test_a_call_is_reviewed_at_once_and_every_second() -> None:
    caller = Caller(silent_after(3600))
    assert await still_watched_after(9.5 * REVIEW_SECONDS, caller)
    assert caller.reviewed == pytest.approx(list(range(10)), abs=0.001)
