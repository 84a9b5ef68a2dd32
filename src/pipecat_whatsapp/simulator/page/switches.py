"""The faults of the whole simulated WhatsApp that the page can switch on and off."""

from __future__ import annotations

from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.tokens import Token

WORDS = {
    "twice": "delivers webhooks twice",
    "late": "delivers webhooks 3 s late",
    "slow": "answers Graph requests 3 s late",
    "broken": "answers Graph requests with 500",
    "expired": "takes the token for expired",
    "sdes": "offers calls with SDES",
}
"""What WhatsApp does while a switch is on."""

SLOWNESS = 3.0
"""Seconds that webhooks and answers come late."""

SERVER_ERROR = (500, 131000)
"""HTTP status and error code of Meta's "Something went wrong"."""

_LONG_AGO = 1  # Unix seconds: in the past of every clock.


class Switches:
    """Switches for faults, whose state is that of Meta's side itself.

    Args:
        meta: Meta's side.

    Attributes:
        sdes: Whether the next offers of phones are SDES ones.
    """

    def __init__(self, meta: SimulatedMeta) -> None:
        self.sdes = False
        self._faults = meta.faults
        self._tokens = meta.business.tokens
        self._token = meta.account.token

    def state(self) -> dict[str, bool]:
        """Which switches are on."""
        faults = self._faults
        return {
            "twice": faults.duplicate > 0,
            "late": faults.delay > 0,
            "slow": faults.latency > 0,
            "broken": faults.failing is not None,
            "expired": not self._tokens.describe(self._token)["data"]["is_valid"],
            "sdes": self.sdes,
        }

    def turn(self, name: str, *, on: bool) -> None:
        """Turn a switch on or off.

        Raises:
            ValueError: There is no such switch.
        """
        match name:
            case "twice":
                self._faults.duplicate = 1 if on else 0
            case "late":
                self._faults.delay = SLOWNESS if on else 0.0
            case "slow":
                self._faults.latency = SLOWNESS if on else 0.0
            case "broken":
                self._faults.failing = SERVER_ERROR if on else None
            case "expired":
                self._tokens.add(Token(self._token, expires_at=_LONG_AGO if on else 0))
            case "sdes":
                self.sdes = on
            case _:
                raise ValueError(f"a switch is one of {', '.join(WORDS)}, not {name!r}")
