"""Somebody who talks with a bot: hears its greeting, asks, hears the answer, and hangs up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from pipecat_whatsapp.simulator.phone_call import PhoneCall, PhoneError
from pipecat_whatsapp.simulator.sound import RATE
from pipecat_whatsapp.simulator.story import Story

GREETING_PATIENCE = 3.0
"""Seconds until the caller speaks first, to a bot that does not greet."""

ANSWER_PATIENCE = 15.0
"""Seconds that the bot may think about its answer."""

PAUSE = 1.0
"""Silence after which the bot seems to have finished a sentence, s."""

LAST_PAUSE = 6.0
"""Silence after which the caller takes the conversation to be over, s."""

LONGEST_CALL = 120.0
"""Seconds after which the caller hangs up on a bot that never stops talking."""


@dataclass(frozen=True)
class Part:
    """What the caller does in a conversation.

    Parameters:
        question: What they ask, PCM at `RATE`.
        name: What to call the question.
        keys: What they press after it, each when the bot has fallen silent.
    """

    question: bytes
    name: str
    keys: str = ""


async def converse(call: PhoneCall, part: Part, story: Story) -> str:
    """Hold one conversation, from the ring to the end.

    Args:
        call: A call that rings.
        part: What the caller does.
        story: Told what happens.

    Returns:
        Why the call ended, as `PhoneCall.ended` has it.
    """
    with suppress(PhoneError, TimeoutError):
        async with asyncio.timeout(LONGEST_CALL):
            await _talk(call, part, story)
    await call.hang_up()
    return await call.ended()


async def _talk(call: PhoneCall, part: Part, story: Story) -> None:
    await call.connected(timeout=None)
    story.tell("phone", "link up (ICE and DTLS)")
    await call.answered(timeout=None)
    story.tell("phone", "answered")
    await _listen(call, story, patience=GREETING_PATIENCE, quiet=PAUSE)
    story.tell("phone", f"says {part.name} ({len(part.question) / 2 / RATE:.1f} s)")
    before = call.recording.sound_seconds
    await call.say(part.question)
    talked_along = call.recording.sound_seconds > before
    if talked_along:
        story.tell("phone", "heard the bot meanwhile")
    for key in part.keys:
        await _listen(call, story, patience=PAUSE, quiet=PAUSE)
        story.tell("phone", f"presses {key}")
        await call.press(key)
    patience = LAST_PAUSE if talked_along else ANSWER_PATIENCE
    await _listen(call, story, patience=patience, quiet=LAST_PAUSE)


async def _listen(call: PhoneCall, story: Story, *, patience: float, quiet: float) -> None:
    """Wait until the bot has spoken and then been quiet, or has not spoken in time."""
    while await _hears_more(call, patience):
        story.tell("phone", "hears the bot")
        before = call.recording.sound_seconds
        while await _hears_more(call, PAUSE):
            pass
        heard = call.recording.sound_seconds - before
        story.tell("phone", f"hears a pause, after {heard:.1f} s of sound")
        patience = quiet - PAUSE


async def _hears_more(call: PhoneCall, within: float) -> bool:
    so_far = call.recording.sound_seconds
    with suppress(TimeoutError):
        await call.until(lambda recording: recording.sound_seconds > so_far, within)
    return call.recording.sound_seconds > so_far
