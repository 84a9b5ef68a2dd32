"""How the server's processes log: to standard error, every line with its call's id."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp.http import HttpProcessingError
from loguru import logger

FORMAT = (
    "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <8} | {process} | {extra[call_id]} | "
    "{name} - {message}"
)


def set_up_logging(level: str, *, as_json: bool) -> None:
    """Log to standard error, also what comes by way of `logging`.

    Args:
        level: The least level that is logged.
        as_json: Whether every line is a JSON object.
    """
    logger.remove()
    logger.configure(extra={"call_id": "-"})
    # The values of variables, which loguru would show in tracebacks, hold secrets.
    logger.add(sys.stderr, level=level, format=FORMAT, serialize=as_json, diagnose=False)
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)


@contextmanager
def default_log_removable() -> Iterator[None]:
    """Let a file call `logger.remove(0)`, as many do: loguru's own handler has gone already."""
    remove = logger.remove

    def remove_unless_gone(handler_id: int | None = None) -> None:
        if handler_id != 0:
            remove(handler_id)

    logger.remove = remove_unless_gone  # type: ignore[method-assign]
    try:
        yield
    finally:
        del logger.remove


class _ToLoguru(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            # Whoever sends us nonsense shall not fill the log with it.
            logger.debug("Refused a request that is no HTTP")
            return
        named = logger.patch(lambda told: told.update({"name": record.name}))
        named.opt(exception=record.exc_info).log(_level_of(record), "{}", _message_of(record))


def _level_of(record: logging.LogRecord) -> str | int:
    """Its level's name, or its number where loguru has no such name."""
    try:
        return logger.level(record.levelname).name
    except ValueError:
        return record.levelno


def _message_of(record: logging.LogRecord) -> str:
    """What it says; without its arguments where they do not fit, for whoever logs shall go on."""
    try:
        return record.getMessage()
    except (KeyError, TypeError, ValueError):
        return str(record.msg)
