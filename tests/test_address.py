from __future__ import annotations

import pytest

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.address import read_user
from pipecat_whatsapp.meta.events import User


@pytest.mark.parametrize(
    "text",
    [
        "49151234567",
        "+49151234567",
        "0049 151 234567",
        " +49 (0)151 / 23-45-67 ",
        "+49.151.234.567",
        "+49 ( 0 ) 151\u00a0234\u2011567",
        "tel:+49-151-234567",
    ],
)
def test_a_phone_number_is_read_in_any_usual_notation(text: str) -> None:
    assert read_user(text) == User(phone="49151234567")


@pytest.mark.parametrize("text", ["DE.900000000000000001", "US.ENT.9aZ", f"BR.{'x' * 128}"])
def test_a_business_scoped_user_id_is_read(text: str) -> None:
    assert read_user(f" {text}\n") == User(user_id=text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0151 234567",
        "000151234567",
        "+123456",
        "+1234567890123456",
        "+49 151 234567 ext. 3",
        "+49 151 ٢٣٤٥٦٧",
        "++49151234567",
        "FR.",
        "de.900",
        "DE.9-0",
        f"DE.{'9' * 129}",
        "ada",
    ],
)
def test_what_is_neither_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="country code") as caught:
        read_user(text)
    assert not text.strip() or text.strip() not in str(caught.value)
