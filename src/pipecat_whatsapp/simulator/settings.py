"""What a simulated WhatsApp is set up with: credentials, times, and faults to show on demand."""

from __future__ import annotations

from dataclasses import dataclass, field

_NO_OUTBOUND = ("1", "20", "84", "234")
"""Country codes whose numbers may not call: USA and Canada, Egypt, Vietnam, Nigeria."""

ACTIONS = frozenset({"connect", "pre_accept", "accept", "reject", "terminate"})


@dataclass(frozen=True)
class Account:
    """The credentials and ids that Meta and the business share; all defaults are invented.

    Parameters:
        token: Access token for Graph requests.
        phone_number_id: Id of the business number.
        display_phone_number: The business number in digits.
        app_secret: Key of the webhook signatures.
        verification_token: What the business expects in the subscription handshake.
        waba_id: Id of the WhatsApp Business Account.
        app_id: Id of the app.
        allowed_recipients: The numbers that a test number may write to and call; None for a
            number that is none.
        concurrent_calls: How many calls the number may have at once.
        connects_per_day: How many calls the number may place in 24 hours.
        can_pay: Whether the business has a valid payment method.
    """

    token: str = field(default="EAA-simulated-token", repr=False)
    phone_number_id: str = "200000000000002"
    display_phone_number: str = "493055501111"
    app_secret: str = field(default="simulated-app-secret", repr=False)
    verification_token: str = field(default="simulated-verification-token", repr=False)
    waba_id: str = "100000000000001"
    app_id: str = "300000000000003"
    allowed_recipients: frozenset[str] | None = None
    concurrent_calls: int = 1000
    connects_per_day: int = 10_000
    can_pay: bool = True

    @property
    def may_call_users(self) -> bool:
        """Whether numbers of its country may place calls (Meta: availability)."""
        return not self.display_phone_number.startswith(_NO_OUTBOUND)


@dataclass(frozen=True)
class Timing:
    """How patient Meta is, in seconds; the defaults resemble the real service.

    Parameters:
        answer_deadline: From the ring until a user's unanswered call ends (Meta: 30 to 60 s).
        ring_timeout: How long a user's phone rings when the business calls (Meta does not say).
        retry_delays: Pauses before each further try of a webhook that was not answered 200.
        webhook_timeout: How long a webhook may take to be answered.
    """

    answer_deadline: float = 45.0
    ring_timeout: float = 45.0
    retry_delays: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    webhook_timeout: float = 20.0


@dataclass
class Faults:
    """What goes wrong; may be changed while the simulator runs.

    An action is that of a request about calls, such as "accept"; for other requests it is the end
    of their path, such as "messages" or "call_permissions".

    Parameters:
        latency: Seconds before a Graph request is acted on and answered.
        late_responses: For each action, seconds between acting on a request and answering it: what
            it causes, such as webhooks, comes before its answer.
        hang: Actions that are neither acted on nor answered, for as long as they are listed.
        fail: For each action, the (HTTP status, error code) of its next requests, used up one by
            one; such a request is not acted on.
        failing: The (HTTP status, error code) of every other request, for as long as it is set.
        drop_response: Actions that are acted on, but whose connection then closes without an
            answer; each entry is used up once.
        duplicate: How many more times each webhook is sent, all copies at once.
        delay: Seconds before a webhook is first sent. Read when the webhook comes up, so a
            smaller delay later on lets a younger webhook overtake an older one.
        late: For each kind of webhook, such as "accepted", seconds that come on top of `delay`.
        lose: Kinds of webhooks that never arrive; each entry is used up once.
        standby: Whether another partner of the business is its primary one: then of all webhooks
            about calls only the terminate of the business's own calls arrives.
        holding: Whether webhooks are collected instead of sent; see `hold`.
    """

    latency: float = 0.0
    late_responses: dict[str, float] = field(default_factory=dict)
    hang: set[str] = field(default_factory=set)
    fail: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    failing: tuple[int, int] | None = None
    drop_response: list[str] = field(default_factory=list)
    duplicate: int = 0
    delay: float = 0.0
    late: dict[str, float] = field(default_factory=dict)
    lose: list[str] = field(default_factory=list)
    standby: bool = False
    holding: bool = False

    def hold(self) -> None:
        """Collect webhooks from now on, until `SimulatedMeta.release` sends them."""
        self.holding = True

    def next_failure(self, action: str) -> tuple[int, int] | None:
        """The failure of the next request for `action`, if any; a planned one is used up."""
        planned = self.fail.get(action)
        return planned.pop(0) if planned else self.failing

    def drops(self, action: str) -> bool:
        """Use up a planned loss of the response to `action`; whether there was one."""
        return _use_up(self.drop_response, action)

    def loses(self, kind: str) -> bool:
        """Use up a planned loss of a webhook of this kind; whether there was one."""
        return _use_up(self.lose, kind)


def _use_up(planned: list[str], item: str) -> bool:
    if item not in planned:
        return False
    planned.remove(item)
    return True
