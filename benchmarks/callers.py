"""Lean callers: dozens of them fit into one process without being what is measured.

Each is a real WhatsApp call (ICE-lite, DTLS, SRTP over UDP), but its packets were encoded before
it begins, and what it hears is only written down, with the times, to be decoded after the call.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipecat_whatsapp.media.rtp import ReportBlock, RtpPacket, source_description
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.graph import MetaCall, SimulatedMeta
from pipecat_whatsapp.simulator.offer import read_answer
from pipecat_whatsapp.simulator.phone import ADA
from pipecat_whatsapp.simulator.rtp import RtpStream, sender_report
from pipecat_whatsapp.simulator.sound import FRAME_TICKS
from pipecat_whatsapp.simulator.voice import OPUS_PT, PACKET_TIME

PATIENCE = 60.0
"""Seconds within which a call is answered and the bot is heard."""

REPORT_SECONDS = 1.0
TIMER_SECONDS = 0.001
"""What uvloop rounds its timers to: without it a caller would spin until the time is exact."""

_CNAME = "WhatsAppAudioStream1"
_NUMBERS = itertools.count(4915550000000)


@dataclass(frozen=True)
class Departure:
    """One packet on its way.

    Parameters:
        at: When it leaves, s after the call began to speak.
        sequence: Its place among the packets.
        slot: Its place in time, in 20 ms.
        payload: Opus.
    """

    at: float
    sequence: int
    slot: int
    payload: bytes


def forever(packets: Sequence[bytes]) -> Iterator[Departure]:
    """Say the same again and again, one packet every 20 ms."""
    for slot in itertools.count():
        yield Departure(slot * PACKET_TIME, slot, slot, packets[slot % len(packets)])


def once(packets: Sequence[bytes]) -> Iterator[Departure]:
    """Say something once, one packet every 20 ms."""
    return itertools.islice(forever(packets), len(packets))


class LeanCall:
    """One call; a leg of the simulated Meta's. Made by `dial`.

    Attributes:
        sent: When each packet left, monotonic s, and the packet.
        received: When each packet came, monotonic s, and the packet.
        accepted_at: When the business's accept came, monotonic s.
        started_at: When the call began to speak, monotonic s.
        lateness: By how much a packet left too late at the worst, s: the caller's own fault.
    """

    def __init__(self, endpoint: LiteEndpoint, departures: Iterable[Departure], phase: float):
        self.sent: list[tuple[float, bytes]] = []
        self.received: list[tuple[float, bytes]] = []
        self.accepted_at: float | None = None
        self.started_at: float | None = None
        self.lateness = 0.0
        self._endpoint = endpoint
        self._departures = iter(departures)
        self._phase = phase
        self._loop = asyncio.get_running_loop()
        self._stream = RtpStream(secrets.randbits(32), timestamp=secrets.randbits(32))
        self._first = secrets.randbits(16), self._stream.timestamp
        self._meta_call: MetaCall | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._accepted, self._heard, self._said = (self._loop.create_future() for _ in range(3))
        endpoint.on_rtp = self._on_rtp
        endpoint.on_connected = self._speak_if_ready

    @classmethod
    async def dial(
        cls, meta: SimulatedMeta, departures: Iterable[Departure] = (), *, phase: float = 0.0
    ) -> LeanCall:
        """Call the business; returns when it rings.

        Args:
            meta: Whose business.
            departures: What the caller says from the accept on, in the order of `at`.
            phase: Where in the 20 ms between two packets of a call its own ones lie, 0 to 1.
        """
        endpoint = await LiteEndpoint.open()
        call = cls(endpoint, departures, phase)
        call._meta_call = meta.ring(call, endpoint.offer(call._stream.ssrc), _new_user())
        return call

    @property
    def id(self) -> str:
        """The call id ("wacid....")."""
        assert self._meta_call is not None
        return self._meta_call.id

    async def heard(self) -> None:
        """Wait until the call is answered and the bot's first packet has come.

        Raises:
            ConnectionError: The call ended first.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(asyncio.shield(self._accepted), asyncio.shield(self._heard))

    async def said(self) -> None:
        """Wait until everything is said; raises `ConnectionError` when the call ends first."""
        await asyncio.shield(self._said)

    async def hang_up(self) -> None:
        """End the call."""
        for timer in self._timers.values():
            timer.cancel()
        if self._meta_call is not None:
            await self._meta_call.hang_up()
        await self._endpoint.close()

    def on_answer(self, sdp: str) -> None:
        """The business's answer came (Meta)."""
        self._endpoint.start(read_answer(sdp))

    def on_accepted(self) -> None:
        """The business accepted (Meta)."""
        self.accepted_at = time.monotonic()
        self._accepted.set_result(None)
        self._speak_if_ready()

    def on_ended(self, reason: str) -> None:
        """The business or Meta ended the call (Meta)."""
        for future in (self._accepted, self._heard, self._said):
            if not future.done():
                future.set_exception(ConnectionError(f"the call was {reason}"))
                future.exception()  # Nobody need wait for each of them.

    def _speak_if_ready(self) -> None:
        if self._endpoint.connected and self.accepted_at is not None:
            now = self._loop.time()
            start = (now // PACKET_TIME + 1 + self._phase) * PACKET_TIME
            self.started_at = time.monotonic() + start - now
            self._speak(start, next(self._departures, None))
            self._report(start)

    def _speak(self, start: float, departure: Departure | None) -> None:
        """Send what is due, and come back for the next."""
        while departure is not None and start + departure.at <= self._loop.time() + TIMER_SECONDS:
            self.lateness = max(self.lateness, self._loop.time() - start - departure.at)
            self._send(departure)
            departure = next(self._departures, None)
        if departure is not None:
            when = start + departure.at
            self._timers["speak"] = self._loop.call_at(when, self._speak, start, departure)
        elif not self._said.done():
            self._said.set_result(None)

    def _send(self, departure: Departure) -> None:
        sequence, timestamp = self._first
        packet = RtpPacket(
            OPUS_PT,
            (sequence + departure.sequence) & 0xFFFF,
            (timestamp + departure.slot * FRAME_TICKS) & 0xFFFFFFFF,
            self._stream.ssrc,
            departure.payload,
        )
        data = bytes(packet)
        self.sent.append((time.monotonic(), data))
        self._endpoint.send_rtp(data)
        self._stream.timestamp = packet.timestamp
        self._stream.packets += 1
        self._stream.octets += len(departure.payload)

    def _report(self, when: float) -> None:
        """RTCP, once a second."""
        report = sender_report(self._stream, time.time(), self._blocks())
        self._endpoint.send_rtcp(report + source_description(self._stream.ssrc, _CNAME))
        when += REPORT_SECONDS
        self._timers["report"] = self._loop.call_at(when, self._report, when)

    def _blocks(self) -> list[ReportBlock]:
        """What came so far; nothing is lost on loopback."""
        if not self.received:
            return []
        last = RtpPacket.parse(self.received[-1][1])
        return [ReportBlock(last.ssrc, lost=0, highest=last.sequence)]

    def _on_rtp(self, data: bytes, arrival: float) -> None:
        self.received.append((arrival, data))
        if not self._heard.done():
            self._heard.set_result(None)


def _new_user() -> User:
    """Somebody else than all before: a user has one call at a time."""
    number = str(next(_NUMBERS))
    return replace(ADA, phone=number, user_id=f"DE.{number}")
