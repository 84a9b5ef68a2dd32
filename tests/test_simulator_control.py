from __future__ import annotations

import json
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pipecat_whatsapp.simulator.control import ControlServer, state_file
from pipecat_whatsapp.simulator.story import Echo


async def no_call(question: Path, record: Path | None, echo: Echo) -> str | None:
    raise NotImplementedError


async def test_there_is_always_a_simulation_to_be_found_while_others_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    looks: list[str] = []
    all_started = threading.Event()

    def look() -> None:
        while not all_started.is_set():
            try:
                looks.append(json.loads(state_file().read_text())["url"])
            except (OSError, ValueError) as error:
                looks.append(repr(error))

    looking = threading.Thread(target=look)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ControlServer(no_call))]
        looking.start()
        servers += [await stack.enter_async_context(ControlServer(no_call)) for _ in range(100)]
        all_started.set()
        looking.join()
        assert set(looks) <= {server.url for server in servers}
        assert json.loads(state_file().read_text())["url"] == servers[-1].url
    assert list(state_file().parent.iterdir()) == []
