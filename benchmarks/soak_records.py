"""What a soak writes down: the server's processes at one time, and a call; and what is watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from echo_quality import EchoQuality
from production import Usage
from trend import Figure

PROCESS_FIGURES = (
    Figure("RSS of the server, MB", slack=10, share=0.05),
    Figure("its threads", slack=2),
    Figure("its open descriptors", slack=4),
    Figure("its open sockets", slack=4),
    Figure("its CPU, cores", slack=0.02, share=0.15),
    Figure("RSS of Redis, MB", slack=2, share=0.1),
)
CALL_FIGURES = (
    Figure("ringing until accept, ms", slack=20, share=0.25),
    Figure("accept until first sound, ms", slack=10, share=0.25),
    Figure("delay through the echo, ms", slack=2, share=0.15),
    Figure("its growth in a call, ms", slack=2),
    Figure("echo's packets lost, %", slack=0.2),
    Figure("echo's packets late, %", slack=0.2),
    Figure("holes a minute of call", slack=0.5),
)


@dataclass(frozen=True)
class Sample:
    """The server at one time.

    Parameters:
        at: When, s from the beginning.
        server: What its processes had.
        redis: What Redis had.
        calls: How many calls there were.
        load: CPU time per second since the last sample, in cores.
    """

    at: float
    server: Usage
    redis: Usage
    calls: int
    load: float

    def values(self) -> tuple[float, ...]:
        """In the order of `PROCESS_FIGURES`."""
        own = self.server
        return own.rss, own.threads, own.descriptors, own.sockets, self.load, self.redis.rss

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        names = ("rss_mb", "threads", "descriptors", "sockets", "cores", "redis_rss_mb")
        values = (round(value, 3) for value in self.values())
        return {"at_s": round(self.at, 1), "calls": self.calls} | dict(
            zip(names, values, strict=True)
        )


@dataclass(frozen=True)
class Heard:
    """A call that was heard to its end.

    Parameters:
        at: When it was answered, s from the beginning.
        seconds: How long it was.
        ringing: From the ring until accept, ms.
        first_sound: From accept until the first sound, ms; NaN if none came.
        quality: How its echo was heard.
        lateness: By how much the caller itself was late at the worst, ms.
    """

    at: float
    seconds: float
    ringing: float
    first_sound: float
    quality: EchoQuality
    lateness: float

    def values(self) -> tuple[float, ...]:
        """In the order of `CALL_FIGURES`."""
        q = self.quality
        holes = 60 * len(q.holes) / self.seconds
        shares = 100 * q.lost, 100 * q.late
        return self.ringing, self.first_sound, q.delay, q.growth, *shares, holes

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        names = ("ringing_ms", "first_sound_ms", "delay_ms", "growth_ms", "lost_percent")
        values = (round(value, 3) for value in self.values())
        return {"at_s": round(self.at, 1), "seconds": round(self.seconds, 1)} | dict(
            zip((*names, "late_percent", "holes_per_minute"), values, strict=True)
        )
