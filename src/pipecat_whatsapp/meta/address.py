"""Reads how people write a WhatsApp user down: a phone number or a business-scoped user id."""

from __future__ import annotations

import re

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.events import User

_USER_ID = re.compile(r"[A-Z]{2}(\.ENT)?\.[A-Za-z0-9]{1,128}")
_TRUNK_PREFIX = re.compile(r"\(\s*0\s*\)")
_SEPARATORS = re.compile(r"[\s().\-\u2010-\u2015/]+")
_INTERNATIONAL = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})")


def read_user(text: str) -> User:
    """Read a WhatsApp user as somebody typed them.

    Source: ITU-T E.123 (notation) and E.164 (length); Meta, business-scoped user ids.

    Args:
        text: A phone number with its country code, such as "+49 (0)151 / 23-45-67", "0049151234567"
            or "49151234567"; or a business-scoped user id, such as "DE.900000000000000001".

    Raises:
        ConfigError: It is neither.
    """
    text = text.strip()
    if _USER_ID.fullmatch(text):
        return User(user_id=text)
    digits = _SEPARATORS.sub("", _TRUNK_PREFIX.sub("", text.removeprefix("tel:")))
    number = _INTERNATIONAL.fullmatch(digits)
    if number is None:
        raise ConfigError(
            "The user cannot be told from what was given, because it is neither a phone number "
            "with its country code nor a user id: write +49 151 234567 or DE.900000000000000001."
        )
    return User(phone=number[1])
