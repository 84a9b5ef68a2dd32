"""Put a pipecat voice bot on WhatsApp calls.

The names below are loaded when they are first used, because the command line and the pytest
plugin live in this package too, and neither may cost a second at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipecat_whatsapp.calls.adapter import WebhookAdapter, WebhookResponse
    from pipecat_whatsapp.calls.bot import Bot, Reject, WhatsAppRunnerArguments
    from pipecat_whatsapp.calls.call import Call, CallReport, Cause, State
    from pipecat_whatsapp.config import Timing, WhatsAppConfig
    from pipecat_whatsapp.errors import WhatsAppError
    from pipecat_whatsapp.media.quality import CallQuality
    from pipecat_whatsapp.transport import (
        CallQualityMetricsData,
        WhatsAppParams,
        WhatsAppTransport,
    )

__all__ = [
    "Bot",
    "Call",
    "CallQuality",
    "CallQualityMetricsData",
    "CallReport",
    "Cause",
    "Reject",
    "State",
    "Timing",
    "WebhookAdapter",
    "WebhookResponse",
    "WhatsAppConfig",
    "WhatsAppError",
    "WhatsAppParams",
    "WhatsAppRunnerArguments",
    "WhatsAppTransport",
]

_MODULES = {
    "calls.adapter": ("WebhookAdapter", "WebhookResponse"),
    "calls.bot": ("Bot", "Reject", "WhatsAppRunnerArguments"),
    "calls.call": ("Call", "CallReport", "Cause", "State"),
    "config": ("Timing", "WhatsAppConfig"),
    "errors": ("WhatsAppError",),
    "media.quality": ("CallQuality",),
    "transport": ("CallQualityMetricsData", "WhatsAppParams", "WhatsAppTransport"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
