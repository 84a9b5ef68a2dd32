"""Keeps the verification token, which Meta sends in a query, out of web servers' access logs."""

from __future__ import annotations

import logging
import re

ACCESS_LOGGERS = ("uvicorn.access", "aiohttp.access")

_TOKEN = re.compile(r"(hub\.verify_token=)[^&\s\"]*")


def hide_verification_token() -> None:
    """Mask the token in the access logs of uvicorn and aiohttp. Safe to repeat."""
    for name in ACCESS_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(f, _MaskToken) for f in logger.filters):
            logger.addFilter(_MaskToken())


class _MaskToken(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_masked, record.args))
        # The message, and the parts of it that aiohttp adds for structured logs.
        for name, value in vars(record).items():
            setattr(record, name, _masked(value))
        return True


def _masked(value: object) -> object:
    return _TOKEN.sub(r"\1***", value) if isinstance(value, str) else value
