"""Reads what is logged while tests run, and finds what no log may hold.

That is law 10 of ARCHITECTURE.md: no token, no secret, no full phone number, and no session
description below the level TRACE. What the tests use of them is known, so it can be looked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message

LEVEL = "DEBUG"
"""The least level that is read: who logs at TRACE wants to see session descriptions."""

_SECRETS = (
    # As Meta's begin; the random id of a call may have the same letters in it.
    r"(?P<token>(?<![\w.+/])EAA[\w-]{6,})",
    # Of simulator/settings.py, and of the tests.
    r"(?P<secret>\b(?:simulated|not-a-real)-(?:app-secret|verification-token))",
    r"(?P<sdp>a=(?:ice-pwd|ice-ufrag|fingerprint|crypto|candidate):)",
)
# Ada's and her friends', and the businesses'.
_NUMBERS = r"(?P<number>\b(?:49 ?15[15] ?\d{4} ?\d{2,4}|1555\d{7}|493055501111)\b)"

_IN_LOGS = re.compile("|".join((*_SECRETS, _NUMBERS)))
_IN_ANSWERS = re.compile("|".join(_SECRETS))

_found: list[str] = []


def leak(text: str) -> str | None:
    """What a log may not hold and this text does: "token", "secret", "sdp", "number", or None."""
    match = _IN_LOGS.search(text)
    return match and match.lastgroup


def read_log(source: str, text: str) -> None:
    """Read what a program has logged.

    Args:
        source: What the program is called.
        text: Its log.
    """
    lines = ((leak(line), line) for line in text.splitlines())
    _found.extend(f"{kind} in the log of {source}: {line}" for kind, line in lines if kind)


def read_answer(source: str, text: str) -> None:
    """Read what a command has told its user, who may see phone numbers.

    Args:
        source: What the command is called.
        text: What it printed.
    """
    if (match := _IN_ANSWERS.search(text)) is not None:
        _found.append(f"{match.lastgroup} in what {source} printed: {text}")


class _Sink:
    """What loguru writes to, from the first test of a process on."""

    is_open = False

    def write(self, message: Message) -> None:
        if (kind := leak(message)) is not None:
            record = message.record
            _found.append(f"{kind} logged by {record['name']}:{record['line']}: {message.strip()}")

    def stop(self) -> None:
        """Loguru lets go of it: somebody has removed all sinks."""
        self.is_open = False


class _Handler(logging.Handler):
    """Takes what other packages log by `logging`, at the levels that they are set to."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if (kind := leak(text)) is not None:
            _found.append(f"{kind} logged by {record.name}: {text}")


_SINK, _HANDLER = _Sink(), _Handler()


@contextmanager
def watched() -> Iterator[list[str]]:
    """Read everything that is logged meanwhile.

    Yields:
        What was found, one line for each; grows.
    """
    _found.clear()
    if not _SINK.is_open:
        # As the server logs (serving/logs.py): without the values of variables in tracebacks.
        logger.add(_SINK, level=LEVEL, format="{message}", backtrace=False, diagnose=False)
        _SINK.is_open = True
    logging.getLogger().addHandler(_HANDLER)
    try:
        yield _found
    finally:
        logging.getLogger().removeHandler(_HANDLER)
