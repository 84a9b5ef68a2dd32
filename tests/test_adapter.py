from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import time
from typing import Any

import pytest
from pipecat.transports.smallwebrtc.connection import IceServer
from redis.asyncio import Redis

from bots import PlainBot
from conftest import Reports, until
from deployment import Deployment, Join, brisk, join, over, steady
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import Reject
from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.directory import Claim, Holding
from pipecat_whatsapp.calls.law import State
from pipecat_whatsapp.calls.memory import MemoryDirectory
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media import gathering
from pipecat_whatsapp.meta.events import (
    CallConnect,
    CallPermissionReply,
    CallStatus,
    ErrorNotice,
    Event,
    MessageReceived,
    UnknownEvent,
    User,
)
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES
from pipecat_whatsapp.simulator.graph import Account, SimulatedMeta
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from redis_server import RedisServer, redis_server

__all__ = ["brisk", "join", "redis_server", "steady"]

pytestmark = pytest.mark.usefixtures("patient_redis")

EMPTY = b'{"object":"whatsapp_business_account","entry":[]}'


def signed(body: bytes, secret: str = "simulated-app-secret") -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()}


async def post(adapter: WebhookAdapter, body: bytes, headers: dict[str, str] | None = None) -> int:
    return (await adapter.handle("POST", {}, headers or signed(body), body)).status


def actions(whatsapp: WhatsApp) -> list[str]:
    return [request.action for request in whatsapp.meta.requests]


# The HTTP door


async def test_verification_echoes_the_challenge_as_it_came(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": "0123",
        "hub.verify_token": "simulated-verification-token",
    }
    answer = await adapter.handle("GET", query, {}, b"")
    assert (answer.status, answer.body) == (200, b"0123")
    answer = await adapter.handle("GET", query | {"hub.verify_token": "guess"}, {}, b"")
    assert answer.status == 403


