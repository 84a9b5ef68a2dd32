"""A worker process: `python -m pipecat_whatsapp.serving.start`, which only its parent runs."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipecat_whatsapp.errors import WhatsAppError
from pipecat_whatsapp.serving.channel import Failed, encode
from pipecat_whatsapp.serving.descriptors import inherited, keep_from_forks
from pipecat_whatsapp.serving.logs import default_log_removable, set_up_logging
from pipecat_whatsapp.serving.settings import Assignment


def main() -> None:
    """Run a worker as its standard input says."""
    _leave_signals_to_parent()
    assignment = Assignment.from_json(sys.stdin.read())
    settings, end = assignment.settings, inherited(assignment.channel)
    listener = None if assignment.listener is None else inherited(assignment.listener)
    channel = end.dup()
    keep_from_forks(*filter(None, (end, channel, listener)))
    set_up_logging(settings.log_level, as_json=settings.json_logs)
    try:
        # Only now, because pipecat has something to log when it is imported.
        from pipecat_whatsapp.serving.bot_module import load_bot
        from pipecat_whatsapp.serving.worker import serve

        sys.argv = [settings.bot, *settings.arguments]
        if settings.figures:
            from pipecat_whatsapp.serving.figures import count_in

            count_in(settings.figures, assignment.seat)
        with default_log_removable():
            module = load_bot(Path(settings.bot), settings.arguments)
        # What the file has set up is for running it alone.
        set_up_logging(settings.log_level, as_json=settings.json_logs)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(assignment, module, channel, listener))
    except WhatsAppError as error:
        end.sendall(encode(Failed(str(error))))
        sys.exit(1)


def _leave_signals_to_parent() -> None:
    """Ctrl-C, a terminal's end, and systemd, reach every process; the parent knows what to do.

    A signal with a handler, unlike one that is ignored, is as usual in programs that a bot starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of uvloop, where that is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
