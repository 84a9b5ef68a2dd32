from __future__ import annotations

import asyncio
import hashlib
import hmac
import traceback
from collections.abc import AsyncIterator

import pytest

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import (
    Account,
    Faults,
    SimulatedMeta,
    SubscriptionError,
    Timing,
)
from simulated_business import ADA, OFFER, Business, Phone, serve_business

FAST = Timing(retry_delays=(0.01, 0.01), webhook_timeout=5.0)


@pytest.fixture
async def business() -> AsyncIterator[Business]:
    async with serve_business() as business:
        yield business


@pytest.fixture
async def meta(business: Business) -> AsyncIterator[SimulatedMeta]:
    async with SimulatedMeta(timing=FAST, faults=Faults()) as meta:
        await meta.subscribe(business.url)
        yield meta


async def test_verification(business: Business, meta: SimulatedMeta) -> None:
    assert business.verifications[0]["hub.mode"] == "subscribe"
    challenge = business.verifications[0]["hub.challenge"]
    assert challenge.startswith("0")
    assert challenge.isdigit()
    assert len(challenge) == 10


async def test_verification_with_the_wrong_token(business: Business) -> None:
    async with SimulatedMeta(Account(verification_token="other")) as meta:
        with pytest.raises(SubscriptionError, match="403"):
            await meta.subscribe(business.url)


async def test_verification_with_a_changed_challenge(
    business: Business, meta: SimulatedMeta
) -> None:
    # A real server that adds a byte to the challenge: the Graph API, whose answer is JSON.
    with pytest.raises(SubscriptionError):
        await meta.subscribe(meta.graph_url)


async def test_verification_of_a_dead_address(business: Business) -> None:
    async with SimulatedMeta() as meta:
        url = meta.graph_url
    async with SimulatedMeta() as meta:
        with pytest.raises(SubscriptionError, match="reached"):
            await meta.subscribe(url)


async def test_an_address_that_speaks_no_http_makes_nobody_show_the_verification_token() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async with (
        await asyncio.start_server(hang_up, "127.0.0.1", 0) as server,
        SimulatedMeta(Account(verification_token="kept-to-ourselves")) as meta,
    ):
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SubscriptionError) as caught:
            await meta.subscribe(f"http://127.0.0.1:{port}/whatsapp")
    assert "kept-to-ourselves" not in "".join(traceback.format_exception(caught.value))


async def test_nothing_is_sent_without_a_subscription() -> None:
    async with SimulatedMeta() as meta:
        with pytest.raises(RuntimeError, match="subscribe"):
            meta.ring(Phone(), OFFER, ADA)
        assert not meta.calls
        with pytest.raises(RuntimeError, match="subscribe"):
            await meta.deliver_raw(b"", {})


async def test_signed_over_the_raw_bytes(business: Business, meta: SimulatedMeta) -> None:
    meta.ring(Phone(), OFFER, ADA)
    await meta.wait_delivery("connect")
    webhook = business.webhooks[0]
    secret = meta.account.app_secret.encode()
    digest = hmac.new(secret, webhook.body, hashlib.sha256).hexdigest()
    assert webhook.headers["X-Hub-Signature-256"] == f"sha256={digest}"
    assert webhook.headers["Content-Type"] == "application/json"
    assert rb"Ada Ex\u00e4mple" in webhook.body
    assert rb"UDP\/TLS\/RTP\/SAVPF" in webhook.body
    assert b": " not in webhook.body.replace(b"a=", b"")


async def test_repeated_until_200(business: Business, meta: SimulatedMeta) -> None:
    business.statuses = [500, 202]
    delivery = await meta.deliver({"messages": []}, field="messages")
    assert (delivery.status, delivery.attempt, delivery.kind) == (200, 3, "messages")
    assert [delivery.status for delivery in meta.deliveries] == [500, 202, 200]
    assert len({webhook.body for webhook in business.webhooks}) == 1


async def test_given_up_at_last(business: Business, meta: SimulatedMeta) -> None:
    business.statuses = [500, 500, 500]
    delivery = await meta.deliver({"messages": []}, field="messages")
    assert (delivery.status, delivery.attempt) == (500, 3)


async def test_a_redirect_is_no_success(business: Business, meta: SimulatedMeta) -> None:
    business.statuses = [302, 200]
    delivery = await meta.deliver({"messages": []}, field="messages")
    assert [tried.status for tried in meta.deliveries] == [302, 200]
    assert delivery.attempt == 2


async def test_a_slow_answer_is_none(business: Business) -> None:
    business.silent.set()
    async with SimulatedMeta(timing=Timing(retry_delays=(), webhook_timeout=0.5)) as meta:
        meta.business.set_up(business.url)
        delivery = await meta.deliver({"messages": []}, field="messages")
        assert delivery.status is None


