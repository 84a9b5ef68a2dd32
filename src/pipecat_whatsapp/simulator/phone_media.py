"""The media of one call at the phone's end: its voice, its ear, and its RTCP reports."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipecat_whatsapp.media.dtmf import KeyReceiver
from pipecat_whatsapp.media.rtp import (
    Goodbye,
    ReportBlock,
    RtpPacket,
    SenderReport,
    read_rtcp,
    receiver_report,
    source_description,
)
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.offer import Answer, read_answer, read_offer
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.rtp import FarEnd, RtpStream, bye, sender_report
from pipecat_whatsapp.simulator.voice import DTMF_PT, Voice

_CNAME = "WhatsAppAudioStream1"
_REPORT_TICKS = 50  # One RTCP report a second.


class PhoneMedia:
    """What a phone sends and hears.

    Parameters:
        endpoint: The media end of the call.
        dtx: Whether nearly nothing is sent while nobody speaks, see `Voice`.
        on_change: Called after each packet heard, and after each packet time sent.

    Attributes:
        recording: What the caller hears.
        voice: What the caller says.
        endpoint: The media end of the call.
        far_end: What the business last reported of the phone's stream; None before.
        on_heard: Called with each packet of the business's audio, after the line's mishaps.
        on_sent: Called with each packet of the phone, before them.
        last_packet: Monotonic time of the last RTP or RTCP from the business, s; None before.
    """

    def __init__(self, endpoint: LiteEndpoint, *, dtx: bool, on_change: Callable[[], None]) -> None:
        self.recording = Recording()
        self.last_packet: float | None = None
        self.far_end: FarEnd | None = None
        self.endpoint = endpoint
        self.on_heard: Callable[[RtpPacket], None] = lambda _packet: None
        self.on_sent: Callable[[RtpPacket], None] = lambda _packet: None
        self._on_change = on_change
        self._stream = RtpStream(
            secrets.randbits(32), sequence=secrets.randbits(15), timestamp=secrets.randbits(32)
        )
        self.voice = Voice(self._stream, send=self._send, on_tick=self._on_tick, dtx=dtx)
        self._keys = KeyReceiver()
        self._speaking: asyncio.Task[None] | None = None
        endpoint.on_rtp = self._on_rtp
        endpoint.on_rtcp = self._on_rtcp

    def offer(self, variant: str) -> str:
        """Write the call's offer.

        Raises:
            ValueError: There is no such variant.
        """
        return self.endpoint.offer(self._stream.ssrc, variant)

    def start(self, answer_sdp: str) -> None:
        """Connect to the business.

        Raises:
            AnswerError: Its answer cannot carry a call.
        """
        self._connect(read_answer(answer_sdp))

    def answer(self, offer_sdp: str, setup: str) -> str:
        """Answer a business that calls, and let it connect.

        Args:
            offer_sdp: The business's offer.
            setup: Our part in DTLS, see `write_answer`; passive to a business that is active.

        Raises:
            AnswerError: The offer cannot carry a call.
        """
        offer = read_offer(offer_sdp)
        setup = "passive" if offer.setup == "active" else setup
        answer = self.endpoint.answer(offer_sdp, self._stream.ssrc, setup)
        self._connect(replace(offer, setup="passive" if setup == "active" else "active"))
        return answer

    def speak(self) -> None:
        """Begin to send."""
        self._speaking = asyncio.create_task(self.voice.run())

    def relay(self, packet: bytes, units: int) -> None:
        """Send what a real microphone took up, see `Voice.relay`; nothing before `speak`."""
        if self._speaking is not None:
            self.voice.relay(packet, units)

    async def hush(self) -> None:
        """Stop sending."""
        if self._speaking is not None:
            self._speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._speaking

    def say_goodbye(self) -> None:
        """Send RTCP BYE."""
        ssrc = self._stream.ssrc
        name = source_description(ssrc, _CNAME)
        self.endpoint.send_rtcp(receiver_report(ssrc) + name + bye(ssrc))

    def _connect(self, business: Answer) -> None:
        self.voice.opus_pt = business.opus_pt
        # WhatsApp sends keys whether or not the business's SDP has them (Meta: DTMF).
        self.voice.dtmf_pt = DTMF_PT if business.dtmf_pt is None else business.dtmf_pt
        self.endpoint.start(business)

    def _send(self, packet: RtpPacket) -> None:
        self.on_sent(packet)
        self.endpoint.send_rtp(bytes(packet))

    def _on_tick(self, tick: int) -> None:
        if tick % _REPORT_TICKS == 0:
            blocks = self.recording.report(time.monotonic())
            report = sender_report(self._stream, time.time(), blocks)
            self.endpoint.send_rtcp(report + source_description(self._stream.ssrc, _CNAME))
        self._on_change()

    def _on_rtp(self, data: bytes, arrival: float) -> None:
        try:
            packet = RtpPacket.parse(data)
        except ValueError:
            return
        self.last_packet = arrival
        is_audio = packet.payload_type == self.voice.opus_pt
        self.recording.add(packet, arrival, audio=is_audio)
        if is_audio:
            self.on_heard(packet)
        elif packet.payload_type == self.voice.dtmf_pt:
            self.recording.keys += self._keys.receive(packet) or ""
        self._on_change()

    def _on_rtcp(self, data: bytes) -> None:
        self.last_packet = arrival = time.monotonic()
        with contextlib.suppress(ValueError):
            for report in read_rtcp(data):
                if isinstance(report, SenderReport):
                    self.recording.note_report(report, arrival)
                if not isinstance(report, Goodbye):
                    self._note_blocks(report.blocks)

    def _note_blocks(self, blocks: Sequence[ReportBlock]) -> None:
        for block in blocks:
            if block.ssrc == self._stream.ssrc:
                self.far_end = FarEnd.of(block, time.time())
