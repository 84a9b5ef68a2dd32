"""Watches over a call's media: measures them, and notices when the far end is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipecat_whatsapp.calls.call import Cause
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.media.connection import WhatsAppConnection
from pipecat_whatsapp.media.quality import CallQuality, QualityMeter

REVIEW_SECONDS = 1.0


async def watch(
    connection: WhatsAppConnection,
    timing: Timing,
    arrived: float,
    *,
    on_quality: Callable[[CallQuality], None],
) -> tuple[Cause, float]:
    """Review a call every second until there is no sign of life from the far end.

    RTP, RTCP and DTLS are signs of life. A caller who is silent may send nothing for long (DTX),
    so before the line is given up the far end is asked by STUN, which it answers as long as it
    takes part in the call (RFC 7675).

    Args:
        connection: The call's media.
        timing: How long no sign of life is bearable.
        arrived: When the call's webhook arrived, seconds of the loop's clock.
        on_quality: Given the figures of each review.

    Returns:
        `NO_MEDIA` when nothing ever came, else `MEDIA_LOST`; and for how long nothing came, s.
    """
    meter = QualityMeter(arrived)
    first = last = None
    # Reviews are counted, not timed: a loop that stalled has packets waiting to be read.
    silent_reviews = 0
    while True:
        quality, packets = await connection.review(meter)
        on_quality(quality)
        first = packets if first is None else first
        silent_reviews = 0 if packets != last else silent_reviews + 1
        last = packets
        silence = silent_reviews * REVIEW_SECONDS
        if silence >= timing.silence_timeout:
            alive, never_heard = await connection.has_consent(), last == first
            if alive is False or (silence >= timing.media_timeout and (never_heard or not alive)):
                return (Cause.NO_MEDIA if never_heard else Cause.MEDIA_LOST), silence
        await asyncio.sleep(REVIEW_SECONDS)
