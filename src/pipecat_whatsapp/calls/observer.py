"""What an observer is told of a process's calls: for metrics, traces and logs of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from loguru import logger

from pipecat_whatsapp.calls.call import Call, CallReport


class Observer:
    """Watches what happens, and changes nothing.

    Subclass it and override what is of interest. Every method is called on the event loop, between
    the packets of all calls: it returns at once. What one raises is logged, and harms no call.
    """

    def webhook(self, kind: str, result: str) -> None:
        """A webhook's request was refused, or one event of it was dealt with.

        Args:
            kind: The event's kind; one of a few words.
            result: What became of it; one of a few words.
        """

    def graph_request(self, action: str, status: str, seconds: float) -> None:
        """One attempt of a request to Meta's Graph API is over.

        Args:
            action: What was asked: `pre_accept`, `accept`, or method and kind of path.
            status: Meta's HTTP status; `unreachable` where none came.
            seconds: How long it took.
        """

    def call_began(self, call: Call) -> None:
        """A call is ours to serve; it has neither been answered nor got its bot.

        This runs in the call's own context: context variables that are set here are set in the
        call's bot too, and in `call_ended`.

        Args:
            call: The call.
        """

    def call_ended(self, report: CallReport) -> None:
        """A call that began is over here. This runs in the call's own context too.

        But for one whose process has died (`Cause.PROCESS_DIED`): it began there, and is ended
        and told of here.

        Args:
            report: What became of it.
        """

    def lag(self, seconds: float) -> None:
        """The event loop was measured.

        Args:
            seconds: How late it woke up.
        """

    def capacity(self, max_calls: int | None) -> None:
        """How many calls this process takes at once is known, or has changed.

        Args:
            max_calls: How many; None when there is no limit.
        """


class Observers(Observer):
    """Several observers in one; what one of them raises neither harms a call nor the others.

    Args:
        observers: Whom to tell.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def webhook(self, kind: str, result: str) -> None:
        """Tell all of a webhook."""
        self._tell(lambda observer: observer.webhook(kind, result))

    def graph_request(self, action: str, status: str, seconds: float) -> None:
        """Tell all of an attempt of a request."""
        self._tell(lambda observer: observer.graph_request(action, status, seconds))

    def call_began(self, call: Call) -> None:
        """Tell all of a call's beginning."""
        self._tell(lambda observer: observer.call_began(call))

    def call_ended(self, report: CallReport) -> None:
        """Tell all of a call's end."""
        self._tell(lambda observer: observer.call_ended(report))

    def lag(self, seconds: float) -> None:
        """Tell all how late the event loop was."""
        self._tell(lambda observer: observer.lag(seconds))

    def capacity(self, max_calls: int | None) -> None:
        """Tell all how many calls there may be."""
        self._tell(lambda observer: observer.capacity(max_calls))

    def _tell(self, message: Callable[[Observer], Any]) -> None:
        for observer in self._observers:
            try:
                message(observer)
            except Exception:  # noqa: BLE001 - an application's observer may raise anything
                logger.exception("{} raised", type(observer).__name__)
