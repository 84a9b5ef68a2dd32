"""A call as one file: whole, and without what is nobody else's business."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiortc_business import pitch, tone
from ogg import decoded
from pipecat_whatsapp.meta.events import Direction
from pipecat_whatsapp.simulator import payloads
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.inspection.record import (
    CallRecord,
    Party,
    Remark,
    Sample,
    Step,
    Verdict,
)
from pipecat_whatsapp.simulator.inspection.saved_call import saved_call
from simulated_business import ADA, ANSWER, OFFER

ACCOUNT = Account()
SECRETS = (ACCOUNT.token, ACCOUNT.app_secret, ACCOUNT.verification_token)
CALL_ID = "wacid.HBgMEXAMPLEEXAMPLEAA=="
FACTS = payloads.CallFacts(CALL_ID, ADA, Direction.INBOUND, {"cta_payload": f"of +{ADA.phone}"})
SAMPLE = Sample(2.5, 41.0, 1.5, None, 0.0, 0.01, None, -12.0, -90.0)


def record(*steps: Step) -> CallRecord:
    return CallRecord(
        "0123456789abcdef",
        Direction.INBOUND,
        ADA,
        ACCOUNT.display_phone_number,
        began_at=1_790_000_000.25,
        call_id=CALL_ID,
        end="the bot hung up",
        steps=list(steps),
        samples=[SAMPLE],
        remarks=[Remark(Verdict.GOOD, "The fingerprint is sha-256.")],
    )


def step(detail: Any, title: str = "connect webhook") -> Step:
    return Step(0.5, Party.WHATSAPP, Party.BOT, title, "200", ok=True, took=0.01, detail=detail)


def saved(call: CallRecord, *, heard: bytes = b"", said: bytes = b"") -> tuple[str, dict[str, Any]]:
    """The file as text, and what it says."""
    text = saved_call(call, heard=heard, said=said, secrets=SECRETS).decode()
    document: dict[str, Any] = json.loads(text)
    return text, document


def test_a_call_is_saved_as_it_was() -> None:
    call = record(step({"body": {"timestamp": "1790000000", "id": CALL_ID}}))
    _, document = saved(call)
    told = json.loads(json.dumps(call.as_json()))
    told["user"]["phone"], told["business_phone"] = "49…22", "49…11"
    assert document == {
        "format": "pipecat-whatsapp call",
        "version": 1,
        "record": told,
        "audio": {"heard": None, "said": None},
    }


@pytest.mark.parametrize(("name", "hertz"), [("heard", 440), ("said", 660)])
def test_the_sound_is_in_it_as_ogg_opus(name: str, hertz: int) -> None:
    _, document = saved(record(), **{name: tone(hertz, 1.0)})
    audio = document["audio"]
    assert [key for key, file in audio.items() if file is not None] == [name]
    sound = decoded(base64.b64decode(audio[name], validate=True))
    assert len(sound) / 2 / 48_000 == pytest.approx(1.0, abs=0.02)
    assert pitch(sound, 48_000) == pytest.approx(hertz, abs=2)


def test_what_happened_is_told_without_numbers_and_secrets() -> None:
    value = payloads.connect(ACCOUNT, FACTS, OFFER, timestamp=1_790_000_000)
    webhook = payloads.envelope(ACCOUNT, [{"field": "calls", "value": value}])
    raw = payloads.serialise(webhook)
    header = payloads.signature(raw, ACCOUNT.app_secret)
    request = {
        "POST": f"/v26.0/{ACCOUNT.phone_number_id}/calls",
        "body": {"call_id": CALL_ID, "to": "+49 1555 0002222", "session": {"sdp": ANSWER}},
        "answer": {"contacts": [{"input": "+49 1555 0002222", "wa_id": ADA.phone}]},
        "headers": {"authorization": f"Bearer {ACCOUNT.token}"},
    }
    text, document = saved(
        record(
            step({"X-Hub-Signature-256": f"{header} (accepted)", "body": webhook}),
            step({"body": raw.decode()}),
            step(request, title=f"accept of {ADA.phone} with {ACCOUNT.token}"),
        )
    )
    for number in (ADA.phone, ACCOUNT.display_phone_number, "49 1555"):
        assert str(number) not in text
    for secret in (*SECRETS, header, "ExamplePwdExamplePwd12", "ExAmple+Pwd", r"Pwd\/0123"):
        assert secret not in text
    first, second, third = document["record"]["steps"]
    told = first["detail"]["body"]["entry"][0]["changes"][0]["value"]
    call = told["calls"][0]
    assert call["id"] == CALL_ID
    assert (call["from"], call["to"], call["timestamp"]) == ("49…22", "49…11", "1790000000")
    assert call["cta_payload"] == "of +49…22"
    assert told["contacts"][0]["user_id"] == ADA.user_id
    assert told["metadata"]["phone_number_id"] == ACCOUNT.phone_number_id
    assert first["detail"]["X-Hub-Signature-256"] == "sha256=*** (accepted)"
    assert json.loads(second["detail"]["body"]) == first["detail"]["body"]
    assert third["title"] == "accept of 49…22 with ***"
    assert third["detail"]["answer"]["contacts"] == [{"input": "+49…22", "wa_id": "49…22"}]
    assert "a=ice-pwd:***\r\n" in third["detail"]["body"]["session"]["sdp"]


def test_a_secret_that_is_a_word_of_the_format_leaves_a_file_that_opens() -> None:
    words = ["steps", "bot", "good", "inbound"]
    file = saved_call(record(step({"steps": "bots"})), heard=b"", said=b"", secrets=words)
    told = json.loads(file)["record"]
    assert told["direction"] == "inbound"
    assert told["remarks"][0]["verdict"] == "good"
    (only,) = told["steps"]
    assert (only["target"], only["at"]) == ("bot", 0.5)
    assert only["detail"] == {"***": "***s"}


def test_a_user_without_number_is_no_trouble() -> None:
    call = record()
    call.user = type(ADA)(user_id="DE.9000", username="ada")
    _, document = saved(call)
    assert document["record"]["user"]["phone"] is None
    assert document["record"]["user"]["user_id"] == "DE.9000"


TEXTS = st.text() | st.sampled_from(
    [
        *SECRETS,
        str(ADA.phone),
        f"+{ADA.phone}",
        f'"{ACCOUNT.display_phone_number}"',
        "+49 3055 501111",
        ANSWER,
        "\ud800",
    ]
)


@given(
    st.recursive(
        TEXTS | st.lists(TEXTS).map(" ".join) | st.integers() | st.none() | st.just(4915550002222),
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=12,
    )
)
def test_nothing_of_it_is_left_in_any_file(detail: Any) -> None:
    text, _ = saved(record(step(detail, title=str(detail))))
    for hidden in (*SECRETS, "15550002", "30555011", "3055 501111", "ExamplePwd"):
        assert hidden not in text
