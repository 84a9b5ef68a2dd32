"""Phone numbers and secrets are taken out of JSON, and nothing else is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.simulator.inspection.masking import Mask
from pipecat_whatsapp.simulator.media import MediaStore
from pipecat_whatsapp.simulator.payloads import serialise, signature

NUMBER = "4915550002222"
SECRET = "simulated/secret+w\u00f6rd"
MASK = Mask({"phone": NUMBER}, [SECRET, ""])


@pytest.mark.parametrize(
    "spelt",
    [
        NUMBER,
        f"+{NUMBER}",
        f"00{NUMBER}",
        "+49 1555 0002222",
        "+49 (0) 1555 / 000-22-22",
        "+49\u00a01555\u202f000\u20112222",
        "(49) 1555.000.2222",
        "+49%201555%200002222",
        "4 9 1 5 5 5 0 0 0 2 2 2 2",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", '"{}"', "call {}, or 12", "x{}x", "(?n=%2B{}&y)", "%20{}"]
)
def test_a_number_keeps_its_ends_however_it_is_spelt(spelt: str, around: str) -> None:
    masked = MASK.text(around.format(spelt))
    assert "49…22" in masked
    assert "1555" not in masked
    assert "0002" not in masked


@pytest.mark.parametrize(
    "text",
    [
        f"1{NUMBER}",
        f"{NUMBER}1",
        "1790000000",
        "2026-11-27T00:39:49.123+00:00",
        "wacid.HBgNNDkxNTU1MDAwMjIyMhUCABEYEg==",
        "491555000222",
        "a=candidate:1 1 udp 2130706431 198.51.100.7 51420 typ host",
        "",
    ],
)
def test_other_digits_stay(text: str) -> None:
    assert MASK.text(text) == text


def test_a_short_number_shows_nothing() -> None:
    assert Mask({"phone": "12345678"}, []).text("+12345678") == "+…"


def test_of_two_numbers_the_longer_is_found_where_one_begins_with_the_other() -> None:
    mask = Mask({"from": "491555000", "to": NUMBER}, [])
    assert mask.text("491555000, +491555000 2222") == "49…00, +49…22"


@pytest.mark.parametrize(
    "value",
    [
        {"from": NUMBER},
        {"input": "+49 1555 0002222"},
        {"contacts": [{"wa_id": NUMBER}]},
        {"to": [NUMBER]},
        {"display_phone_number": int(NUMBER)},
        {"recipient": "0049 (0)1555 0002222"},
    ],
)
def test_numbers_are_known_from_the_fields_that_hold_them(value: dict[str, Any]) -> None:
    assert Mask(value, []).text(f"of {NUMBER}.") == "of 49…22."


@pytest.mark.parametrize("value", ["DE.900000000000000001", "1234", "", None, True, 1.5, {}])
def test_what_is_no_number_in_such_a_field_masks_nothing(value: Any) -> None:
    fields = {"to": value, "id": "1234", "text": "DE.900000000000000001 and 1234567890"}
    assert Mask(fields, []).json(fields) == fields


def test_json_is_masked_in_every_depth() -> None:
    told = {
        "list": [[f"to {NUMBER}", int(NUMBER), float(NUMBER), -int(NUMBER), 7, 0.5, None, True]],
        NUMBER: {SECRET: "x"},
    }
    assert MASK.json(told) == {
        "list": [["to 49…22", "49…22", "49…22", "-49…22", 7, 0.5, None, True]],
        "49…22": {"***": "x"},
    }


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        json.dumps(SECRET),
        serialise({"x": SECRET}).decode(),
        "simulated%2Fsecret%2Bw%C3%B6rd",
    ],
)
def test_a_secret_is_hidden_inside_of_longer_texts(spelt: str) -> None:
    masked = MASK.text(f"the token is {spelt}.")
    assert "***" in masked
    assert "secret" not in masked


def test_a_secret_that_begins_with_another_is_hidden_whole() -> None:
    assert Mask({}, ["token", "token-two"]).text("token-two and token") == "*** and ***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer EAAx.y-z_1", "Authorization: Bearer ***"),
        ('{"authorization":"bearer abc"}', '{"authorization":"bearer ***"}'),
        (f"{signature(b'{}', 'key')} (accepted)", "sha256=*** (accepted)"),
        ("a=ice-pwd:ExAmple+Pwd/0123456789==\r\na=x", "a=ice-pwd:***\r\na=x"),
        (r"a=ice-pwd:ExAmple+Pwd\/0123==\r\na=x", r"a=ice-pwd:***\r\na=x"),
        (
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc+/=|2^20|1:4\r\na=x",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***\r\na=x",
        ),
        ("http://127.0.0.1/a/?mid=1&ext=2&hash=a-b_c", "http://127.0.0.1/a/?mid=1&ext=2&hash=***"),
        ("?hash=abc&mid=1", "?hash=***&mid=1"),
        (f"a token, EA{'x' * 40}, of Meta", "a token, ***, of Meta"),
        (f"wacid.EA{'x' * 32}==", f"wacid.EA{'x' * 32}=="),
    ],
)
def test_secrets_are_known_by_their_form(text: str, masked: str) -> None:
    assert MASK.text(text) == masked


def test_the_key_of_a_download_address_is_hidden() -> None:
    file = MediaStore(lambda: "http://127.0.0.1:8000").put(b"sound", "audio/ogg")
    address, _, key = file.url.rpartition("hash=")
    assert MASK.json({"url": file.url, "sha256": file.sha256}) == {
        "url": f"{address}hash=***",
        "sha256": file.sha256,
    }
    assert len(key) > 20


@pytest.mark.parametrize(
    "name", ["Authorization", "access_token", "input_token", "hub.verify_token", "hash"]
)
def test_fields_that_hold_secrets_are_hidden_whole(name: str) -> None:
    assert MASK.json({name: "whatever it is", "x": {name: 7}}) == {name: "***", "x": {name: 7}}


numbers = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True)
words = st.text("abcdefgh_-/+=\u00e4\u00f6", min_size=8, max_size=20).map("key:".__add__)


@given(number=numbers, secret=words, data=st.data())
def test_no_number_and_no_secret_is_left(number: str, secret: str, data: st.DataObject) -> None:
    gaps = st.lists(
        st.sampled_from(["", "", " ", "-", " (", ") ", "\u00a0", "."]),
        min_size=len(number),
        max_size=len(number),
    )
    spelt = gaps.map(lambda drawn: "".join(map("".join, zip(drawn, number, strict=True))))
    # Digits beside a number would make it another one.
    other = st.text(st.characters(exclude_characters="0123456789%"))
    texts = st.lists(other | spelt | st.just(secret)).map(lambda parts: "|".join(parts))
    values = st.recursive(
        texts | st.just(int(number)) | st.none() | st.booleans() | st.integers() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
        max_leaves=12,
    )
    known = {"from": number}
    left = json.dumps(Mask(known, [secret]).json(data.draw(values)), ensure_ascii=False)
    assert secret not in left
    spaced = r"\W{0,2}".join(number)
    assert not re.search(rf"(?<![0-9]){spaced}(?![0-9])", left)


@given(
    st.recursive(
        st.text() | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_what_holds_neither_stays_as_it_is(value: Any) -> None:
    assert MASK.json(value) == value
