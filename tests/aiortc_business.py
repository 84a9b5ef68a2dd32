"""A business with a real WebRTC stack: aiortc, which speaks a tone and keeps what it hears."""

from __future__ import annotations

import asyncio
from typing import Self

import numpy as np
import pytest
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket as AiortcPacket
from av import AudioFrame
from av.audio.resampler import AudioResampler

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE) -> bytes:
    times = np.arange(int(seconds * rate)) / rate
    return bytes((9000 * np.sin(2 * np.pi * hertz * times)).astype(np.int16).tobytes())


def loud(pcm: bytes) -> bytes:
    """The part of a recording that is not silence, in 20 ms frames."""
    frames = [pcm[at : at + 640] for at in range(0, len(pcm), 640)]
    return b"".join(f for f in frames if np.abs(np.frombuffer(f, np.int16)).max() > 2000)


def pitch(pcm: bytes, rate: int = RATE) -> float:
    samples = np.frombuffer(pcm, np.int16).astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(samples)))) * rate / len(samples)


def spy_on_rtp(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[bytes]:
    """Every RTP packet that aiortc has decrypted, before it picks those it understands."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    parse = AiortcPacket.parse

    def spy(data: bytes, *rest: object) -> object:
        seen.put_nowait(data)
        return parse(data, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(AiortcPacket, "parse", spy)
    return seen


class ToneTrack(AudioStreamTrack):
    """440 Hz, in aiortc's own 20 ms frames at 8000 Hz."""

    at = 0

    async def recv(self) -> AudioFrame:
        frame = await super().recv()
        assert isinstance(frame, AudioFrame)
        times = (np.arange(frame.samples) + self.at) / frame.sample_rate
        self.at += frame.samples
        sound = (9000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        frame.planes[0].update(sound.tobytes())
        return frame


class Business:
    """One business end; use it with `async with`."""

    def __init__(self) -> None:
        # By default it asks a STUN server on the internet.
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.heard = bytearray()
        self.connected = asyncio.Event()
        self.closed = asyncio.Event()
        self._more = asyncio.Event()
        self._listening: list[asyncio.Task[None]] = []
        self.pc.addTrack(ToneTrack())
        self.pc.on("track", self._on_track)
        self.pc.on("connectionstatechange", self._on_state)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pc.close()
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    async def answer(self, offer: str, setup: str = "active") -> str:
        """Answer an offer, with the one fingerprint that WhatsApp allows.

        Args:
            offer: The offer.
            setup: Our part in DTLS: "active" or "passive".
        """
        await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        answer = await self.pc.createAnswer()
        assert answer is not None
        sdp = answer.sdp.replace("a=setup:active", f"a=setup:{setup}")
        await self.pc.setLocalDescription(RTCSessionDescription(sdp, "answer"))
        return self._local_sdp()

    async def offer(self) -> str:
        """Place a call: an offer of Opus, with the one fingerprint that WhatsApp allows."""
        opus = [c for c in RTCRtpSender.getCapabilities("audio").codecs if "opus" in c.mimeType]
        (transceiver,) = self.pc.getTransceivers()
        transceiver.setCodecPreferences(opus)
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self._local_sdp()

    async def take(self, answer: str) -> None:
        """Take the answer to the offer: ICE and DTLS start."""
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    def _local_sdp(self) -> str:
        lines = self.pc.localDescription.sdp.split("\r\n")
        return "\r\n".join(
            line
            for line in lines
            if not line.startswith("a=fingerprint:sha-3")
            and not line.startswith("a=fingerprint:sha-5")
        )

    async def hears(self, seconds: float, patience: float) -> bytes:
        """Wait until so much sound, not silence, was heard, and return it."""
        async with asyncio.timeout(patience):
            while len(sound := loud(bytes(self.heard))) < seconds * 2 * RATE:
                await self._more.wait()
        return sound

    def _on_state(self) -> None:
        if self.pc.connectionState == "connected":
            self.connected.set()
        if self.pc.connectionState in ("closed", "failed"):
            self.closed.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._listening.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            for part in resampler.resample(frame):
                self.heard += part.to_ndarray().tobytes()
            self._more.set()
            self._more.clear()
