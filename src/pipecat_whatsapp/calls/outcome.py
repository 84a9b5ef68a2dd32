"""Why a call ended, and what became of an attempt to call somebody."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """Why a call ended.

    Parameters:
        CALLER_HUNG_UP: The user ended it, or WhatsApp did for them.
        BOT_HUNG_UP: The bot ended it, or its pipeline came to its end.
        APP_HUNG_UP: The application asked for it.
        REJECTED: `on_incoming_call` declined it.
        HELD_BACK: `on_incoming_call` let it ring, for somebody else to take.
        BUSY: As many calls as allowed were running.
        OVERLOADED: The process was too late already to carry one more.
        BAD_OFFER: The far end's session description cannot carry a call.
        BOT_FAILED: The bot, or a hook of the application, raised.
        GRAPH_FAILED: A request to Meta failed.
        NOT_READY: The hook or the pipeline was not ready when the time to accept was over.
        NO_MEDIA: The link could not be opened, never came up, or no packet ever came over it.
        MEDIA_LOST: The link broke, or packets stopped.
        BROKEN: Something here raised that must not; the log has it.
        TIME_LIMIT: It lasted as long as calls may last here.
        SHUTDOWN: This process is ending.
        PROCESS_DIED: The process that served it has died; another one ended it.
        ENDED_ELSEWHERE: Another process heard of its end, or ended it.
        SERVED_ELSEWHERE: Another process answers it.
        DECLINED: The user called declined.
        UNANSWERED: The user called did not pick up in time.
        NOT_PERMITTED: The user has not allowed calls, or the number may not place any.
        UNCALLABLE: The user cannot be called.
        USER_BUSY: A call with this user was going on already.
        LIMIT_REACHED: Meta allows no further calls for now.
        NOT_CONNECTED: WhatsApp could not connect the call to the user's phone.
    """

    CALLER_HUNG_UP = "caller hung up"
    BOT_HUNG_UP = "bot hung up"
    APP_HUNG_UP = "application hung up"
    REJECTED = "rejected"
    HELD_BACK = "held back"
    BUSY = "busy"
    OVERLOADED = "overloaded"
    BAD_OFFER = "bad offer"
    BOT_FAILED = "bot failed"
    GRAPH_FAILED = "graph failed"
    NOT_READY = "bot not ready"
    NO_MEDIA = "no media"
    MEDIA_LOST = "media lost"
    BROKEN = "broken"
    TIME_LIMIT = "time limit"
    SHUTDOWN = "shutdown"
    PROCESS_DIED = "process died"
    ENDED_ELSEWHERE = "ended elsewhere"
    SERVED_ELSEWHERE = "served elsewhere"
    DECLINED = "declined"
    UNANSWERED = "unanswered"
    NOT_PERMITTED = "not permitted"
    UNCALLABLE = "uncallable"
    USER_BUSY = "user busy"
    LIMIT_REACHED = "limit reached"
    NOT_CONNECTED = "not connected"

    @property
    def is_failure(self) -> bool:
        """Whether something went wrong, rather than somebody ending the call."""
        return self in _FAILURES


_FAILURES = {
    Cause.BAD_OFFER,
    Cause.BOT_FAILED,
    Cause.BROKEN,
    Cause.GRAPH_FAILED,
    Cause.NOT_READY,
    Cause.NO_MEDIA,
    Cause.MEDIA_LOST,
    Cause.NOT_CONNECTED,
    Cause.PROCESS_DIED,
}


class Outcome(Enum):
    """What became of an attempt to call a user.

    Parameters:
        ANSWERED: The user picked up.
        DECLINED: The user declined.
        UNANSWERED: The user did not pick up in time.
        NOT_PERMITTED: The user has not allowed calls: asked and refused, or not asked, or silent.
        UNCALLABLE: The user cannot be called: no WhatsApp, or one that is too old.
        BUSY: A call with this user is going on already.
        LIMIT: As many calls or requests were made as Meta, or `max_calls`, allows for now.
        CANCELLED: Our side ended the attempt.
        FAILED: Something went wrong.
    """

    ANSWERED = "answered"
    DECLINED = "declined"
    UNANSWERED = "unanswered"
    NOT_PERMITTED = "not permitted"
    UNCALLABLE = "uncallable"
    BUSY = "busy"
    LIMIT = "limit"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @classmethod
    def unanswered_because(cls, cause: Cause) -> Outcome:
        """What a call that nobody picked up came to."""
        return _OUTCOMES.get(cause, cls.FAILED)


_OUTCOMES = {
    Cause.DECLINED: Outcome.DECLINED,
    Cause.UNANSWERED: Outcome.UNANSWERED,
    Cause.NOT_PERMITTED: Outcome.NOT_PERMITTED,
    Cause.UNCALLABLE: Outcome.UNCALLABLE,
    Cause.USER_BUSY: Outcome.BUSY,
    Cause.LIMIT_REACHED: Outcome.LIMIT,
    Cause.BUSY: Outcome.LIMIT,
    Cause.OVERLOADED: Outcome.LIMIT,
    Cause.APP_HUNG_UP: Outcome.CANCELLED,
    Cause.BOT_HUNG_UP: Outcome.CANCELLED,
    Cause.SHUTDOWN: Outcome.CANCELLED,
}
