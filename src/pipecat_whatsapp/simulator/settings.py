"""What a simulated WhatsApp is set up with: credentials, times, and faults to show on demand."""

from __future__ import annotations

from dataclasses import dataclass, field

ACTIONS = frozenset({"pre_accept", "accept", "reject", "terminate"})


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
    """

    token: str = field(default="EAA-simulated-token", repr=False)
    phone_number_id: str = "200000000000002"
    display_phone_number: str = "15550001111"
    app_secret: str = field(default="simulated-app-secret", repr=False)
    verification_token: str = field(default="simulated-verification-token", repr=False)
    waba_id: str = "100000000000001"


@dataclass(frozen=True)
class Timing:
    """How patient Meta is, in seconds; the defaults resemble the real service.

    Parameters:
        answer_deadline: From the ring until an unanswered call ends (Meta: 30 to 60 s).
        retry_delays: Pauses before each further try of a webhook that was not answered 200.
        webhook_timeout: How long a webhook may take to be answered.
    """

    answer_deadline: float = 45.0
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
        drop_response: Actions that are acted on, but whose connection then closes without an
            answer; each entry is used up once.
        duplicate: How many more times each webhook is sent, all copies at once.
        delay: Seconds before a webhook is first sent. Read when the webhook comes up, so a
            smaller delay later on lets a younger webhook overtake an older one.
        holding: Whether webhooks are collected instead of sent; see `hold`.
    """

    latency: float = 0.0
    late_responses: dict[str, float] = field(default_factory=dict)
    hang: set[str] = field(default_factory=set)
    fail: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    drop_response: list[str] = field(default_factory=list)
    duplicate: int = 0
    delay: float = 0.0
    holding: bool = False

    def hold(self) -> None:
        """Collect webhooks from now on, until `SimulatedMeta.release` sends them."""
        self.holding = True

    def next_failure(self, action: str) -> tuple[int, int] | None:
        """Use up and return the next failure planned for `action`, if any."""
        planned = self.fail.get(action)
        return planned.pop(0) if planned else None

    def drops(self, action: str) -> bool:
        """Use up a planned loss of the response to `action`; whether there was one."""
        if action not in self.drop_response:
            return False
        self.drop_response.remove(action)
        return True
