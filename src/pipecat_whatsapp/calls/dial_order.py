"""A call to place."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_whatsapp.calls.bot import Bot, check_callback_data
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.events import User


@dataclass(frozen=True, kw_only=True)
class DialOrder:
    """Whom to call, from which number, and on which terms.

    Parameters:
        user: Whom to call.
        phone_number_id: The business number that calls.
        bot: The bot that talks.
        ring_timeout: Seconds until a call that nobody picks up is ended.
        biz_opaque_callback_data: Comes back with every webhook of the call; 512 characters at most.
        recording: Let Meta record the call.
        transcription: Let Meta transcribe the call.

    Raises:
        ConfigError: No call can be placed like this.
    """

    user: User
    phone_number_id: str
    bot: Bot
    ring_timeout: float
    biz_opaque_callback_data: str | None = None
    recording: Capture | None = None
    transcription: Capture | None = None

    def __post_init__(self) -> None:
        if self.user.key is None:
            raise ConfigError(
                "The call was not placed, because the user has neither a number nor an id."
            )
        check_callback_data(self.biz_opaque_callback_data)
