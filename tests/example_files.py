"""The examples, as modules of a test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from pipecat_whatsapp.simulator.matching import find
from pipecat_whatsapp.simulator.phone import PhoneCall
from pipecat_whatsapp.simulator.sound import read_wav
from recordings import heard

EXAMPLES = Path(__file__).parent.parent / "examples"
SOUNDS = EXAMPLES / "sounds"


def load(name: str) -> Any:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def hears(call: PhoneCall, name: str) -> None:
    """Wait until a recorded sentence has been heard."""
    await heard(SOUNDS / f"{name}.wav", lambda: call.recording.pcm)


def was_heard(call: PhoneCall, name: str) -> bool:
    """Whether a recorded sentence has been heard from its beginning to its end."""
    return find(call.recording.pcm, read_wav(SOUNDS / f"{name}.wav")) is not None
