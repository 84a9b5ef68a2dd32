"""The webhooks about a number's settings and about the account."""

from __future__ import annotations

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.settings import Account


def settings_update(account: Account, calling: Json, *, timestamp: int) -> Json:
    """The value that tells of changed settings (Meta: call settings).

    Args:
        account: The business.
        calling: The settings as `GET /<PNID>/settings` gives them.
        timestamp: Unix seconds.
    """
    return {
        "messaging_product": "whatsapp",
        "timestamp": str(timestamp),
        "type": "phone_number_settings",
        "phone_number_settings": {"phone_number_id": account.phone_number_id, "calling": calling},
    }


def violation(account: Account, violation_type: str) -> Json:
    """The value that warns the business (Meta: account_update webhook).

    Args:
        account: The business.
        violation_type: Such as "LOW_BUSINESS_INITIATED_CALLING_QUALITY".
    """
    return {
        "phone_number": account.display_phone_number,
        "event": "ACCOUNT_VIOLATION",
        "violation_info": {"violation_type": violation_type},
    }


def restriction(account: Account, restriction_type: str, expires_at: int | None) -> Json:
    """The value that tells what the business may not do for a while.

    Args:
        account: The business.
        restriction_type: Such as "RESTRICTED_BUSINESS_INITIATED_CALLING".
        expires_at: When it ends, Unix seconds; None when the business has to end it itself.
    """
    info: Json = {"restriction_type": restriction_type}
    if expires_at is not None:
        info["expiration"] = expires_at
    return {
        "phone_number": account.display_phone_number,
        "event": "ACCOUNT_RESTRICTION",
        "restriction_info": [info],
    }
