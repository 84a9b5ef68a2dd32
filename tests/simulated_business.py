"""The business's side for tests of the simulated Meta: a webhook server, requests, and a phone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.graph import Account, BusinessCall, MetaCall, SimulatedMeta
from pipecat_whatsapp.simulator.messages import Message
from pipecat_whatsapp.simulator.permission_prompt import PermissionPrompt

ADA = User(
    phone="4915550002222", user_id="DE.900000000000000001", name="Ada Exämple", username="ada"
)

FINGERPRINT = ":".join(["AB"] * 32)

OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1790000000000 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE audio",
        "a=ice-lite",
        "m=audio 3480 UDP/TLS/RTP/SAVPF 111 126",
        "c=IN IP4 127.0.0.1",
        "a=ice-ufrag:ExampleUfrag0001",
        "a=ice-pwd:ExAmple+Pwd/0123456789==",
        f"a=fingerprint:sha-256 {FINGERPRINT}",
        "a=setup:actpass",
        "a=mid:audio",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:126 telephone-event/8000",
        "",
    ]
)

ANSWER = "\r\n".join(
    [
        "v=0",
        "o=- 4000000001 4000000001 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE audio",
        "a=msid-semantic:WMS *",
        "m=audio 51420 UDP/TLS/RTP/SAVPF 111 126",
        "c=IN IP4 198.51.100.7",
        "a=sendrecv",
        "a=mid:audio",
        "a=msid:stream track",
        "a=rtcp-mux",
        "a=ssrc:871000001 cname:one",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:126 telephone-event/8000",
        "a=ptime:20",
        "a=candidate:1 1 udp 2130706431 198.51.100.7 51420 typ host",
        "a=ice-ufrag:TJvX",
        "a=ice-pwd:ExamplePwdExamplePwd12",
        f"a=fingerprint:sha-256 {FINGERPRINT}",
        "a=setup:active",
        "",
    ]
)


BUSINESS_OFFER = ANSWER.replace("a=setup:active", "a=setup:actpass")


@dataclass
class Phone:
    """A phone, and its only leg, that remembers what it was told."""

    user: User = ADA
    told: list[tuple[str, ...]] = field(default_factory=list)
    answer_sdp: str = "v=0\r\n"
    rang: BusinessCall | None = None

    async def answer(self, offer_sdp: str) -> Phone:
        self.told.append(("offer", offer_sdp))
        return self

    def on_message(self, message: Message) -> None:
        self.told.append(("message", message.text))

    def on_permission_request(self, prompt: PermissionPrompt) -> None:
        self.told.append(("prompt", prompt.text))

    def on_ringing(self, call: BusinessCall) -> None:
        self.rang = call

    def on_answer(self, sdp: str) -> None:
        self.told.append(("answer", sdp))

    def on_accepted(self) -> None:
        self.told.append(("accepted",))

    def on_ended(self, reason: str) -> None:
        self.told.append(("ended", reason))


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def changes(self) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = json.loads(self.body)["entry"][0]["changes"]
        return changes

    @property
    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = self.changes[0]["value"]
        return value

    @property
    def events(self) -> list[str]:
        """What it tells: events of calls, and statuses."""
        values = [change["value"] for change in self.changes]
        events = [call["event"] for value in values for call in value.get("calls", ())]
        return events + [told["status"] for value in values for told in value.get("statuses", ())]


class Business:
    """A webhook server that keeps what it gets; `statuses` are the answers to come, then 200."""

    def __init__(self) -> None:
        self.webhooks: list[Received] = []
        self.statuses: list[int] = []
        self.verifications: list[dict[str, str]] = []
        self.silent = asyncio.Event()
        self.awake = asyncio.Event()
        self.url = ""

    async def verify(self, request: web.Request) -> web.Response:
        self.verifications.append(dict(request.query))
        if request.query["hub.verify_token"] != Account().verification_token:
            return web.Response(status=403)
        return web.Response(text=request.query["hub.challenge"])

    async def receive(self, request: web.Request) -> web.Response:
        self.webhooks.append(Received(dict(request.headers), await request.read()))
        if self.silent.is_set():
            await self.awake.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    @property
    def events(self) -> list[str]:
        return [event for webhook in self.webhooks for event in webhook.events]


@asynccontextmanager
async def serve_business() -> AsyncIterator[Business]:
    business = Business()
    app = web.Application()
    app.router.add_get("/whatsapp", business.verify)
    app.router.add_post("/whatsapp", business.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    business.url = f"http://127.0.0.1:{runner.addresses[0][1]}/whatsapp"
    try:
        yield business
    finally:
        business.awake.set()
        await runner.cleanup()


@dataclass(frozen=True)
class Reply:
    status: int
    body: dict[str, Any]

    @property
    def code(self) -> int | None:
        code: int | None = self.body.get("error", {}).get("code")
        return code

    @property
    def details(self) -> str:
        details: str = self.body["error"]["error_data"]["details"]
        return details


def request_body(call: MetaCall, action: str, sdp: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "call_id": call.id,
        "action": action,
    }
    if sdp is not None:
        body["session"] = {"sdp_type": "answer", "sdp": sdp}
    return body


def connect_body(**changes: Any) -> dict[str, Any]:
    """A request to call Ada; what is None is left out."""
    body = {
        "messaging_product": "whatsapp",
        "to": ADA.phone,
        "action": "connect",
        "session": {"sdp_type": "offer", "sdp": BUSINESS_OFFER},
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


async def post(
    meta: SimulatedMeta,
    body: dict[str, Any] | bytes,
    *,
    token: str | None = None,
    number: str | None = None,
    method: str = "POST",
    path: str | None = None,
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "Authorization": f"Bearer {meta.account.token if token is None else token}",
        "Content-Type": "application/json",
    }
    number = number or meta.account.phone_number_id
    url = meta.graph_url + (path or f"/v26.0/{number}/calls")
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, url, data=raw, headers=headers) as response,
    ):
        return Reply(response.status, await response.json())


async def act(meta: SimulatedMeta, call: MetaCall, action: str, sdp: str | None = None) -> Reply:
    return await post(meta, request_body(call, action, sdp))