async def test_value_gets_metadata_unless_it_has_its_own(
    business: Business, meta: SimulatedMeta
) -> None:
    await meta.deliver({"statuses": []})
    await meta.deliver({"metadata": {"phone_number_id": "other"}})
    await meta.deliver({"event": "ACCOUNT_RESTRICTION"}, field="account_update")
    values = [webhook.value for webhook in business.webhooks]
    assert values[0]["metadata"]["phone_number_id"] == meta.account.phone_number_id
    assert values[1]["metadata"] == {"phone_number_id": "other"}
    assert values[2] == {"event": "ACCOUNT_RESTRICTION"}
    assert business.webhooks[2].changes[0]["field"] == "account_update"


async def test_raw_bytes_go_once_and_unsigned(business: Business, meta: SimulatedMeta) -> None:
    business.statuses = [401]
    delivery = await meta.deliver_raw(b"{", {"Content-Type": "text/plain"})
    assert (delivery.status, delivery.kind) == (401, "raw")
    assert [webhook.body for webhook in business.webhooks] == [b"{"]
    assert "X-Hub-Signature-256" not in business.webhooks[0].headers


async def test_in_order_by_default(business: Business, meta: SimulatedMeta) -> None:
    meta.ring(Phone(), OFFER, ADA).hang_up()
    await meta.wait_delivery("terminate")
    assert business.events == ["connect", "terminate"]


async def test_a_failed_connect_lets_terminate_overtake(
    business: Business, meta: SimulatedMeta
) -> None:
    business.statuses = [500]
    call = meta.ring(Phone(), OFFER, ADA)
    await call.hang_up()
    await meta.wait_delivery("connect", call.id, count=2)
    assert business.events == ["connect", "terminate", "connect"]


async def test_duplicates(business: Business, meta: SimulatedMeta) -> None:
    meta.faults.duplicate = 2
    call = meta.ring(Phone(), OFFER, ADA)
    meta.faults.duplicate = 0
    await call.hang_up()
    assert business.events == ["connect"] * 3 + ["terminate"]


async def test_duplicates_are_the_same_bytes(business: Business, meta: SimulatedMeta) -> None:
    meta.faults.duplicate = 2
    delivery = await meta.deliver({"messages": []}, field="messages")
    assert delivery.status == 200
    assert len(business.webhooks) == 3
    assert len({webhook.body for webhook in business.webhooks}) == 1


async def test_a_delayed_connect_is_overtaken(business: Business, meta: SimulatedMeta) -> None:
    meta.faults.delay = 0.5
    call = meta.ring(Phone(), OFFER, ADA)
    meta.faults.delay = 0.0
    await call.hang_up()
    await meta.wait_delivery("connect", call.id)
    assert business.events == ["terminate", "connect"]


async def test_held_webhooks_in_reverse(business: Business, meta: SimulatedMeta) -> None:
    meta.faults.hold()
    call = meta.ring(Phone(), OFFER, ADA)
    ending = call.hang_up()
    assert not business.webhooks
    deliveries = await meta.release(reverse=True)
    assert [delivery.kind for delivery in deliveries] == ["terminate", "connect"]
    assert business.events == ["terminate", "connect"]
    assert await ending == deliveries[0]
    assert not meta.faults.holding


async def test_held_webhooks_in_one_batch(business: Business, meta: SimulatedMeta) -> None:
    meta.faults.hold()
    calls = [meta.ring(Phone(), OFFER, User(user_id=f"DE.{i}")) for i in range(2)]
    (delivery,) = await meta.release(batch=True)
    assert (delivery.kind, delivery.call_id, delivery.status) == ("connect+connect", None, 200)
    (webhook,) = business.webhooks
    ids = [change["value"]["calls"][0]["id"] for change in webhook.changes]
    assert ids == [call.id for call in calls]


async def test_nothing_held_is_nothing_released(meta: SimulatedMeta) -> None:
    meta.faults.hold()
    assert await meta.release(batch=True) == []


async def test_close_gives_up_what_is_held_or_under_way(business: Business) -> None:
    business.silent.set()
    async with SimulatedMeta() as meta:
        await meta.subscribe(business.url)
        call = meta.ring(Phone(), OFFER, ADA)
        under_way = call.hang_up()
        meta.faults.hold()
        other = meta.ring(Phone(), OFFER, ADA)
        held = other.hang_up()
        last = meta.ring(Phone(), OFFER, ADA)
    for ending in (under_way, held, last.hang_up()):
        delivery = await ending
        assert (delivery.kind, delivery.attempt, delivery.status) == ("terminate", 0, None)


async def test_a_listener_that_fails_does_not_block_the_caller(
    business: Business, meta: SimulatedMeta
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("on purpose")

    meta.watch(fail)
    call = meta.ring(Phone(), OFFER, ADA)
    assert (await call.hang_up()).attempt == 0
    assert business.events == ["connect", "terminate"]
