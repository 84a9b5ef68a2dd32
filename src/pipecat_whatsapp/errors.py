"""Every error that this package raises, as one tree.

::

    WhatsAppError
    ├── ConfigError          a setting is missing or wrong
    ├── WebhookError         a request is not from Meta, or not a webhook (carries an HTTP status)
    ├── DirectoryError       the directory that processes share cannot be reached
    ├── DialError            a bot did not take an order to call (`calls/dial_client.py`)
    ├── SdpError             an SDP cannot carry a WhatsApp call
    ├── GraphError           a Graph API request did not succeed
    │   ├── GraphRequestError      Meta refused (code, Meta's words, advice)
    │   │   ├── TokenError               the token is invalid, or may not do this
    │   │   ├── InvalidRequestError      the request is wrong, as Meta or we ourselves found
    │   │   ├── CallingUnavailableError  the business number cannot call, or is not set up for it
    │   │   ├── NotPermittedError        the user has not allowed calls
    │   │   ├── UncallableError          the user cannot be reached this way
    │   │   ├── UserBusyError            a call with this user is going on
    │   │   ├── CallLimitError           as many calls were placed as Meta allows
    │   │   ├── PermissionRequestError   the user cannot be asked for permission now
    │   │   ├── RateLimitError           too many requests
    │   │   ├── PaymentError             the account has no way to pay
    │   │   ├── CallSetupError           the call was not set up, or carried no sound
    │   │   └── ConversationClosedError  the user has not written or called within 24 hours
    │   ├── GraphUnreachableError  no answer came: the request's effect is unknown
    │   └── MediaError             a file of Meta's is not what was announced
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
    """A request to the webhook's address, or to place a call, was refused.

    Args:
        message: What was wrong with the request.
        status: The HTTP status to answer with.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class DirectoryError(WhatsAppError):
    """The directory that several processes share cannot be reached."""


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
        status: HTTP status of the answer, 0 when the request was not even sent.
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


class TokenError(GraphRequestError):
    """The access token is invalid or expired, or may not do what was asked."""


class InvalidRequestError(GraphRequestError):
    """A request itself is wrong, such as its SDP.

    What Meta is known to refuse is found before it is sent; `status` and `code` are then 0.
    """


class CallingUnavailableError(GraphRequestError):
    """The business number cannot call, or is not set up for it."""


class NotPermittedError(GraphRequestError):
    """The user has not given permission to be called."""


class UncallableError(GraphRequestError):
    """The user cannot be reached this way, by whoever asks."""


class UserBusyError(GraphRequestError):
    """The business number already has a call with this user."""


class CallLimitError(GraphRequestError):
    """As many calls run, or were placed, as Meta allows."""


class PermissionRequestError(GraphRequestError):
    """The user cannot be asked for permission to call now, or need not be."""


class RateLimitError(GraphRequestError):
    """More requests were sent than Meta allows."""


class PaymentError(GraphRequestError):
    """The WhatsApp Business Account has no valid way to pay."""


class CallSetupError(GraphRequestError):
    """A call was not set up in time, or carried no sound."""


class ConversationClosedError(GraphRequestError):
    """The user has neither written nor called within 24 hours: only a template may be sent."""


class GraphUnreachableError(GraphError):
    """No answer to a request arrived, or none that says whether Meta acted on it.

    Args:
        message: What happened, and what to do about it.
        retry_after: Seconds that Meta asked us to wait, 0 when it did not say.
        refusal: How Meta refused the last attempt, after one that it may have acted on.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float = 0.0,
        refusal: GraphRequestError | None = None,
    ) -> None:
        super().__init__(message, retryable=True, retry_after=retry_after)
        self.refusal = refusal


class MediaError(GraphError):
    """A recording, transcript or voicemail could not be had as Meta announced it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)
