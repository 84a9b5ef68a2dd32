"""What is written down of real calls: real webhooks, Graph requests, ICE, DTLS and Opus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from bots import Echo, PipelineBot, PlainBot, says
from conftest import until
from pipecat_whatsapp.meta.events import Direction, User
from pipecat_whatsapp.simulator.inspection import inspector as inspector_module
from pipecat_whatsapp.simulator.inspection.inspector import Inspector, PhoneInspection
from pipecat_whatsapp.simulator.inspection.record import CallRecord, Party, Verdict
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.phone import Phone, PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from recordings import chirp


@dataclass
class Told:
    """All that one phone's inspection has told.

    Parameters:
        news: Kind and content, in their order.
    """

    news: list[tuple[str, Json]] = field(default_factory=list)

    def __call__(self, kind: str, content: Json) -> None:
        self.news.append((kind, content))

    def of(self, kind: str) -> list[Json]:
        return [content for told, content in self.news if told == kind]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def inspector(whatsapp: WhatsApp) -> Inspector:
    return Inspector(whatsapp.meta)


@pytest.fixture
async def watched(inspector: Inspector, phone: Phone, told: Told) -> AsyncIterator[PhoneInspection]:
    inspection = inspector.watch(phone, told)
    yield inspection
    await inspection.close()


async def dial(phone: Phone, watched: PhoneInspection) -> tuple[PhoneCall, CallRecord]:
    record = watched.begin(Direction.INBOUND)
    call = await phone.dial()
    watched.attach(call)
    return call, record


def titles(record: CallRecord) -> list[str]:
    """The steps in the order in which they happened."""
    return [step.title for step in sorted(record.steps, key=lambda step: step.at)]


def in_order(found: list[str], wanted: list[str]) -> bool:
    """Whether all that is wanted was found, in this order."""
    left = iter(found)
    return all(any(title == one for one in left) for title in wanted)


def has(record: CallRecord, title: str) -> Callable[[], bool]:
    return lambda: title in titles(record)


async def test_a_call_is_written_down_from_the_ring_to_the_end(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection, told: Told
) -> None:
    await whatsapp.serve(PipelineBot(Echo, prepare=says(chirp(1.0))))
    call, record = await dial(phone, watched)
    await call.wait_sound()
    await call.say(chirp(0.5))
    await call.press("5")
    await call.hang_up()
    await until(has(record, "terminate webhook"))
    await until(lambda: record.end is not None)

    assert record.call_id == call.id
    assert record.end == "the caller hung up"
    usual = [
        "connect webhook",
        "pre_accept",
        "ICE: found the path",
        "DTLS: agreed on SRTP keys",
        "accept",
        "answered: the timer starts",
        "first packet",
        "first word",
        "terminate webhook",
    ]
    # A request begins before what it causes, and is told of when it is answered.
    assert in_order(titles(record), usual)
    words = {step.source for step in record.steps if step.title == "first word"}
    assert words == {Party.PHONE, Party.BOT}
    assert all(step.ok is not False for step in record.steps)
    assert told.of("record")[0]["record"]["steps"] == []
    assert [news["step"]["title"] for news in told.of("step")] == [s.title for s in record.steps]
    assert told.of("call_id") == [{"record": record.id, "call_id": call.id}]
    assert told.of("record_end") == [{"record": record.id, "end": "the caller hung up"}]


async def test_the_line_is_measured_both_ways(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection, network: Network
) -> None:
    network.conditions = NetworkConditions(loss=0.3, delay=0.02)
    await whatsapp.serve(PipelineBot(Echo, prepare=says(chirp(1.0))))
    call, record = await dial(phone, watched)
    await call.answered()
    speaking = asyncio.create_task(call.say(chirp(0.5) * 40))

    def is_measured() -> bool:
        last = record.samples[-1:]
        return any(
            sample.round_trip is not None and sample.loss_out and max_of("loss_in") > 0
            for sample in last
        )

    def max_of(name: str) -> float:
        values: list[float] = [getattr(sample, name) for sample in record.samples]
        return max(values)

    await until(is_measured)
    watched.note_concealed(0.25)
    await until(lambda: record.samples[-1].concealed == 0.25)
    speaking.cancel()
    assert max(sample.round_trip or 0 for sample in record.samples) >= 40
    assert -30 < max_of("level_in") <= 0
    assert -30 < max_of("level_out") <= 0
    assert max_of("loss_in") <= 1


async def test_the_sdp_of_the_bot_is_reviewed_against_what_it_had_to_answer(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection, told: Told
) -> None:
    await whatsapp.serve(PlainBot())
    call, record = await dial(phone, watched)
    await call.answered()
    assert record.remarks
    assert Verdict.WRONG not in {remark.verdict for remark in record.remarks}
    assert told.of("remarks")[-1]["record"] == record.id


async def test_what_was_heard_and_said_can_be_had_afterwards(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection, inspector: Inspector
) -> None:
    await whatsapp.serve(PipelineBot(Echo, prepare=says(chirp(1.0))))
    call, record = await dial(phone, watched)
    await call.wait_sound()
    await call.say(chirp(0.5))
    await call.hang_up()
    heard, said = inspector.sound(record.id)
    assert heard == call.recording.pcm
    assert len(said) >= 16_000
    assert inspector.find(record.id) is record


async def test_a_call_of_the_bot_is_written_down_with_what_led_to_it(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection
) -> None:
    adapter = await whatsapp.serve(PipelineBot(prepare=says(chirp(1.0))))
    record = watched.begin(Direction.OUTBOUND)
    await phone.send_text("Please call me.")
    calling = asyncio.create_task(adapter.call(phone.user, ask_permission="May we?"))
    await (await phone.permission_prompt()).accept()
    call = await phone.rings()
    watched.attach(call)
    await call.pick_up()
    await calling
    await call.wait_sound()
    await call.hang_up()
    await until(has(record, "terminate webhook"))
    assert record.call_id == call.id
    expected = ["messages webhook", "messages", "connect", "answered: the timer starts"]
    assert in_order(titles(record), expected)
    assert record.remarks


async def test_a_call_that_nobody_asked_for_has_what_the_bot_sent_before_it_rang(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(phone.user)
    earlier = watched.begin(Direction.INBOUND)
    calling = asyncio.create_task(adapter.call(phone.user))
    call = await phone.rings()
    await whatsapp.meta.wait_request("connect")
    record = watched.begin(Direction.OUTBOUND)
    watched.attach(call)
    assert titles(record).count("connect") == 1
    assert "connect" not in titles(earlier)
    assert record.remarks
    await call.decline()
    await calling


async def test_who_goes_away_in_a_call_leaves_a_record_with_an_end(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection
) -> None:
    await whatsapp.serve(PlainBot())
    call, record = await dial(phone, watched)
    await call.answered()
    await phone.close()
    await watched.close()
    assert record.end == "the caller hung up"


async def test_two_phones_have_records_of_their_own(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection, inspector: Inspector
) -> None:
    await whatsapp.serve(PlainBot())
    other_phone = await whatsapp.phone(User(phone="4915550003333", user_id="DE.2", name="Ben"))
    other = inspector.watch(other_phone, Told())
    call, record = await dial(phone, watched)
    other_call, other_record = await dial(other_phone, other)
    await asyncio.gather(call.answered(), other_call.answered())
    await asyncio.gather(call.hang_up(), other_call.hang_up())
    for each in (record, other_record):
        await until(has(each, "terminate webhook"))
        assert titles(each).count("connect webhook") == 1
        assert titles(each).count("accept") == 1
    await other.close()


async def test_a_new_record_does_not_get_what_belongs_to_an_older_call(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection
) -> None:
    await whatsapp.serve(PlainBot())
    call, record = await dial(phone, watched)
    await call.answered()
    whatsapp.meta.faults.hold()
    ending = asyncio.create_task(call.hang_up())
    await until(lambda: call.is_over)
    younger = watched.begin(Direction.INBOUND)
    await whatsapp.meta.release()
    await ending
    await until(has(record, "terminate webhook"))
    assert titles(younger) == []


async def test_what_the_user_does_is_noted_and_a_stranger_is_not(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection
) -> None:
    await whatsapp.serve(PlainBot())
    watched.note(Party.PHONE, Party.WHATSAPP, "before any record")
    record = watched.begin(Direction.OUTBOUND)
    watched.note(Party.PHONE, Party.WHATSAPP, "writes", {"text": "<img onerror>"})
    stranger = await whatsapp.phone(User(phone="4915550003333", user_id="DE.2"))
    await stranger.send_text("Hello")
    assert [(step.title, step.detail) for step in record.steps] == [
        ("writes", {"text": "<img onerror>"})
    ]


async def test_records_and_their_steps_are_bounded(
    whatsapp: WhatsApp,
    phone: Phone,
    watched: PhoneInspection,
    inspector: Inspector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inspector_module, "MOST_STEPS", 2)
    first = watched.begin(Direction.INBOUND)
    for number in range(5):
        watched.note(Party.PHONE, Party.PHONE, str(number))
    assert titles(first) == ["0", "1"]
    for _ in range(inspector_module.MOST_RECORDS):
        watched.begin(Direction.INBOUND)
    assert inspector.find(first.id) is None
    with pytest.raises(KeyError):
        inspector.sound(first.id)


async def test_without_a_record_no_call_can_be_followed(
    whatsapp: WhatsApp, phone: Phone, watched: PhoneInspection
) -> None:
    await whatsapp.serve(PlainBot())
    call = await phone.dial()
    with pytest.raises(RuntimeError, match="begin"):
        watched.attach(call)
