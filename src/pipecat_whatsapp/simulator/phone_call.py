"""One call of a WhatsApp user's phone: what the user does, says and hears.

The call keeps the rules of WhatsApp's client: once it is answered, by the business's accept or by
the user's pick-up, it sends silence while nobody speaks, and is dropped when the business sends
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.meta.events import MetaErrorInfo
from pipecat_whatsapp.simulator.endpoint import LiteEndpoint
from pipecat_whatsapp.simulator.listening import Listener
from pipecat_whatsapp.simulator.media_rules import MediaRules, MediaWatch
from pipecat_whatsapp.simulator.phone_media import PhoneMedia
from pipecat_whatsapp.simulator.recording import Recording
from pipecat_whatsapp.simulator.sound import read_wav
from pipecat_whatsapp.simulator.voice import PACKET_TIME

_NO_MEDIA = MetaErrorInfo(
    code=138021, title="No media received", message="The client received no media from the business"
)


class PhoneError(SimulatorError):
    """The call ended while something was expected of it.

    Args:
        reason: Why it ended, as `PhoneCall.ended` returns it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the call is over: {reason}")
        self.reason = reason


class MetaCall(Protocol):
    """A call as Meta's side knows it."""

    @property
    def id(self) -> str:
        """The call id ("wacid....")."""

    def hang_up(self, error: MetaErrorInfo | None = None) -> Awaitable[object]:
        """The user's client ends the call; `error` says what went wrong.

        Returns:
            Done when the business has been told.
        """


