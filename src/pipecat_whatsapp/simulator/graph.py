"""Meta's side of WhatsApp calls on one's own machine: the Graph API, and signed webhooks.

::

    async with SimulatedMeta() as meta:
        await meta.subscribe("http://127.0.0.1:8080/whatsapp")
        call = meta.ring(phone, offer_sdp, User(phone="4915550002222"))
        await meta.wait_request("accept", call.id)
        await call.hang_up()

It refuses what Meta refuses, and it is honest HTTP on both sides. Faults (`Faults`) are shown
on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator import payloads, requests
from pipecat_whatsapp.simulator.api import Api
from pipecat_whatsapp.simulator.call import BusinessCall, CallState, Leg, MetaCall, UserCall
from pipecat_whatsapp.simulator.graph_server import GraphServer
from pipecat_whatsapp.simulator.journal import Journal
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.permissions import Permissions
from pipecat_whatsapp.simulator.requests import Download, GraphRequest, Question
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import ACTIONS, Account, Faults, Timing
from pipecat_whatsapp.simulator.telephony import Handset, Telephony
from pipecat_whatsapp.simulator.webhooks import Delivery, SubscriptionError, WebhookSender

__all__ = [
    "ACTIONS",
    "Account",
    "BusinessCall",
    "CallState",
    "Delivery",
    "Faults",
    "GraphRequest",
    "Leg",
    "MetaCall",
    "SimulatedMeta",
    "SubscriptionError",
    "Timing",
    "UserCall",
]


class SimulatedMeta:
    """A WhatsApp of one's own: an HTTP server for the Graph API, and a sender of webhooks.

    Args:
        account: Credentials and ids, shared with the business.
        timing: Deadlines and retries.
        faults: What goes wrong; also kept as an attribute, to be changed at any time.
        on_activity: Called with "request" and a `GraphRequest`, or "delivery" and a `Delivery`,
            for each of them.
    """

    def __init__(
        self,
        account: Account | None = None,
        *,
        timing: Timing | None = None,
        faults: Faults | None = None,
        on_activity: Callable[[str, GraphRequest | Delivery], None] | None = None,
    ) -> None:
        self.account = account or Account()
        self.timing = timing or Timing()
        self.faults = faults or Faults()
        self.on_activity = on_activity
        self.permissions = Permissions()
        self._journal = Journal()
        self.requests = self._journal.requests
        self.deliveries = self._journal.deliveries
        self._webhooks = WebhookSender(self.account, self.timing, self.faults, self._note_delivery)
        self._telephony = Telephony(self.account, self.timing, self._webhooks, self.permissions)
        self.calls = self._telephony.calls
        self._server = GraphServer(self.faults, answer=self._answer, on_request=self._note_request)
        self._api = Api(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self, port: int = 0) -> None:
        """Serve the Graph API on 127.0.0.1; port 0 takes a free one."""
        await self._server.start(port)
        await self._webhooks.start()

    async def close(self) -> None:
        """Stop serving and sending at once; calls that are left are forgotten."""
        self._telephony.close()
        await self._server.close()
        await self._webhooks.close()

    @property
    def graph_url(self) -> str:
        """Where the Graph API is served, without the version.

        Raises:
            RuntimeError: It is not being served.
        """
        return self._server.url

    async def subscribe(self, webhook_url: str) -> None:
        """Verify the business's webhook as Meta does, and send webhooks to it from now on.

        Raises:
            SubscriptionError: The answer was not 200 with the challenge as its whole body.
        """
        await self._webhooks.subscribe(webhook_url)

    def ring(
        self,
        leg: Leg,
        offer_sdp: str,
        user: User,
        *,
        cta_payload: str | None = None,
        deeplink_payload: str | None = None,
        call_id: str | None = None,
        timestamp: int | None = None,
    ) -> UserCall:
        """Let a user call the business: the connect webhook goes out in the background.

        Args:
            leg: The caller's phone.
            offer_sdp: The offer of Meta's relay, that is of the phone.
            user: Who calls.
            cta_payload: Payload of the call button that was tapped.
            deeplink_payload: Payload of the link that was opened.
            call_id: The call's id; one is invented by default.
            timestamp: When the call began, Unix seconds; now by default.

        Raises:
            RuntimeError: Nothing is subscribed.
            ValueError: There is a call of this id already.
        """
        given = {"deeplink_payload": deeplink_payload, "cta_payload": cta_payload}
        extras = {name: value for name, value in given.items() if value is not None}
        return self._telephony.ring(
            leg, offer_sdp, user, extras=extras, call_id=call_id, timestamp=timestamp
        )

    def register(self, phone: Handset) -> None:
        """Let a phone be called; of several phones of one user the youngest rings."""
        self._telephony.register(phone)

    def unregister(self, phone: Handset) -> None:
        """Let a phone not be called any more."""
        self._telephony.unregister(phone)

    async def deliver(self, value: Json, *, field: str = "calls") -> Delivery:
        """Deliver any other webhook as if Meta sent it: signed, and repeated until HTTP 200.

        Args:
            value: The value of the change; for calls and messages, product and metadata are
                added where they are missing.
            field: The webhook field.

        Returns:
            The last try.

        Raises:
            RuntimeError: Nothing is subscribed.
        """
        if field in ("calls", "messages"):
            value = payloads.addressed(self.account, value)
        return await self._webhooks.send(field, value)

    async def deliver_raw(self, body: bytes, headers: Mapping[str, str]) -> Delivery:
        """Post any bytes to the webhook once, as a stranger could: nothing is signed or added.

        Raises:
            RuntimeError: Nothing is subscribed.
        """
        return await self._webhooks.send_raw(body, headers)

    async def release(self, *, batch: bool = False, reverse: bool = False) -> list[Delivery]:
        """Deliver the webhooks that `Faults.hold` held back, and hold no longer.

        Args:
            batch: All of them in one POST.
            reverse: Youngest first.

        Returns:
            The last try of each POST.
        """
        return await self._webhooks.release(batch=batch, reverse=reverse)

    async def wait_request(
        self,
        action: str,
        call_id: str | None = None,
        *,
        count: int = 1,
        timeout: float = 10.0,  # noqa: ASYNC109 - the tests' own patience
    ) -> GraphRequest:
        """The first request for an action, past or to come, whatever became of it.

        Args:
            action: Such as "accept".
            call_id: The call; any by default.
            count: 2 for the second such request, and so on.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: It did not come.
        """
        return await self._journal.wait_request(action, call_id, count, timeout)

    async def wait_delivery(
        self,
        kind: str,
        call_id: str | None = None,
        *,
        count: int = 1,
        timeout: float = 10.0,  # noqa: ASYNC109 - the tests' own patience
    ) -> Delivery:
        """The first finished try to deliver a webhook, past or to come.

        Args:
            kind: Such as "terminate".
            call_id: The call; any by default.
            count: 2 for the second such try, and so on.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: It did not come.
        """
        return await self._journal.wait_delivery(kind, call_id, count, timeout)

    async def _answer(self, question: Question) -> Json | Download:
        if question.phone_number_id is None:
            return await self._api.answer(question)
        requests.check(question, self.account)
        if question.action == "connect":
            placed = await self._telephony.connect(requests.read_connect(question))
            return {"messaging_product": "whatsapp", "calls": [{"id": placed.id}]}
        call = self.calls.get(question.text("call_id") or "")
        if call is None:
            raise RefusalError("call_id is not that of a call")
        requests.carry_out(question, call)
        return payloads.SUCCESS

    async def _note_request(self, request: GraphRequest) -> None:
        if self.on_activity is not None:
            self.on_activity("request", request)
        await self._journal.note_request(request)

    async def _note_delivery(self, delivery: Delivery) -> None:
        if self.on_activity is not None:
            self.on_activity("delivery", delivery)
        await self._journal.note_delivery(delivery)