@pytest.mark.parametrize("headers", [{}, {"X-Hub-Signature-256": "sha256=" + "0" * 64}])
async def test_unsigned_bodies_get_401_and_are_never_parsed(
    whatsapp: WhatsApp, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(body: bytes) -> list[Event]:
        raise AssertionError("an unsigned body was parsed")

    monkeypatch.setattr("pipecat_whatsapp.calls.exchange.parse_webhook", never)
    adapter = await whatsapp.serve(PlainBot())
    for body in (EMPTY, b"not json at all", b"\xff\xfe"):
        answer = await adapter.handle("POST", {}, headers, body)
        assert answer.status == 401
        assert await adapter.drain(timeout=30)


async def test_a_reason_to_refuse_requests_is_one_warning(
    whatsapp: WhatsApp, warnings: list[str]
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    for headers in ({}, {}, {"X-Hub-Signature-256": "sha256=" + "0" * 64}):
        await adapter.handle("POST", {}, headers, EMPTY)
        await adapter.handle_dial(headers, EMPTY)
    assert len(warnings) == 4
    assert sum("Refused a webhook request" in line for line in warnings) == 2


async def test_the_signature_header_may_come_in_any_case(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    for name in ("X-Hub-Signature-256", "x-hub-signature-256", "X-HUB-SIGNATURE-256"):
        headers = {name: signed(EMPTY)["x-hub-signature-256"]}
        assert await post(adapter, EMPTY, headers) == 200


async def test_an_oversized_body_is_refused(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    body = b" " * (MAX_BODY_BYTES + 1)
    assert await post(adapter, body) == 413


async def test_other_methods_are_refused(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    answer = await adapter.handle("DELETE", {}, {}, b"")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    "value",
    [
        {"statuses": [{"id": "wacid.X", "type": "call", "status": "RINGING"}]},
        {"statuses": [{"id": "wacid.X", "type": "call", "status": ["RINGING"]}]},
        {"calls": [{"id": "wacid.X", "event": "call_recording_available"}]},
        {"calls": [{"id": "wacid.X", "event": "invented_tomorrow"}]},
        {"calls": [{"id": "wacid.X", "event": "connect"}]},
        {"calls": [{"id": "wacid.X", "event": "terminate", "errors": [{"code": 138021}]}]},
        {"calls": "nonsense"},
        {"messages": [{"id": "wamid.X", "from": "4915550002222", "type": "text"}]},
        {"what": "ever"},
        None,
    ],
)
@pytest.mark.parametrize("field", ["calls", "messages", "invented_tomorrow"])
async def test_whatever_meta_sends_is_answered_200(
    whatsapp: WhatsApp, value: Any, field: str
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    change = {"field": field, "value": value}
    body = json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    ).encode()
    assert await post(adapter, body) == 200
    assert await adapter.drain(timeout=30)


async def test_the_200_does_not_wait_for_graph(whatsapp: WhatsApp, phone: Phone) -> None:
    whatsapp.meta.faults.hang.add("pre_accept")
    adapter = await whatsapp.serve(PlainBot())
    call = await phone.dial()
    delivery = await whatsapp.meta.wait_delivery("connect", call.id)
    assert delivery.status == 200
    assert len(adapter.calls) == 1


# Law 1: one call id, one bot


async def test_duplicates_start_nothing(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    whatsapp.meta.faults.duplicate = 3
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    await whatsapp.meta.wait_delivery("connect", call.id, count=4)
    await call.hang_up()
    assert actions(whatsapp) == ["pre_accept", "accept"]
    assert len(bot.started) == 1


async def test_a_replay_after_the_end_starts_nothing(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot, on_call_ended=reports)
    bodies: list[bytes] = []
    handle = adapter.handle

    async def keep(method: str, query: Any, headers: Any, body: bytes) -> Any:
        bodies.append(body)
        return await handle(method, query, headers, body)

    adapter.handle = keep  # type: ignore[method-assign]
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    await reports.next()
    for body in bodies[:]:
        assert await post(adapter, body) == 200
    await adapter.drain(timeout=30)
    assert len(bot.started) == 1
    assert actions(whatsapp) == ["pre_accept", "accept"]


# Law 7: every event of a batch, each on its own


async def test_every_call_of_a_batch_is_served(whatsapp: WhatsApp) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    whatsapp.meta.faults.hold()
    phones = [
        await whatsapp.phone(User(phone=f"491555000222{i}", user_id=f"DE.{i}")) for i in range(3)
    ]
    calls = [await phone.dial() for phone in phones]
    await whatsapp.meta.release(batch=True)
    await asyncio.gather(*(call.answered() for call in calls))
    assert {args.call.id for args in bot.started} == {call.id for call in calls}
    assert {args.call.user.user_id for args in bot.started} == {"DE.0", "DE.1", "DE.2"}


@pytest.mark.parametrize("error", [RuntimeError("a bug of the application"), SystemExit(0)])
async def test_a_hook_that_raises_spoils_no_other_event(
    whatsapp: WhatsApp, error: BaseException
) -> None:
    seen: list[str] = []

    async def hook(event: Event) -> None:
        assert isinstance(event, MessageReceived)
        seen.append(event.message_id)
        raise error

    adapter = await whatsapp.serve(PlainBot(), on_webhook_event=hook)
    messages = [{"id": f"wamid.{i}", "from": "4915550002222", "type": "text"} for i in range(3)]
    await whatsapp.meta.deliver({"messages": messages}, field="messages")
    await adapter.drain(timeout=30)
    assert seen == ["wamid.0", "wamid.1", "wamid.2"]


async def test_a_hook_that_is_no_coroutine_spoils_no_other_event(whatsapp: WhatsApp) -> None:
    seen: list[Event] = []

    def hook(event: Event) -> Any:
        seen.append(event)
        raise RuntimeError("a bug of the application")

    adapter = await whatsapp.serve(PlainBot(), on_webhook_event=hook)
    messages = [{"id": f"wamid.{i}", "from": "4915550002222", "type": "text"} for i in range(3)]
    await whatsapp.meta.deliver({"messages": messages}, field="messages")
    await adapter.drain(timeout=30)
    assert len(seen) == 3


async def test_an_event_that_cannot_be_served_spoils_no_other(
    whatsapp: WhatsApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    whatsapp.meta.faults.hold()
    phones = [await whatsapp.phone(User(user_id=f"DE.{i}")) for i in range(2)]
    spoiled, good = [await phone.dial() for phone in phones]

    def age_of(event: CallConnect) -> float:
        if event.call_id == spoiled.id:
            raise RuntimeError("a bug of ours")
        return 0.0

    monkeypatch.setattr("pipecat_whatsapp.calls.parcel.age_of", age_of)
    await whatsapp.meta.release(batch=True)
    await good.answered()
    assert [args.call.id for args in bot.started] == [good.id]


async def test_a_directory_that_fails_spoils_no_other_call(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    class Failing(MemoryDirectory):
        failing = True

        async def claim(self, call_id: str, holding: Holding) -> Claim:
            if self.failing:
                raise ConnectionError("no directory")
            return await super().claim(call_id, holding)

    directory = Failing()
    adapter = await whatsapp.serve(PlainBot(), directory=directory)
    await phone.dial()
    await whatsapp.meta.wait_delivery("connect")
    await adapter.drain(timeout=0.1)
    assert adapter.calls == ()


async def test_the_hook_is_offered_what_is_no_calls_business(whatsapp: WhatsApp) -> None:
    events: list[Event] = []

    async def hook(event: Event) -> None:
        events.append(event)

    adapter = await whatsapp.serve(PlainBot(), on_webhook_event=hook)
    reply = {
        "type": "call_permission_reply",
        "call_permission_reply": {"response": "accept", "is_permanent": True},
    }
    message = {"id": "wamid.R", "from_user_id": "DE.9", "type": "interactive", "interactive": reply}
    status = {"id": "wacid.O", "type": "call", "status": "ACCEPTED"}
    await whatsapp.meta.deliver({"messages": [message]}, field="messages")
    await whatsapp.meta.deliver({"statuses": [status]})
    whatsapp.meta.business.subscriptions.fields.add("invented_tomorrow")
    await whatsapp.meta.deliver({"x": 1}, field="invented_tomorrow")
    await adapter.drain(timeout=30)
    assert {type(event) for event in events} == {CallPermissionReply, CallStatus, UnknownEvent}


async def test_the_hook_hears_of_calls_that_no_payment_method_lets_through() -> None:
    events: list[Event] = []

    async def hook(event: Event) -> None:
        events.append(event)

    async with SimulatedMeta(Account(can_pay=False)) as meta:
        whatsapp, bot = WhatsApp(meta), PlainBot()
        adapter = await whatsapp.serve(bot, on_webhook_event=hook)
        await (await whatsapp.phone()).dial()
        await meta.wait_delivery("calls")
        await adapter.drain(timeout=30)
        await whatsapp.close()
    [notice] = events
    assert isinstance(notice, ErrorNotice)
    assert [error.code for error in notice.errors] == [131044]
    assert bot.started == []


# Law 4: stale connects


async def test_a_stale_connect_is_dropped(whatsapp: WhatsApp) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot)
    value = connect_value("wacid.STALE", timestamp=int(time.time()) - 60)
    await whatsapp.meta.deliver(value)
    await adapter.drain(timeout=30)
    assert bot.started == []
    assert actions(whatsapp) == []


def connect_value(call_id: str, **fields: Any) -> dict[str, Any]:
    call = {
        "id": call_id,
        "event": "connect",
        "from_user_id": "DE.9",
        "timestamp": str(int(time.time())),
        "session": {"sdp_type": "offer", "sdp": "v=0\r\n"},
    }
    return {"calls": [call | {k: str(v) for k, v in fields.items()}]}


# Law 8: numbers


async def test_calls_of_another_number_are_left_alone(whatsapp: WhatsApp) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot)
    metadata = {"display_phone_number": "15550009999", "phone_number_id": "999"}
    await whatsapp.meta.deliver(connect_value("wacid.OTHER") | {"metadata": metadata})
    await adapter.drain(timeout=30)
    assert bot.started == []
    assert actions(whatsapp) == []


async def test_graph_is_asked_at_the_number_that_was_called(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    own = whatsapp.meta.account.phone_number_id
    await whatsapp.serve(PlainBot(), phone_number_ids=frozenset({"999", own}))
    call = await phone.dial()
    await call.answered()
    assert {request.phone_number_id for request in whatsapp.meta.requests} == {own}


# Screening and capacity


async def test_over_capacity_a_call_is_rejected(whatsapp: WhatsApp, reports: Reports) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot, max_calls=1, on_call_ended=reports)
    first = await (await whatsapp.phone()).dial()
    await first.answered()
    second = await (await whatsapp.phone(User(user_id="DE.2"))).dial()
    assert await second.ended() == "rejected"
    assert (await reports.next()).cause is Cause.BUSY
    await first.hang_up()
    await reports.next()
    third = await (await whatsapp.phone(User(user_id="DE.3"))).dial()
    await third.answered()
    assert len(bot.started) == 2


async def test_the_hook_may_reject(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    bot = PlainBot()

    async def hook(call: Call) -> Reject:
        return Reject(f"we do not know {call.user.name}")

    await whatsapp.serve(bot, on_incoming_call=hook, on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    report = await reports.next()
    assert (report.cause, report.detail) == (Cause.REJECTED, "we do not know Ada Example")
    assert bot.started == []
    assert actions(whatsapp) == ["reject"]


async def test_the_hook_may_pick_another_bot(whatsapp: WhatsApp, phone: Phone) -> None:
    usual, special = PlainBot(), PlainBot()

    async def hook(call: Call) -> PlainBot | None:
        return special if call.cta_payload == "vip" else None

    await whatsapp.serve(usual, on_incoming_call=hook)
    call = await phone.dial(cta_payload="vip")
    await call.answered()
    await call.hang_up()
    call = await phone.dial()
    await call.answered()
    assert (len(special.started), len(usual.started)) == (1, 1)


@pytest.mark.parametrize("error", [RuntimeError("a bug of the application"), SystemExit(0)])
async def test_a_hook_that_raises_rejects_the_call(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, error: BaseException
) -> None:
    async def hook(call: Call) -> None:
        raise error

    await whatsapp.serve(PlainBot(), on_incoming_call=hook, on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    assert (await reports.next()).cause is Cause.BOT_FAILED


# What can be changed on a running adapter


async def test_an_app_secret_rotates(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    adapter.configure(app_secrets=("new", "simulated-app-secret"))
    assert await post(adapter, EMPTY, signed(EMPTY, "new")) == 200
    assert await post(adapter, EMPTY, signed(EMPTY)) == 200
    adapter.configure(app_secrets=("new",))
    assert await post(adapter, EMPTY, signed(EMPTY)) == 401


async def test_a_token_rotates(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    adapter = await whatsapp.serve(PlainBot(), token="expired", on_call_ended=reports)
    call = await phone.dial()
    report = await reports.next()
    assert report.cause is Cause.GRAPH_FAILED
    await call.hang_up()
    assert "expired" not in report.detail.replace("expired or", "").replace("has expired", "")
    adapter.configure(token=whatsapp.meta.account.token)
    call = await phone.dial()
    await call.answered()


async def test_the_numbers_served_can_change(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot, phone_number_ids=frozenset({"999"}))
    call = await phone.dial()
    await whatsapp.meta.wait_delivery("connect")
    await asyncio.sleep(0)
    assert adapter.calls == ()
    await call.hang_up()
    adapter.configure(phone_number_ids=frozenset({whatsapp.meta.account.phone_number_id}))
    call = await phone.dial()
    await call.answered()
    assert len(bot.started) == 1


async def test_ice_servers_can_change(
    whatsapp: WhatsApp, phone: Phone, turn_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "TURN_TIMEOUT", 30.0)
    adapter = await whatsapp.serve(PlainBot())
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    adapter.configure(ice_servers=(IceServer(turn_url, "ada", "secret"),))
    await (await phone.dial()).answered()
    sdps = [r.body["session"]["sdp"] for r in whatsapp.meta.requests if r.body]
    assert [" typ relay" in sdp for sdp in sdps] == [False, False, True, True]


async def test_a_bad_change_changes_nothing(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    before = adapter.config
    with pytest.raises(ConfigError):
        adapter.configure(app_secrets=())
    assert adapter.config is before


# The end of everything


async def test_all_calls_are_terminated_at_once(whatsapp: WhatsApp, reports: Reports) -> None:
    adapter = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    phones = [await whatsapp.phone(User(user_id=f"DE.{i}")) for i in range(3)]
    calls = [await phone.dial() for phone in phones]
    await asyncio.gather(*(call.answered() for call in calls))
    assert await adapter.terminate_all() == 3
    assert [await call.ended() for call in calls] == ["terminated"] * 3
    assert {(await reports.next()).cause for _ in calls} == {Cause.APP_HUNG_UP}
    assert await adapter.terminate_all() == 0


async def test_one_call_is_terminated(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    first, second = [await (await whatsapp.phone(User(user_id=f"DE.{i}"))).dial() for i in (1, 2)]
    await asyncio.gather(first.answered(), second.answered())
    assert await adapter.terminate(first.id)
    assert not await adapter.terminate(first.id)
    assert not await adapter.terminate("wacid.UNKNOWN")
    assert await first.ended() == "terminated"
    assert [call.id for call in adapter.calls] == [second.id]


async def test_drain_takes_no_further_call_and_waits(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    adapter = await whatsapp.serve(PlainBot(), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    draining = asyncio.ensure_future(adapter.drain())
    await asyncio.sleep(0)
    late = await (await whatsapp.phone(User(user_id="DE.2"))).dial()
    assert await late.ended() == "rejected"
    assert (await reports.next()).cause is Cause.SHUTDOWN
    assert not draining.done()
    await call.hang_up()
    assert await draining


async def test_who_is_told_of_a_calls_end_may_drain(whatsapp: WhatsApp, phone: Phone) -> None:
    drained = asyncio.Event()

    async def drain(_: CallReport) -> None:
        assert await adapter.drain()
        drained.set()

    adapter = await whatsapp.serve(PlainBot(), on_call_ended=drain)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    async with asyncio.timeout(30):
        await drained.wait()


async def test_close_tells_meta_and_leaves_nothing_running(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    bot = PlainBot(stay=True)
    adapter = await whatsapp.serve(bot, timing=Timing(shutdown_grace=0.1))
    call = await phone.dial()
    await call.answered()
    await adapter.close()
    assert await call.ended() == "terminated"
    assert (bot.running, bot.cancelled) == (0, 1)
    assert actions(whatsapp) == ["pre_accept", "accept", "terminate"]
    await adapter.close()


async def test_close_does_not_wait_for_a_graph_that_hangs(whatsapp: WhatsApp, phone: Phone) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot, timing=Timing(shutdown_grace=0.1))
    call = await phone.dial()
    await call.answered()
    whatsapp.meta.faults.hang.add("terminate")
    async with asyncio.timeout(8):
        await adapter.close()
    assert bot.running == 0
    assert adapter.calls == ()


async def test_the_hmac_is_over_the_raw_bytes(whatsapp: WhatsApp, phone: Phone) -> None:
    """Meta escapes what is not ASCII; a body that was decoded and encoded again differs."""
    bot = PlainBot()
    await whatsapp.serve(bot)
    jorg = await whatsapp.phone(User(user_id="DE.5", name="Jörg / Ünal"))
    call = await jorg.dial()
    await call.answered()
    assert bot.started[0].call.user.name == "Jörg / Ünal"
    delivery = await whatsapp.meta.wait_delivery("connect", call.id)
    assert delivery.attempt == 1


# The application's own work


async def test_the_applications_own_work_may_close_the_adapter(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    closed = asyncio.Event()

    async def work() -> None:
        await adapter.close()
        closed.set()

    adapter.run_beside(work())
    async with asyncio.timeout(30):
        await closed.wait()


async def test_the_applications_own_work_ends_with_the_adapter(whatsapp: WhatsApp) -> None:
    adapter = await whatsapp.serve(PlainBot())
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    adapter.run_beside(work())
    await started.wait()
    assert await adapter.drain(timeout=30), "it is no call, and holds nothing up"
    await adapter.close()
    assert cancelled.is_set()


async def test_errors_of_no_call_are_logged_with_advice(
    whatsapp: WhatsApp, warnings: list[str]
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    await whatsapp.meta.deliver({"errors": [{"code": 131044, "title": "Payment"}]})
    await adapter.drain(timeout=30)
    assert any("131044 Payment" in line and "payment method" in line for line in warnings)


# Several processes


@pytest.mark.usefixtures("brisk")
async def test_a_call_of_another_process_is_terminated(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a)
        call = await phone.dial()
        await call.answered()
        assert await b.adapter.terminate(call.id)
        assert await call.ended() == "terminated"
        assert (await a.reports.next()).cause is Cause.APP_HUNG_UP
        assert not await b.adapter.terminate(call.id)
        assert not await b.adapter.terminate("wacid.UNKNOWN")
        assert actions(whatsapp) == ["pre_accept", "accept", "terminate"]


async def test_without_a_directory_only_our_own_calls_are_terminated(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    async with Deployment(whatsapp) as deployment:
        a, b = await deployment.add(), await deployment.add()
        deployment.route(a)
        call = await phone.dial()
        await call.answered()
        b.line.cut()
        assert not await b.adapter.terminate(call.id)
        a.line.cut()
        assert await a.adapter.terminate(call.id)
        assert await call.ended() == "terminated"


async def test_a_request_to_call_that_another_process_has_served_is_refused(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    told = {"to": phone.user.phone, "timestamp": int(time.time()), "nonce": "5f2c"}
    body = json.dumps(told).encode()
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        first = asyncio.create_task(a.adapter.handle_dial(signed(body), body))
        call = await phone.rings()
        assert (await b.adapter.handle_dial(signed(body), body)).status == 403
        await call.decline()
        assert (await first).status == 200
        assert actions(whatsapp) == ["connect"]


@pytest.mark.parametrize("theirs", [False, True])
async def test_close_while_the_claim_is_under_way(
    whatsapp: WhatsApp, phone: Phone, join: Join, *, theirs: bool
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        a.line.hold()
        whatsapp.meta.faults.duplicate = int(theirs)
        deployment.route(a)
        if theirs:
            turns = itertools.cycle([a, b])
            deployment.choose = lambda body: next(turns) if b'"connect"' in body else b
        call = await phone.dial()
        await until(lambda: a.calls == [call.id])
        if theirs:
            await call.answered()
        closing = asyncio.create_task(a.adapter.close())
        await asyncio.sleep(0)
        a.line.resume()
        await closing
        if theirs:
            assert actions(whatsapp) == ["pre_accept", "accept"]
            assert b.calls == [call.id]
            assert (a.log.began, a.reports.qsize()) == ([], 0)
        else:
            assert await call.ended() == "rejected"
            assert (await a.reports.next()).cause is Cause.SHUTDOWN
            assert actions(whatsapp) == ["reject"]
        await call.hang_up()


@pytest.mark.usefixtures("brisk", "steady")
async def test_a_call_that_a_process_was_handed_as_it_left_is_served_by_another(
    whatsapp: WhatsApp, phone: Phone, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        full, leaving = await deployment.add(max_calls=0), await deployment.add()
        await deployment.acquainted()
        leaving.line.deaf = True
        deployment.route(full)
        call = await phone.dial()
        await until(lambda: ("CallConnect", "sent on") in full.log.webhooks)
        other = await deployment.add()
        await deployment.acquainted()
        await leaving.adapter.close()
        await call.answered()
        assert other.calls == [call.id]
        assert leaving.log.began == []


@pytest.mark.usefixtures("brisk")
async def test_close_leaves_nothing_behind(
    whatsapp: WhatsApp, phone: Phone, redis_server: RedisServer
) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    async with Redis.from_url(redis_server.url, decode_responses=True) as raw:
        await raw.ping()
        before = asyncio.all_tasks()
        async with Deployment(whatsapp, over(redis_server)) as deployment:
            a, b = await deployment.add(), await deployment.add()
            await deployment.acquainted()
            deployment.route(a, terminate=b)
            call = await phone.dial()
            await call.answered()
            await b.adapter.terminate("wacid.UNKNOWN")
            await call.hang_up()
            await a.reports.next()
            calling = asyncio.create_task(a.adapter.call(phone.user))
            ringing = await phone.rings()
            await ringing.pick_up()
            await calling
            await until(lambda: a.adapter.calls[0].state is State.ACTIVE)
            assert len(await raw.client_list()) > 1
            deployment.route(b)
            await a.adapter.close()
            assert await ringing.ended() == "terminated"
            await whatsapp.meta.wait_delivery("terminate", ringing.id)
        await phone.close()
        await until(lambda: asyncio.all_tasks() <= before)
        async with asyncio.timeout(30):
            while len(await raw.client_list()) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        keys = await raw.keys("*")
        assert keys
        assert [key for key in keys if await raw.ttl(key) < 0] == []
        assert not [key for key in keys if ":inbox:" in key or ":calls:" in key]


@pytest.mark.usefixtures("brisk")
async def test_the_applications_own_work_may_close_one_of_several(
    whatsapp: WhatsApp, join: Join
) -> None:
    async with Deployment(whatsapp, join) as deployment:
        a, b = await deployment.add(), await deployment.add()
        await deployment.acquainted()
        closed = asyncio.Event()

        async def work() -> None:
            await a.adapter.close()
            closed.set()

        a.adapter.run_beside(work())
        async with asyncio.timeout(30):
            await closed.wait()
        await until(lambda: len(b.line.news[-1].peers) == 1)
