"""Put a pipecat voice bot on WhatsApp calls.

The names below are loaded when they are first used, because the command line and the pytest
plugin live in this package too, and neither may cost a second at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipecat_whatsapp.call_log import CallLog
    from pipecat_whatsapp.calls.adapter import WebhookAdapter
    from pipecat_whatsapp.calls.bot import Accept, Bot, HoldBack, Reject, WhatsAppRunnerArguments
    from pipecat_whatsapp.calls.call import Call, CallReport
    from pipecat_whatsapp.calls.contact import Contact
    from pipecat_whatsapp.calls.dialler import DialResult
    from pipecat_whatsapp.calls.law import State
    from pipecat_whatsapp.calls.observer import Observer
    from pipecat_whatsapp.calls.outcome import Cause, Outcome
    from pipecat_whatsapp.calls.permission import PermissionTemplate
    from pipecat_whatsapp.calls.response import WebhookResponse
    from pipecat_whatsapp.config import Timing, WhatsAppConfig
    from pipecat_whatsapp.errors import WhatsAppError
    from pipecat_whatsapp.media.network import Network
    from pipecat_whatsapp.media.quality import CallQuality
    from pipecat_whatsapp.meta.capture import Capture
    from pipecat_whatsapp.meta.events import Direction, User
    from pipecat_whatsapp.meta.graph import GraphClient
    from pipecat_whatsapp.transport import (
        CallQualityMetricsData,
        WhatsAppParams,
        WhatsAppTransport,
    )

__all__ = [
    "Accept",
    "Bot",
    "Call",
    "CallLog",
    "CallQuality",
    "CallQualityMetricsData",
    "CallReport",
    "Capture",
    "Cause",
    "Contact",
    "DialResult",
    "Direction",
    "GraphClient",
    "HoldBack",
    "Network",
    "Observer",
    "Outcome",
    "PermissionTemplate",
    "Reject",
    "State",
    "Timing",
    "User",
    "WebhookAdapter",
    "WebhookResponse",
    "WhatsAppConfig",
    "WhatsAppError",
    "WhatsAppParams",
    "WhatsAppRunnerArguments",
    "WhatsAppTransport",
]

_MODULES = {
    "call_log": ("CallLog",),
    "calls.adapter": ("WebhookAdapter",),
    "calls.bot": ("Accept", "Bot", "HoldBack", "Reject", "WhatsAppRunnerArguments"),
    "calls.call": ("Call", "CallReport"),
    "calls.contact": ("Contact",),
    "calls.dialler": ("DialResult",),
    "calls.law": ("State",),
    "calls.observer": ("Observer",),
    "calls.outcome": ("Cause", "Outcome"),
    "calls.permission": ("PermissionTemplate",),
    "calls.response": ("WebhookResponse",),
    "config": ("Timing", "WhatsAppConfig"),
    "errors": ("WhatsAppError",),
    "media.network": ("Network",),
    "media.quality": ("CallQuality",),
    "meta.capture": ("Capture",),
    "meta.events": ("Direction", "User"),
    "meta.graph": ("GraphClient",),
    "transport": ("CallQualityMetricsData", "WhatsAppParams", "WhatsAppTransport"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
