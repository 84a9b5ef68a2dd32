from __future__ import annotations

import pytest

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.capture import Capture


def test_the_body_is_as_meta_documents_it() -> None:
    assert Capture("quality assurance", "en_GB").body() == {
        "status": "ENABLED",
        "purpose": "quality assurance",
        "announcement_language": "en_GB",
    }


def test_without_a_purpose_none_is_sent() -> None:
    assert Capture().body() == {"status": "ENABLED", "announcement_language": "en_US"}


def test_the_purpose_has_250_characters_at_most() -> None:
    Capture("p" * 250)
    with pytest.raises(ConfigError, match="251 characters"):
        Capture("p" * 251)


@pytest.mark.parametrize("language", ["ja", "EN_US", "en-US", ""])
def test_meta_announces_only_in_its_own_languages(language: str) -> None:
    with pytest.raises(ConfigError, match="en_US, de"):
        Capture(announcement_language=language)
