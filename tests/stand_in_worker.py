"""A worker without calls, which the supervisor's tests start. It does as its arguments say."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from pipecat_whatsapp.serving.channel import (
    CallBegan,
    Close,
    Drain,
    Failed,
    Message,
    NodeDied,
    Ready,
    decode,
    encode,
)
from pipecat_whatsapp.serving.settings import Assignment, Role


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assignment = Assignment.from_json(sys.stdin.read())
    end = socket.socket(fileno=assignment.channel)
    folder, behaviour = Path(assignment.settings.bot), assignment.settings.arguments

    def note(word: str) -> None:
        told = {"word": word, "pid": os.getpid(), "node": assignment.node, "seat": assignment.seat}
        told |= {"role": assignment.role, "is_first": assignment.is_first}
        with (folder / "notes").open("a") as file:
            file.write(json.dumps(told) + "\n")

    # Its call begins, and ends, as the test says.
    signal.signal(signal.SIGUSR1, lambda *_: end.sendall(encode(CallBegan())))
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(0))
    note("started")
    if "fails" in behaviour:
        end.sendall(encode(Failed("The bot has no voice.")))
        sys.exit(1)
    if "crashes" in behaviour:
        sys.exit(3)
    if "loads" in behaviour:
        signal.pause()
    if "forks" in behaviour and not (child := os.fork()):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pause()
    elif "forks" in behaviour:
        note(f"child: {child}")
    end.sendall(encode(Ready()))
    note("ready")
    for message in _messages(end):
        match message:
            case NodeDied(node):
                note(f"dead: {node}")
            case Drain():
                note("drain")
                if "stays" not in behaviour and assignment.role is not Role.DOOR:
                    return
            case Close():
                note("close")
                if "deaf" not in behaviour:
                    return
    note("orphan")


def _messages(end: socket.socket) -> Iterator[Message]:
    with end.makefile("rb") as lines:
        for line in lines:
            yield decode(line)


if __name__ == "__main__":
    main()
