"""The calling settings of a business number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipecat_whatsapp.meta import settings_body as body
from pipecat_whatsapp.meta.answers import unreadable
from pipecat_whatsapp.meta.calling_settings import (
    CallHours,
    CallingSettings,
    Holiday,
    OpeningSpan,
    SipServer,
    SipSettings,
    VoicemailSettings,
    read_calling_settings,
)
from pipecat_whatsapp.meta.checks import checked_id, invalid
from pipecat_whatsapp.meta.events import Restriction
from pipecat_whatsapp.meta.graph_requests import SendRequest

__all__ = [
    "CallHours",
    "CallingSettings",
    "Holiday",
    "OpeningSpan",
    "Restriction",
    "SettingsApi",
    "SipServer",
    "SipSettings",
    "VoicemailSettings",
    "read_calling_settings",
]


class SettingsApi:
    """Reads and changes the calling settings of a number.

    Args:
        request: Sends a request.
    """

    def __init__(self, request: SendRequest) -> None:
        self._request = request

    async def read(
        self, phone_number_id: str, *, include_sip_credentials: bool = False
    ) -> CallingSettings:
        """Read a number's settings.

        Source: Meta, call settings. Needs the permission whatsapp_business_management.

        Args:
            phone_number_id: The business number.
            include_sip_credentials: Whether Meta shall tell the SIP passwords too.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came, or none that can be read.
        """
        answer = await self._request(
            "GET",
            _path(phone_number_id),
            params={"include_sip_credentials": "true"} if include_sip_credentials else None,
            retry=True,
        )
        # A number whose calling was never touched may have no such settings at all.
        if not answer:
            raise unreadable("the question for the settings")
        return read_calling_settings(answer.get("calling"))

    async def write(
        self,
        phone_number_id: str,
        *,
        status: str | None = None,
        call_icon_visibility: str | None = None,
        restrict_to_user_countries: Sequence[str] | None = None,
        call_hours: CallHours | None = None,
        callback_permission_status: str | None = None,
        srtp_key_exchange_protocol: str | None = None,
        additional_codecs: Sequence[str] | None = None,
        sip: SipSettings | None = None,
        voicemail: VoicemailSettings | None = None,
    ) -> None:
        """Change a number's settings; what is not given stays as it is.

        Call hours are replaced as a whole, together with their holidays.

        Source: Meta, call settings. Needs the permission whatsapp_business_management.

        Args:
            phone_number_id: The business number.
            status: "ENABLED" or "DISABLED": whether the number can be called at all.
            call_icon_visibility: "DEFAULT", "DISABLE_ALL" or "HIDE_IN_CHAT".
            restrict_to_user_countries: Show the icon only in these countries ("DE"); empty for all.
            call_hours: When the number can be called.
            callback_permission_status: "ENABLED" when who calls may also be called back.
            srtp_key_exchange_protocol: "DTLS" or "SDES". Calls through this package need DTLS.
            additional_codecs: "PCMA" and "PCMU", beside Opus.
            sip: Calls over SIP instead. Calls through this package need it off.
            voicemail: What happens to calls that nobody takes.

        Raises:
            InvalidRequestError: A value is not one that Meta takes.
            CallingUnavailableError: Calling cannot be switched on; the error says why.
            GraphRequestError: Meta refused for another reason.
            GraphUnreachableError: No answer came; the settings may have changed.
        """
        given: dict[str, tuple[Any, Callable[[Any], Any]]] = {
            "status": (status, body.status),
            "call_icon_visibility": (call_icon_visibility, body.visibility),
            "call_icons": (restrict_to_user_countries, body.call_icons),
            "call_hours": (call_hours, body.call_hours),
            "callback_permission_status": (callback_permission_status, body.callback_permission),
            "srtp_key_exchange_protocol": (srtp_key_exchange_protocol, body.key_exchange),
            "audio": (additional_codecs, body.audio),
            "sip": (sip, body.sip),
            "voicemail": (voicemail, body.voicemail),
        }
        changes = {
            name: checked(value) for name, (value, checked) in given.items() if value is not None
        }
        if not changes:
            raise invalid("no setting is changed", "name at least one")
        await self._request("POST", _path(phone_number_id), json={"calling": changes}, retry=True)


def _path(phone_number_id: str) -> str:
    return f"{checked_id('phone number id', phone_number_id)}/settings"
