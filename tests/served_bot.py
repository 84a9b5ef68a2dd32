"""A bot for processes of the production server; it notes what happens in a file."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import replace
from pathlib import Path

from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.calls.call import CallReport

parser = argparse.ArgumentParser()
parser.add_argument("--greeting", default="hello")


def note(*words: object) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(" ".join(map(str, (os.getpid(), *words))) + "\n")


async def on_start(adapter: WebhookAdapter) -> None:
    note("on_start")


async def on_process_start(adapter: WebhookAdapter) -> None:
    """What calls wait for, they wait for on however slow a machine.

    That is a process, and the webhook that tells who hung up.
    """
    timing = replace(adapter.config.timing, accept_deadline=60.0, link_lost_grace=10.0)
    if timing.room_patience:
        timing = replace(timing, room_patience=60.0)
    adapter.configure(timing=timing)


async def on_call_ended(report: CallReport) -> None:
    note("ended", report.call_id, report.cause.value)


def readyz() -> dict[str, bool | str]:
    return {"ready": True, "model": "warm"}


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    assert runner_args.cli_args is not None
    note("began", runner_args.call.id, runner_args.cli_args.greeting)
    closed = asyncio.Event()

    async def on_closed(_: object) -> None:
        closed.set()

    connection = runner_args.webrtc_connection
    connection.add_event_handler("closed", on_closed)
    await connection.connect()
    await closed.wait()
