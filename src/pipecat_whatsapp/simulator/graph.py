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

import time
from collections.abc import Callable, Mapping
from typing import Self

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator import payloads, requests
from pipecat_whatsapp.simulator.api import Api
from pipecat_whatsapp.simulator.business import Business
from pipecat_whatsapp.simulator.call import BusinessCall, CallState, Leg, MetaCall, UserCall
from pipecat_whatsapp.simulator.graph_server import GraphServer
from pipecat_whatsapp.simulator.journal import Journal
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.phones import Handset, Phones
from pipecat_whatsapp.simulator.question import GraphRequest, Question
from pipecat_whatsapp.simulator.rules import RefusalError
from pipecat_whatsapp.simulator.settings import ACTIONS, Account, Faults, Timing
from pipecat_whatsapp.simulator.subscriptions import Subscriptions
from pipecat_whatsapp.simulator.telephony import Telephony
from pipecat_whatsapp.simulator.webhooks import (
    Delivery,
    SubscriptionError,
    UnreachableError,
    WebhookSender,
)

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
    "UnreachableError",
    "UserCall",
]


class SimulatedMeta(Journal):
    """A WhatsApp of one's own: an HTTP server for the Graph API, and a sender of webhooks.

    Args:
        account: Credentials and ids, shared with the business.
        timing: Deadlines and retries.
        faults: What goes wrong; also kept as an attribute, to be changed at any time.
        clock: Unix seconds, for all times that webhooks and answers tell, and for all that lasts
            hours or days: permissions, windows, limits, files.

    Attributes:
        business: What Meta keeps of the business: settings, permissions, messages, files ...
        permissions: Which users it may call.
        api: Answers Graph requests.
        calls: Every call by its id, ended ones too.
    """

    def __init__(
        self,
        account: Account | None = None,
        *,
        timing: Timing | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.account = account or Account()
        self.timing = timing or Timing()
        self.faults = faults or Faults()
        subscriptions = Subscriptions()
        self._webhooks = WebhookSender(
            self.account,
            self.timing,
            self.faults,
            address=subscriptions.webhook_url,
            on_delivery=self.note_delivery,
        )
        self._phones = Phones()
        self.business = Business(
            self.account,
            subscriptions=subscriptions,
            find=self._phones.find,
            notify=self._webhooks.send,
            host=lambda: self.graph_url,
            clock=clock,
            enabled=False,
        )
        self.permissions = self.business.permissions
        self._telephony = Telephony(
            self.account, self.timing, self._webhooks, self.business, self._phones, clock
        )
        self.calls = self._telephony.calls
        self.api = Api(
            self.account,
            self.business,
            act_on_call=self._act_on_call,
            verify=self.verify,
            clock=clock,
        )
        self._server = GraphServer(
            self.faults, answer=self.api.answer, on_request=self.note_request
        )

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
        """Set the business up: verify its webhook, send all webhooks to it, switch calling on.

        Raises:
            SubscriptionError: The answer was not 200 with the challenge as its whole body.
        """
        await self.verify(webhook_url, self.account.verification_token)
        self.business.set_up(webhook_url)

    async def verify(self, webhook_url: str, verify_token: str) -> None:
        """Ask a webhook address whether it wants webhooks.

        Raises:
            SubscriptionError: The answer was not 200 with the challenge as its whole body.
        """
        await self._webhooks.verify(webhook_url, verify_token)

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
            NotCallableError: The business takes no call now, or none of this user.
            ValueError: There is a call of this id already.
        """
        if not self.business.subscriptions.has_address:
            raise RuntimeError("No webhook is subscribed: call subscribe() first.")
        given = {"deeplink_payload": deeplink_payload, "cta_payload": cta_payload}
        extras = {name: value for name, value in given.items() if value is not None}
        return self._telephony.ring(
            leg, offer_sdp, user, extras=extras, call_id=call_id, timestamp=timestamp
        )

    @property
    def offer_variant(self) -> str:
        """The form of offers to the business, see `write_offer`."""
        return "sdes" if self.business.settings.uses_sdes else "today"

    def register(self, phone: Handset) -> None:
        """Let a phone be reached; of several phones of one user, the youngest is."""
        self._phones.register(phone)

    def unregister(self, phone: Handset) -> None:
        """Let a phone be reached no more."""
        self._phones.unregister(phone)

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
        self._demand_subscribed(field)
        if field in ("calls", "messages"):
            value = payloads.addressed(self.account, value)
        return await self._webhooks.send(field, value)

    async def deliver_raw(self, body: bytes, headers: Mapping[str, str]) -> Delivery:
        """Post any bytes to the webhook once, as a stranger could: nothing is signed or added.

        Raises:
            RuntimeError: Nothing is subscribed.
        """
        self._demand_subscribed("calls")
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

    async def _act_on_call(self, question: Question) -> Json:
        requests.check(question)
        self.business.settings.check_calls()
        if question.action == "connect":
            placed = await self._telephony.connect(requests.read_connect(question))
            return {"messaging_product": "whatsapp", "calls": [{"id": placed.id}]}
        call = self.calls.get(question.text("call_id") or "")
        if call is None:
            raise RefusalError("call_id is not that of a call")
        requests.carry_out(question, call)
        return payloads.SUCCESS

    def _demand_subscribed(self, field: str) -> None:
        if self.business.subscriptions.webhook_url(field) is None:
            raise RuntimeError(f"Nothing is subscribed to {field}: call subscribe() first.")
