"""The calling settings of a number: what `GET` and `POST /<PNID>/settings` do, and their effect."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pipecat_whatsapp.simulator import settings_rules as rules
from pipecat_whatsapp.simulator.call_hours import check_call_hours, is_open
from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError

NOT_ENABLED = 138000
SIP_MODE = 131055
NOT_AVAILABLE = 138013
PAUSED = 138014
LOW_LIMIT = 138015
NOT_READY = 138018
NEEDED_LIMIT = 2000
"""How many users a business must be allowed to write to before it may enable calling."""

ICON_VISIBILITIES = ("DEFAULT", "DISABLE_ALL", "HIDE_IN_CHAT")
KEY_EXCHANGES = ("DTLS", "SDES")
BUSINESS_CALLING = "RESTRICTED_BUSINESS_INITIATED_CALLING"
USER_CALLING = "RESTRICTED_USER_INITIATED_CALLING"


@dataclass(frozen=True)
class Voicemail:
    """When Meta takes a call in the business's place.

    Parameters:
        on_reject: Whether it takes calls that the business rejects.
        timeout: Seconds of ringing after which it takes a call; None when it does not.
    """

    on_reject: bool
    timeout: float | None


class CallingSettings:
    """The settings of one number, switched on from the start.

    Args:
        enabled: Whether calling is on.
        calls_users: Whether numbers of its country may place calls.
        test_number: Whether the number is Meta's test number, which needs no messaging limit.
        clock: Unix seconds.
        announcements: The ids of uploaded voicemail announcements.
        app_id: The app whose tokens change the settings.
        is_subscribed: Whether an app is subscribed to `calls`.
        on_update: Told of changes that Meta tells by webhook; gets what `read` gives.

    Attributes:
        messaging_limit: To how many users the business may write in 24 hours.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        calls_users: bool = True,
        test_number: bool = False,
        clock: Callable[[], float] = time.time,
        announcements: Collection[str] = (),
        app_id: str = "",
        is_subscribed: Callable[[], bool] = lambda: True,
        on_update: Callable[[Json], object] = lambda _: None,
    ) -> None:
        self.messaging_limit = 100_000
        self._calls_users = calls_users
        self._test_number = test_number
        self._calling: Json = {
            "status": "ENABLED" if enabled else "DISABLED",
            "call_icon_visibility": "DEFAULT",
            "callback_permission_status": "DISABLED",
        }
        self._restrictions: list[Json] = []
        self._clock = clock
        self._announcements = announcements
        self._app_id = app_id
        self._is_subscribed = is_subscribed
        self._on_update = on_update
        self._sip_password = secrets.token_urlsafe(12)

    def read(self, *, with_credentials: bool = False) -> Json:
        """What `GET /<PNID>/settings` gives under `calling` (Meta: call settings).

        Args:
            with_credentials: Whether each SIP server comes with its password.
        """
        calling = copy.deepcopy(self._calling)
        if with_credentials:
            for server in calling.get("sip", {}).get("servers", ()):
                server["sip_user_password"] = self._sip_password
        live = [copy.copy(one) for one in self._restrictions if self._lasts(one)]
        if live:
            calling["restrictions"] = {"restrictions_list": live}
        return calling

    def write(self, changes: Json) -> None:
        """Do what `POST /<PNID>/settings` asks for with `calling`: all of it, or nothing.

        What is not named stays as it is; each part that is named is replaced as a whole, but in
        `sip`, too, what is not named stays.

        Raises:
            RefusalError: A value is not allowed, or calling cannot be enabled now.
        """
        rules.demand("restrictions" not in changes, "restrictions can only be read")
        rules.check_keys("calling", changes, _CHECKS)
        for name, value in changes.items():
            self._check(name, value)
        after = self._calling | copy.deepcopy(changes)
        if "sip" in changes:
            after["sip"] = self._merged_sip(after["sip"])
        if after["status"] == "ENABLED" and not self.calling_enabled:
            self._check_enabling(after)
        before, self._calling = _told(self._calling), after
        if _told(after) != before:
            self._on_update(self.read())

    def enable(self) -> None:
        """Switch calling on without a word, as a number that is set up."""
        self._calling["status"] = "ENABLED"

    def restrict(self, kind: str, reason: str, expires_at: int | None) -> None:
        """Forbid the business something, as Meta does after complaints of users.

        Args:
            kind: Such as "RESTRICTED_BUSINESS_INITIATED_CALLING".
            reason: Why.
            expires_at: When it ends, Unix seconds; None for a restriction without end.
        """
        restriction: Json = {"type": kind, "reason": reason}
        if expires_at is not None:
            restriction["expiration"] = expires_at
        self._restrictions.append(restriction)

    @property
    def calling_enabled(self) -> bool:
        """Whether calling is on."""
        return bool(self._calling["status"] == "ENABLED")

    @property
    def sip_enabled(self) -> bool:
        """Whether calls go by SIP: then Graph knows none."""
        return bool(self._calling.get("sip", {}).get("status") == "ENABLED")

    @property
    def tells_sip_calls(self) -> bool:
        """Whether webhooks tell that calls by SIP begin and end (Meta: SIP)."""
        return bool(self._calling.get("sip", {}).get("webhook_delivery") == "ENABLED")

    @property
    def uses_sdes(self) -> bool:
        """Whether offers carry SDES keys, and no fingerprint."""
        return self._calling.get("srtp_key_exchange_protocol") == "SDES"

    @property
    def gives_call_back(self) -> bool:
        """Whether a user who calls may be called back."""
        return bool(self._calling["callback_permission_status"] == "ENABLED")

    @property
    def takes_calls(self) -> bool:
        """Whether a user's call reaches the business now."""
        open_now = is_open(self._calling.get("call_hours", {}), self._clock())
        return self.calling_enabled and open_now and not self._restricted(USER_CALLING)

    @property
    def voicemail(self) -> Voicemail | None:
        """When Meta takes a call in the business's place; None for never."""
        voicemail = self._calling.get("voicemail", {})
        if voicemail.get("status") != "ENABLED":
            return None
        triggers = voicemail["triggers"]
        # Without its time, the trigger is off.
        timeout = voicemail["audio"]["default"].get("timeout_seconds")
        return Voicemail("REJECT" in triggers, timeout if "TIMEOUT" in triggers else None)

    def check_calls(self) -> None:
        """Check that Graph can be asked about calls.

        Raises:
            RefusalError: 138000 (HTTP 401) while calling is off, 131055 in SIP mode.
        """
        self._check_enabled()
        if self.sip_enabled:
            raise RefusalError("The number's calls go by SIP", code=SIP_MODE)

    def check_placing(self) -> None:
        """Check that the business may place calls.

        Raises:
            RefusalError: 138013: not from its country; 138014: it is restricted.
        """
        if not self._calls_users:
            raise RefusalError("Numbers of this country cannot place calls", code=NOT_AVAILABLE)
        if self._restricted(BUSINESS_CALLING):
            raise RefusalError("Calling is paused: users complained", code=PAUSED)

    def check_asking(self) -> None:
        """Check that the business may ask users whether it may call.

        Raises:
            RefusalError: 138000 (HTTP 401) while calling is off, or as with `check_placing`.
        """
        self._check_enabled()
        self.check_placing()

    def _check(self, name: str, value: object) -> None:
        words = _WORDS.get(name)
        if words is not None:
            rules.check_word(name, value, words)
        elif name == "voicemail":
            rules.check_voicemail(rules.an_object(name, value), self._announcements)
        elif name == "call_hours":
            check_call_hours(rules.an_object(name, value), self._clock())
        else:
            _PARTS[name](rules.an_object(name, value))

    def _merged_sip(self, changes: Json) -> Json:
        sip: Json = {"status": "DISABLED"} | self._calling.get("sip", {}) | changes
        sip["servers"] = [server | {"app_id": self._app_id} for server in sip.get("servers", ())]
        enabled_at_all = sip["status"] == "DISABLED" or bool(sip["servers"])
        rules.demand(enabled_at_all, "SIP cannot be enabled without a server", NOT_READY)
        return sip

    def _check_enabled(self) -> None:
        if not self.calling_enabled:
            details = "Calling is not enabled on this number"
            raise RefusalError(details, code=NOT_ENABLED, status=401)

    def _check_enabling(self, calling: Json) -> None:
        if self.messaging_limit < NEEDED_LIMIT and not self._test_number:
            details = f"The messaging limit is below {NEEDED_LIMIT}"
            raise RefusalError(details, code=LOW_LIMIT)
        ready = self._is_subscribed() or calling.get("sip", {}).get("servers")
        details = "No app is subscribed to the webhook field calls, and there is no SIP server"
        rules.demand(bool(ready), details, NOT_READY)

    def _restricted(self, kind: str) -> bool:
        return any(one["type"] == kind and self._lasts(one) for one in self._restrictions)

    def _lasts(self, restriction: Json) -> bool:
        return bool(restriction.get("expiration", self._clock() + 1) > self._clock())


_WORDS = {
    "status": rules.STATUSES,
    "call_icon_visibility": ICON_VISIBILITIES,
    "callback_permission_status": rules.STATUSES,
    "srtp_key_exchange_protocol": KEY_EXCHANGES,
}


def _told(calling: Json) -> list[object]:
    """What of the settings Meta tells by webhook when it changes."""
    return [calling.get("sip", {}).get("status"), *(calling.get(name) for name in _WORDS)]


_PARTS: dict[str, Callable[[Json], None]] = {
    "call_icons": rules.check_icons,
    "audio": rules.check_audio,
    "sip": rules.check_sip,
}

_CHECKS = {*_WORDS, *_PARTS, "call_hours", "voicemail"}
