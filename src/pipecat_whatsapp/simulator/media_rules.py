"""When WhatsApp's client gives up a call in which nothing is heard (Meta: troubleshooting)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class MediaRules:
    """How long WhatsApp's client waits for media.

    Parameters:
        start: Time from pick-up without any packet from the business, s.
        later: Time since the last packet, once there was one, s.
    """

    start: float = 20.0
    later: float = 30.0


class MediaWatch:
    """Watches over one call from its pick-up on.

    Args:
        rules: How long to wait.
        last_packet: Tells the monotonic time of the last packet, s; None before the first.
        on_silence: Called once when the client gives up.
    """

    def __init__(
        self,
        rules: MediaRules,
        *,
        last_packet: Callable[[], float | None],
        on_silence: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._last_packet = last_packet
        self._on_silence = on_silence
        self._timer: asyncio.TimerHandle | None = None

    def start(self, since: float) -> None:
        """Begin to watch; `since` is the monotonic time of the pick-up, s."""
        left = self._deadline(since) - time.monotonic()
        if left > 0:
            # The first packet puts another deadline in place: look again before that can pass.
            pause = min(left, self._rules.later)
            self._timer = asyncio.get_running_loop().call_later(pause, self.start, since)
        else:
            self._on_silence()

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _deadline(self, since: float) -> float:
        """When the client gives up, as things stand; monotonic, s."""
        last = self._last_packet()
        if last is None or last < since:
            return since + self._rules.start
        return last + self._rules.later
