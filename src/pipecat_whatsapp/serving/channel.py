"""What a parent process and its workers say to each other: JSON lines over a socket pair.

::

    worker -> parent   Ready, Alive, CallBegan, Failed
    parent -> worker   Drain, Close, NodeDied

The end of the channel is a word too: to a worker, that its parent has died.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Self, TypeAlias

ALIVE_SECONDS = 5.0

_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Ready:
    """A worker takes calls."""


@dataclass(frozen=True)
class Alive:
    """A worker's event loop runs; said every `ALIVE_SECONDS`."""


@dataclass(frozen=True)
class CallBegan:
    """The one call of a worker has begun."""


@dataclass(frozen=True)
class Failed:
    """A worker cannot go on.

    Parameters:
        why: One sentence.
    """

    why: str


@dataclass(frozen=True)
class Drain:
    """Take no further call, end when the running ones have ended."""


@dataclass(frozen=True)
class Close:
    """End all calls now, and then yourself."""


@dataclass(frozen=True)
class NodeDied:
    """Another process of this machine has died without ending its calls.

    Parameters:
        node: Its name.
    """

    node: str


Message: TypeAlias = Ready | Alive | CallBegan | Failed | Drain | Close | NodeDied

_KINDS = {kind.__name__: kind for kind in (Ready, Alive, CallBegan, Failed, Drain, Close, NodeDied)}


def encode(message: Message) -> bytes:
    """A message as a line."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line."""
    fields = json.loads(line)
    message: Message = _KINDS[fields.pop("kind")](**fields)
    return message


class Channel:
    """One end of it. Iterating gives what the other end says, until that has gone.

    Args:
        reader: From the other end.
        writer: To the other end.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Speak over a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST_LINE))

    def send(self, message: Message) -> None:
        """Say something; it is lost when the other end has gone."""
        self._writer.write(encode(message))

    async def __aiter__(self) -> AsyncIterator[Message]:
        while line := await self._line():
            yield decode(line)

    async def _line(self) -> bytes:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return b""
        # Whoever was killed may leave half a line.
        return line if line.endswith(b"\n") else b""

    def close(self) -> None:
        """Say no more."""
        self._writer.close()
