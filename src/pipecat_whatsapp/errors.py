"""Every error that this package raises, as one tree.

::

    WhatsAppError
    ├── ConfigError          a setting is missing or wrong
    ├── WebhookError         a request is not from Meta, or not a webhook (carries an HTTP status)
    ├── SdpError             an SDP cannot carry a WhatsApp call
    ├── GraphError           a Graph API request did not succeed
    │   ├── GraphRequestError      Meta answered with an error (code, Meta's words, advice)
    │   └── GraphUnreachableError  no answer came: the request's effect is unknown
    └── SimulatorError       the simulated WhatsApp cannot do what was asked (its modules say more)

A message says in one sentence what happened, why, and what to do. It never holds a token, a
secret, an SDP or a full phone number.
"""

from __future__ import annotations


class WhatsAppError(Exception):
    """Base of all errors of this package."""


class ConfigError(WhatsAppError):
    """A setting is missing or cannot be used."""


class WebhookError(WhatsAppError):
    """A webhook request was refused before its body was read.

    Args:
        message: What was wrong with the request.
        status: The HTTP status to answer with.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class SimulatorError(WhatsAppError):
    """The simulated WhatsApp cannot do what was asked."""


class SdpError(WhatsAppError):
    """A session description cannot carry a WhatsApp call."""


class GraphError(WhatsAppError):
    """A Graph API request did not succeed.

    Args:
        message: What happened, and what to do about it.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds that Meta asked us to wait, 0 when it did not say.
    """

    def __init__(self, message: str, *, retryable: bool, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


class GraphRequestError(GraphError):
    """Meta answered a request with an error.

    Args:
        message: One sentence with Meta's words and the advice.
        status: HTTP status of the answer.
        code: Meta's error code, 0 when the answer carried none.
        meta_message: Meta's own words (`error.message` and `error.error_data.details`).
        advice: What usually helps, empty when nothing is known.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds that Meta asked us to wait, 0 when it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: int,
        meta_message: str,
        advice: str,
        retryable: bool,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after=retry_after)
        self.status = status
        self.code = code
        self.meta_message = meta_message
        self.advice = advice


class GraphUnreachableError(GraphError):
    """No answer to a request arrived, so Meta may or may not have acted on it."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message, retryable=True, retry_after=retry_after)
