"""A call's sound, between the peer connection and whoever speaks and listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRemoteInboundRtpStreamStats,
    RTCStatsReport,
    RTCTransportStats,
)

from pipecat_whatsapp.media.aiortc_private import Send, open_rtp_door
from pipecat_whatsapp.media.quality import CallQuality, QualityMeter, find_stats
from pipecat_whatsapp.media.receiver import AudioReceiver
from pipecat_whatsapp.media.rtp import receiver_report, source_description
from pipecat_whatsapp.media.sdp import RemoteDescription, read_payload_types, read_source
from pipecat_whatsapp.media.sender import AudioSender
from pipecat_whatsapp.media.track_receiver import TrackReceiver
from pipecat_whatsapp.media.voice import VoiceDetector


class CallAudio:
    """The sound of one call, both ways: shut until it is opened, then measured and reported on.

    Args:
        pc: The call's peer connection.
        on_voice: Told, once, that the far end speaks while the call is still shut; None when
            nobody wants to know.
    """

    def __init__(self, pc: RTCPeerConnection, on_voice: Callable[[], None] | None) -> None:
        self._pc = pc
        self._opened = asyncio.Event()
        self._remote: RemoteDescription | None = None
        self._source = (0, "")
        self._track: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
        self._voice = VoiceDetector(on_voice) if on_voice else None
        self._hearing = AudioReceiver()
        self._receiver: AudioReceiver | TrackReceiver | None = None
        self._outgoing: _GatedTrack | None = None
        self._sender: AudioSender | None = None
        self._send_rtcp: Send | None = None
        self._setting_aside: asyncio.Task[None] | None = None
        self._last_report: object = None
        pc.on("track", self._track.set_result)

    @property
    def is_open(self) -> bool:
        """Whether sound may flow."""
        return self._opened.is_set()

    def describe(self, sdp: str) -> None:
        """Take our own description: what we send as, and what may be sent to us.

        Raises:
            SdpError: It names neither.
        """
        self._source = read_source(sdp)
        self._expect(*read_payload_types(sdp))
        self._send_rtcp = open_rtp_door(
            self._pc.getReceivers()[0].transport,
            on_rtp=self._hear,
            on_rtcp=self._hearing.receive_rtcp,
            outgoing=self._stamp,
        )

    def agree(self, remote: RemoteDescription) -> None:
        """Take the far end's description: what it wants of what we send.

        What it sends bears the payload types of our own description (RFC 3264 section 5.1); where
        it answers with others, they are taken as well.
        """
        self._remote = remote
        self._expect(remote.opus_payload_type, remote.telephone_event_payload_type)
        self._tell_sender()

    def open(self) -> None:
        """Let sound through, both ways."""
        self._voice = None
        self._opened.set()

    def linked(self) -> None:
        """ICE and DTLS are up, and aiortc's own receiver has begun."""
        if self._receiver is self._hearing:
            self._setting_aside = asyncio.create_task(self._pc.getReceivers()[0].stop())

    def create_receiver(self) -> AudioReceiver | TrackReceiver:
        """What hears the far end, in aiortc's place as far as this aiortc lets it."""
        if self._send_rtcp is None:
            self._receiver = TrackReceiver(self._track, self._opened)
        else:
            self._receiver = self._hearing
            if self._pc.connectionState == "connected":
                self.linked()
        return self._receiver

    def gate(self, track: MediaStreamTrack) -> MediaStreamTrack:
        """Hold a track back until the call is open, and tell it what the far end wants."""
        self._outgoing = _GatedTrack(track, self._opened)
        self._sender = track if isinstance(track, AudioSender) else None
        self._tell_sender()
        return self._outgoing

    async def stop(self) -> None:
        """End both ways; whoever writes or reads returns."""
        if self._outgoing is not None:
            self._outgoing.stop()
        if self._receiver is not None:
            self._receiver.stop()
        if self._setting_aside is not None:
            await self._setting_aside

    async def review(self, meter: QualityMeter) -> tuple[CallQuality, int]:
        """Report to the far end, follow what it reports, and measure.

        Args:
            meter: Makes the figures.

        Returns:
            The figures, and how many RTP, RTCP and DTLS packets have come from the far end.
        """
        await self._report()
        if self._sender is not None:
            self._sender.ease()
        stats = await self._pc.getStats()
        self._adapt(stats)
        quality = meter.assess(
            self._hearing.statistics() if self._receiver is self._hearing else None,
            stats,
            now=asyncio.get_running_loop().time(),
            first_audio_out=self._sender.first_audio if self._sender else None,
        )
        transports = (s for s in stats.values() if isinstance(s, RTCTransportStats))
        return quality, sum(transport.packetsReceived for transport in transports)

    def _expect(self, opus: int, telephone_event: int | None) -> None:
        self._hearing.expect(opus, telephone_event)
        if self._voice is not None:
            self._voice.expect(opus)

    def _tell_sender(self) -> None:
        if self._sender is not None and self._remote is not None:
            self._sender.agree(self._remote, with_keys=self._send_rtcp is not None)

    def _hear(self, packet: bytes) -> bool:
        """Take a packet. Returns whether it is not for aiortc's own receiver."""
        if not self._opened.is_set():
            if self._voice is not None:
                self._voice.receive(packet)
        elif self._receiver is self._hearing:
            self._hearing.receive(packet)
        else:
            return False
        return True

    def _stamp(self, packet: bytes) -> bytes | None:
        return packet if self._sender is None else self._sender.stamp(packet)

    async def _report(self) -> None:
        """Tell the far end what came of its stream: aiortc's receiver would have."""
        if self._send_rtcp is None or self._receiver is not self._hearing:
            return
        if blocks := self._hearing.reports():
            ssrc, cname = self._source
            with contextlib.suppress(ConnectionError):
                await self._send_rtcp(
                    receiver_report(ssrc, blocks) + source_description(ssrc, cname)
                )

    def _adapt(self, stats: RTCStatsReport) -> None:
        """Let the encoder follow the far end's newest report."""
        report = find_stats(stats, RTCRemoteInboundRtpStreamStats)
        if report is None or self._sender is None or report.timestamp == self._last_report:
            return
        self._last_report = report.timestamp
        self._sender.follow(report.fractionLost / 256)


class _GatedTrack(MediaStreamTrack):
    """Holds a track back until a gate opens: nothing is sent before the far end can hear."""

    kind = "audio"

    def __init__(self, track: MediaStreamTrack, gate: asyncio.Event) -> None:
        super().__init__()
        self._track = track
        self._gate = gate

    async def recv(self) -> Any:
        await self._gate.wait()
        return await self._track.recv()

    def stop(self) -> None:
        super().stop()
        self._track.stop()
