"""One run of `pipecat eval`: its connection, and the call of a simulated phone behind it.

`pipecat eval` speaks RTVI. The user's audio and keys become those of the phone, and what the phone
hears is what `pipecat eval` hears. All else is between `pipecat eval` and the bot's pipeline, and
passed on as it is: the handshake, the context to begin with, and what the bot reports of itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from pipecat.evals import serializer
from pipecat.processors.frameworks.rtvi.models import MESSAGE_LABEL

from pipecat_whatsapp.simulator.evaluation.ear import Ear
from pipecat_whatsapp.simulator.evaluation.inside import Inside
from pipecat_whatsapp.simulator.evaluation.voice import StreamedVoice
from pipecat_whatsapp.simulator.phone_call import PhoneCall, PhoneError
from pipecat_whatsapp.simulator.sound import RATE
from pipecat_whatsapp.simulator.story import Echo, end_in_words

NO_TEXT = "A call carries speech and no text: write `user: {modality: audio}` into the scenario."
NO_IMAGE = "A call carries sound and no image: leave `image:` out of the scenario."
NO_MESSAGE = "This is no message of pipecat eval."

_LONGEST_REASON = 123  # Bytes (RFC 6455 section 5.5).


class RefusedError(Exception):
    """The scenario wants what a call cannot do; one sentence says what."""


class Conversation:
    """Holds one conversation.

    Args:
        socket: The connection of `pipecat eval`.
        call: A call that rings.
        inside: A look inside its bot.
        echo: Takes what somebody at the terminal should know.
    """

    def __init__(
        self, socket: web.WebSocketResponse, call: PhoneCall, inside: Inside, echo: Echo
    ) -> None:
        self._socket = socket
        self._call = call
        self._inside = inside
        self._echo = echo
        self._voice = StreamedVoice(call)
        self._ear = Ear(self._on_sound)
        self._serializer = _new_serializer()
        self._out: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async def hold(self, *, wants_sound: bool) -> None:
        """Talk until either side has had enough.

        Args:
            wants_sound: Whether `pipecat eval` wants to hear the bot.
        """
        if wants_sound:
            self._call.media.on_heard = self._ear.take
        self._inside.on_message = self._out.put_nowait
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._await_end())
                says, types = self._voice.speak(), self._voice.type()
                work = (self._tell(), self._inside.feed(), says, types)
                tasks = [group.create_task(each) for each in work]
                await self._listen()
                for task in tasks:
                    task.cancel()
                await self._call.hang_up()
        finally:
            self._ear.close()

    async def _listen(self) -> None:
        """Do as `pipecat eval` says, from the moment on at which the bot has answered."""
        try:
            await self._call.answered()
            async for message in self._socket:
                await self._take(message)
        except (PhoneError, TimeoutError) as error:
            await self._close(WSCloseCode.TRY_AGAIN_LATER, f"The bot did not answer: {error}.")
        except RefusedError as error:
            await self._close(WSCloseCode.POLICY_VIOLATION, str(error))

    async def _take(self, message: WSMessage) -> None:
        try:
            content: Any = json.loads(message.data) if message.type is WSMsgType.TEXT else None
            await self._obey(content["type"], _fields(content.get("data") or {}), message.data)
        except (ValueError, TypeError, KeyError) as error:
            raise RefusedError(NO_MESSAGE) from error

    async def _obey(self, kind: str, data: Mapping[str, Any], text: str) -> None:
        match kind, data.get("t"):
            case "raw-audio", _:
                audio, rate = base64.b64decode(data["base64Audio"]), data["sampleRate"]
                if not isinstance(rate, int) or rate <= 0 or data["numChannels"] not in (1, 2):
                    raise ValueError(NO_MESSAGE)
                self._voice.say(audio, rate, data["numChannels"])
            case "dtmf", _:
                self._voice.press("".join(data["buttons"]))
            case "send-text", _:
                raise RefusedError(NO_TEXT)
            case "client-message", serializer.EVAL_IMAGE_MESSAGE_TYPE:
                raise RefusedError(NO_IMAGE)
            case "client-message", serializer.EVAL_CANCEL_MESSAGE_TYPE:
                await self._call.hang_up()
            case _:
                frame = await self._serializer.deserialize(text)
                if frame is not None:
                    self._inside.send(frame)

    def _on_sound(self, pcm: bytes) -> None:
        sound = {"audio": base64.b64encode(pcm).decode(), "sampleRate": RATE}
        kind = serializer.EVAL_BOT_AUDIO_TYPE
        self._out.put_nowait({"label": MESSAGE_LABEL, "type": kind, "data": sound})

    async def _tell(self) -> None:
        """Send what there is to tell, until cancelled."""
        while True:
            message = await self._out.get()
            # It goes when it wants to; who listens to it notices.
            with suppress(ConnectionError):
                await self._socket.send_str(json.dumps(message))

    async def _await_end(self) -> None:
        """Close the connection when the call is over."""
        reason = await self._call.ended(timeout=None)
        await self._socket.close(message=end_in_words(reason).encode())

    async def _close(self, code: int, why: str) -> None:
        self._echo(why)
        await self._socket.close(code=code, message=why.encode()[:_LONGEST_REASON])


def _fields(data: object) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(NO_MESSAGE)
    return data


def _new_serializer() -> serializer.EvalSerializer:
    """What turns messages of `pipecat eval` into frames; before pipecat 1.9 by another name."""
    kind = getattr(serializer, "EvalSerializer", None) or serializer.RTVIEvalSerializer
    made: serializer.EvalSerializer = kind()
    return made
