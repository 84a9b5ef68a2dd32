"""Recording and transcription of a call by Meta."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat_whatsapp.errors import ConfigError

MAX_PURPOSE_CHARS = 250

LANGUAGES = (
    *("en", "en_AU", "en_CA", "en_GB", "en_IN", "en_NZ", "en_US"),
    *("de", "es", "es_ES", "fr", "hi", "it", "kn", "nl", "pt", "te", "vi"),
)
"""Languages of the spoken notice."""


@dataclass(frozen=True)
class Capture:
    """Asks Meta to record or to transcribe a call.

    Meta speaks a notice to both sides first: the bot hears it too.

    Source: Meta, call recording; call transcription.

    Parameters:
        purpose: Why, as the notice says it; 250 characters at most.
        announcement_language: Language of the notice, one of `LANGUAGES`.

    Raises:
        ConfigError: The purpose is too long, or the language is none of Meta's.
    """

    purpose: str = ""
    announcement_language: str = "en_US"

    def __post_init__(self) -> None:
        if len(self.purpose) > MAX_PURPOSE_CHARS:
            raise ConfigError(
                f"The purpose of a recording or transcript has {len(self.purpose)} characters, "
                f"but Meta takes {MAX_PURPOSE_CHARS} at most: shorten it."
            )
        if self.announcement_language not in LANGUAGES:
            raise ConfigError(
                f"Meta cannot announce a recording or transcript in "
                f"{self.announcement_language!r}: use one of {', '.join(LANGUAGES)}."
            )

    def body(self) -> dict[str, str]:
        """The object that goes into a request."""
        purpose = {"purpose": self.purpose} if self.purpose else {}
        return {
            "status": "ENABLED",
            **purpose,
            "announcement_language": self.announcement_language,
        }
