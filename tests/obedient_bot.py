"""A bot for the production server that does what its caller wishes, by the call button's payload.

Without a wish it is silent, and stays until the call is over.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import struct
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from pipecat.frames.frames import EndFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker

from bots import RATE, run_worker
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.runner import create_transport
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport
from served_bot import note, on_call_ended, on_process_start

__all__ = ["on_call_ended", "on_process_start"]


class Wish(StrEnum):
    """What a caller may wish.

    Parameters:
        EXIT: The process ends without a word.
        CRASH: The process breaks, as a faulty extension module breaks it.
        BLOCK: The event loop stands still for `BLOCKED` seconds.
        HANG_UP: The bot hangs up.
        SPEAK: The bot speaks all the time, and says goodbye when it has to.
    """

    EXIT = "exit"
    CRASH = "crash"
    BLOCK = "block"
    HANG_UP = "hang up"
    SPEAK = "speak"


BLOCKED = 6.0

GOODBYE = 0.5
"""Seconds that the goodbye lasts."""


def readyz() -> dict[str, object]:
    """Tells what the process holds: nothing of a call that is over."""
    datagrams = {line.split()[9] for line in Path("/proc/self/net/udp").read_text().splitlines()}
    files = [_target(name) for name in os.listdir("/proc/self/fd")]
    holds = {
        "tasks": len(asyncio.all_tasks()),
        "datagram_sockets": sum(file[len("socket:[") : -1] in datagrams for file in files),
        "files": len(files),
    }
    return {"ready": True, "pid": os.getpid(), "holds": holds}


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


async def bot(runner_args: WhatsAppRunnerArguments) -> None:
    note("began", runner_args.call.id, runner_args.call.cta_payload)
    if runner_args.call.cta_payload == Wish.SPEAK:
        await _speak(runner_args)
    else:
        await _stay(runner_args)


async def _stay(runner_args: WhatsAppRunnerArguments) -> None:
    decided, closed = asyncio.Event(), asyncio.Event()
    connection = runner_args.webrtc_connection
    connection.add_event_handler("connected", _setting(decided))
    connection.add_event_handler("closed", _setting(decided))
    connection.add_event_handler("closed", _setting(closed))
    await connection.connect()
    await decided.wait()
    match runner_args.call.cta_payload:
        case Wish.EXIT:
            os._exit(7)
        case Wish.CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        case Wish.BLOCK:
            time.sleep(BLOCKED)  # noqa: ASYNC251 - that is the fault
            note("blocked", runner_args.call.id)
        case Wish.HANG_UP:
            return
    await closed.wait()


def _setting(event: asyncio.Event) -> Callable[..., object]:
    async def handler(*_: object) -> None:
        event.set()

    return handler


async def _speak(runner_args: WhatsAppRunnerArguments) -> None:
    transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
    assert isinstance(transport, WhatsAppTransport)
    worker = PipelineWorker(
        Pipeline([transport.input(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )
    speaking: list[asyncio.Task[None]] = []

    async def speak() -> None:
        while True:
            await worker.queue_frame(OutputAudioRawFrame(_tone(0.1), RATE, 1))
            await asyncio.sleep(0.1)

    async def on_connected(_: object, __: object) -> None:
        speaking.append(asyncio.create_task(speak()))

    async def on_disconnected(_: object, __: object) -> None:
        await worker.queue_frame(EndFrame())

    async def on_goodbye(_: object) -> None:
        note("goodbye", runner_args.call.id)
        for task in speaking:
            task.cancel()
        await worker.queue_frames([OutputAudioRawFrame(_tone(GOODBYE), RATE, 1), EndFrame()])

    transport.add_event_handler("on_client_connected", on_connected)
    transport.add_event_handler("on_client_disconnected", on_disconnected)
    transport.add_event_handler("on_goodbye", on_goodbye)
    try:
        await run_worker(worker)
    finally:
        for task in speaking:
            task.cancel()


def _tone(seconds: float) -> bytes:
    """A tone of 400 Hz, whole waves of it, so that pieces fit together."""
    samples = round(seconds * RATE)
    wave = (round(8000 * math.sin(2 * math.pi * 400 * n / RATE)) for n in range(samples))
    return struct.pack(f"<{samples}h", *wave)