class PhoneCall:
    """One call of a phone; implements `Leg`. Made by `Phone.dial`.

    Parameters:
        endpoint: The media end of the call.
        rules: When to give a silent call up.
        dtx: Whether nearly nothing is sent while nobody speaks, see `Voice`.

    Attributes:
        recording: What the user hears.
        media: What the phone sends and hears.
        meta_call: The call on Meta's side; None until it rings.
        offer_sdp: The phone's own offer; None when the business calls.
    """

    HUNG_UP = "caller hung up"
    """The reason for the end when the user hangs up."""

    def __init__(self, endpoint: LiteEndpoint, *, rules: MediaRules, dtx: bool = False) -> None:
        self.meta_call: MetaCall | None = None
        self.offer_sdp: str | None = None
        self.media = PhoneMedia(endpoint, dtx=dtx, on_change=self._change)
        self.recording = self.media.recording
        self._voice = self.media.voice
        self._listener = Listener(self.recording)
        self._watch = MediaWatch(
            rules, last_packet=lambda: self.media.last_packet, on_silence=self._give_up
        )
        self._has_answer = False
        self._closing: asyncio.Task[None] | None = None
        self._reason: str | None = None
        self._changed = asyncio.Event()
        endpoint.on_connected = self._on_connected

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._reason is not None

    @property
    def id(self) -> str:
        """The call id ("wacid...."); empty until it rings."""
        return self.meta_call.id if self.meta_call else ""

    def offer(self, variant: str = "today") -> str:
        """Write the call's offer.

        Raises:
            ValueError: There is no such variant.
        """
        self.offer_sdp = self.media.offer(variant)
        return self.offer_sdp

    def on_answer(self, sdp: str) -> None:
        """The business's answer came; the same one again changes nothing.

        Raises:
            AnswerError: It cannot carry a call.
        """
        if not self._has_answer and self._reason is None:
            self.media.start(sdp)
            self._has_answer = True

    def on_accepted(self) -> None:
        """The call is answered, and media must flow."""
        if self._reason is None and self.recording.accepted_at is None:
            self.recording.accepted_at = accepted = time.monotonic()
            self._watch.start(accepted)
            self._speak_if_ready()
            self._change()

    def on_ended(self, reason: str) -> None:
        """The call was ended by the business or by Meta."""
        self._finish(reason)

    def recorded(self) -> bytes:
        """All that was heard so far, as `sound` has it."""
        return self.recording.pcm

    async def answered(self, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Wait until the call is answered.

        Args:
            timeout: How long to wait, s.

        Raises:
            PhoneError: The call ended first.
            TimeoutError: Nothing happened in time.
        """
        await self._until(lambda: self.recording.accepted_at is not None, timeout)

    async def connected(self, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Wait until media can flow: ICE and DTLS are up. Raises as `answered` does."""
        await self._until(lambda: self.media.endpoint.connected, timeout)

    async def until(
        self,
        predicate: Callable[[Recording], bool],
        timeout: float | None = 30.0,  # noqa: ASYNC109
    ) -> None:
        """Wait until the recording is as wanted; looked at after every packet.

        Raises as `answered` does.
        """
        await self._until(lambda: predicate(self.recording), timeout)

    async def wait_sound(self, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Wait until the first sound, not silence, is heard. Raises as `answered` does."""
        await self.until(lambda recording: recording.sound_seconds > 0, timeout)

    async def say(self, wav: str | Path | bytes) -> None:
        """Speak, as soon as the call is up; returns when all has been said.

        Args:
            wav: A 16-bit mono WAV file, or PCM: 16-bit mono at 16000 Hz.

        Raises:
            PhoneError: The call ended before.
            ValueError: The file is not 16-bit mono.
            OSError: The file cannot be read.
        """
        end = self._voice.say(wav if isinstance(wav, bytes) else read_wav(wav))
        await self._until(lambda: self._voice.spoken >= end, None)

    async def hears(self, wav: str | Path | bytes, timeout: float = 10.0) -> bool:  # noqa: ASYNC109
        """Wait for a recorded sound, in what was heard since this last found one.

        It is known by how its spectrum changes, so that Opus, loss and level do not matter, but
        every word must have been said as it is recorded, from the first to the last.

        Args:
            wav: A 16-bit mono WAV file, or PCM: 16-bit mono at 16000 Hz.
            timeout: How long to wait, s.

        Returns:
            Whether it was heard, before the time was over and before the call was.

        Raises:
            ValueError: The file is not 16-bit mono, or all silence.
            OSError: The file cannot be read.
        """
        wanted = wav if isinstance(wav, bytes) else read_wav(wav)
        return await self._listener.hears(wanted, timeout=timeout, is_over=lambda: self.is_over)

    async def press(self, keys: str, tone: float = 0.1) -> None:
        """Press keys, one after the other (RFC 4733); returns when all have been sent.

        Args:
            keys: Of "0123456789*#ABCD".
            tone: How long each is held, s.

        Raises:
            PhoneError: The call ended before.
            ValueError: There is no such key.
        """
        end = self._voice.press(keys, max(1, round(tone / PACKET_TIME)))
        await self._until(lambda: self._voice.pressed >= end, None)

    async def hang_up(self) -> None:
        """End the call as a user does: tell Meta, say goodbye, close. Nothing if it is over."""
        self._finish(self.HUNG_UP, tell_meta=True)
        await self._closed()

    def vanish(self) -> None:
        """Drop off the network: Meta hears nothing, the business hears nothing."""
        self.media.endpoint.vanish()
        self._finish("vanished")

    async def ended(self, timeout: float | None = 30.0) -> str:  # noqa: ASYNC109
        """Wait until the call is over and everything of it is closed.

        Args:
            timeout: How long to wait, s.

        Returns:
            Why: "caller hung up", "vanished", "no media", or what Meta's side said, such as
            "rejected", "terminated" or "not answered".

        Raises:
            TimeoutError: It is still up.
        """
        async with asyncio.timeout(timeout):
            while self._reason is None:
                await self._changed.wait()
            await self._closed()
        return self._reason

    async def _until(self, ready: Callable[[], bool], patience: float | None) -> None:
        async with asyncio.timeout(patience):
            while not ready():
                if self._reason is not None:
                    raise PhoneError(self._reason)
                await self._changed.wait()

    def _change(self) -> None:
        """Wake everyone who waits, to look again."""
        self._changed.set()
        self._changed.clear()

    def _on_connected(self) -> None:
        self._speak_if_ready()
        self._change()

    def _speak_if_ready(self) -> None:
        up = self.media.endpoint.connected and self.recording.accepted_at is not None
        if up and self._reason is None:
            self.media.speak()

    def _give_up(self) -> None:
        self._finish("no media", tell_meta=True, error=_NO_MEDIA)

    def _finish(
        self, reason: str, *, tell_meta: bool = False, error: MetaErrorInfo | None = None
    ) -> None:
        """The first reason to end is the one that counts."""
        if self._reason is None:
            self._reason = reason
            self._closing = asyncio.create_task(self._close(tell_meta=tell_meta, error=error))
            self._change()

    async def _close(self, *, tell_meta: bool, error: MetaErrorInfo | None) -> None:
        try:
            self._watch.stop()
            await self.media.hush()
            if tell_meta and self.meta_call is not None:
                await self.meta_call.hang_up(error)
            self.media.say_goodbye()
        finally:
            await self.media.endpoint.close()

    async def _closed(self) -> None:
        if self._closing is not None:
            await asyncio.shield(self._closing)
