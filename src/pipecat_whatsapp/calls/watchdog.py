"""Watches over a call's media, and notices when the far end is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.config import Timing

REVIEW_SECONDS = 1.0


async def watch(
    review: Callable[[], Awaitable[int]],
    has_consent: Callable[[], Awaitable[bool | None]],
    timing: Timing,
) -> tuple[Cause, float]:
    """Review a call every second until there is no sign of life from the far end.

    RTP, RTCP and DTLS are signs of life. A caller who is silent may send nothing for long (DTX),
    so before the line is given up the far end is asked by STUN, which it answers as long as it
    takes part in the call (RFC 7675).

    Args:
        review: Measures the call; returns how many packets have come from the far end so far.
        has_consent: Asks the far end by STUN; None when it cannot be asked.
        timing: How long no sign of life is bearable.

    Returns:
        `NO_MEDIA` when nothing ever came, else `MEDIA_LOST`; and for how long nothing came, s.
    """
    first = last = await review()
    # Reviews are counted, not timed: a loop that stalled has packets waiting to be read.
    silent_reviews = 0
    while True:
        await asyncio.sleep(REVIEW_SECONDS)
        packets = await review()
        silent_reviews = 0 if packets != last else silent_reviews + 1
        last = packets
        silence = silent_reviews * REVIEW_SECONDS
        if silence >= timing.silence_timeout:
            alive, never_heard = await has_consent(), last == first
            if alive is False or (silence >= timing.media_timeout and (never_heard or not alive)):
                return (Cause.NO_MEDIA if never_heard else Cause.MEDIA_LOST), silence
