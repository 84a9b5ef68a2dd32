"""A line of JSON for every call that has ended; its fields are listed in observability.md."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from loguru import logger

from pipecat_whatsapp.calls.call import CallReport
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.meta.events import CallTerminate
from pipecat_whatsapp.meta.graph_errors import masked


class CallLog(Observer):
    """Writes a line for every call, in a thread of its own: a slow disk holds up no call.

    A file is opened for every line, so that it may be moved away at any time, and written at
    once, so that several processes can share it.

    Args:
        target: A file's path, or a text stream such as `sys.stdout`.
    """

    def __init__(self, target: str | os.PathLike[str] | TextIO) -> None:
        self._target = target
        # Its thread is waited for when the interpreter ends: no line is lost.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="call-log")

    def call_ended(self, report: CallReport) -> None:
        """Have a call's line written."""
        line = json.dumps(record(report)) + "\n"
        self._writer.submit(self._write, line)

    def close(self) -> None:
        """Wait until all lines are written. No call may end afterwards."""
        self._writer.shutdown()

    def _write(self, line: str) -> None:
        try:
            if isinstance(self._target, str | os.PathLike):
                with open(self._target, "a", encoding="utf-8") as file:
                    file.write(line)
            else:
                self._target.write(line)
                self._target.flush()
        except (OSError, ValueError) as error:
            logger.error("A line of the call log could not be written: {}", error)


def record(report: CallReport) -> dict[str, Any]:
    """What the log says of a call: no phone number, and nothing that the application attached.

    Args:
        report: What became of the call.
    """
    return {
        "call_id": report.call_id,
        "phone_number_id": report.phone_number_id,
        "direction": report.direction.value,
        "user": str(report.user),
        "user_id": report.user.user_id,
        "began_at": _iso(report.began_at),
        "ended_at": _iso(report.began_at + report.ended_after),
        "outcome": report.outcome.value,
        "answered": report.answered,
        "answered_after": _rounded(report.answered_after),
        "duration": _rounded(report.duration),
        "cause": report.cause.value,
        "failed": report.cause.is_failure,
        "detail": masked(report.detail),
        "stages": {signal.value: _rounded(after) for signal, after in report.stages.items()},
        "ice_up_after": _rounded(report.ice_up_after),
        "quality": {name: _rounded(figure) for name, figure in asdict(report.quality).items()},
        "meta": _account(report.terminate),
    }


def _account(terminate: CallTerminate | None) -> dict[str, Any] | None:
    """Meta's own account of the end."""
    if terminate is None:
        return None
    return {
        "status": terminate.status,
        "start_time": terminate.start_time,
        "end_time": terminate.end_time,
        "duration": terminate.duration,
        "errors": [
            {"code": error.code, "title": masked(error.title or "")} for error in terminate.errors
        ],
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)
