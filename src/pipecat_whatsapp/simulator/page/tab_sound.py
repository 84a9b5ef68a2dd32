"""The sound of one call in a tab: brought up before the call is, so that no syllable is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from pipecat_whatsapp.errors import SimulatorError
from pipecat_whatsapp.simulator.offer import AnswerError
from pipecat_whatsapp.simulator.page.browser_leg import BrowserLeg
from pipecat_whatsapp.simulator.page.desk import NotNowError, Seat
from pipecat_whatsapp.simulator.phone_call import PhoneCall

PATIENCE = 20.0
"""Seconds that it may take; the page has the microphone before it asks for a call."""

_LOOK = 0.02


class SoundError(SimulatorError):
    """The browser's sound did not come up; one sentence says what to do."""


class TabSound:
    """The sound between one call and a tab. Make it with `open`, and close it.

    Args:
        leg: The connection to the browser.
    """

    def __init__(self, leg: BrowserLeg) -> None:
        self._leg = leg
        self._is_answered = False

    @classmethod
    async def open(cls, seat: Seat) -> Self:
        """Offer the tab sound.

        Raises:
            SoundError: There is no socket for it.
        """
        try:
            leg = await BrowserLeg.open(seat.host)
        except OSError as error:
            raise SoundError(f"There is no socket for the sound: {error.strerror}.") from error
        seat.tell("media", {"sdp": leg.offer})
        return cls(leg)

    def take_answer(self, sdp: str) -> None:
        """Connect; a second answer changes nothing.

        Raises:
            NotNowError: It cannot carry sound.
        """
        if self._is_answered:
            return
        try:
            self._leg.start(sdp)
        except AnswerError as error:
            raise NotNowError(f"The browser's answer carries no sound: {error}.") from error
        self._is_answered = True

    async def is_up(self, *, unless: Callable[[], bool]) -> bool:
        """Wait until sound can flow.

        Args:
            unless: Whether there is no use in waiting any more.

        Returns:
            Whether it can; else there was no use any more.

        Raises:
            SoundError: It did not come up.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not (self._leg.connected or unless()):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(_LOOK)
        except TimeoutError as error:
            raise SoundError(
                "No sound gets through from this browser: reload the page, and call again."
            ) from error
        return not unless()

    def join(self, call: PhoneCall) -> None:
        """Let browser and call hear each other."""
        self._leg.on_opus = call.media.relay
        call.media.on_heard = self._leg.play

    async def close(self) -> None:
        """End it."""
        await self._leg.close()
