from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger

from pipecat_whatsapp.simulator.journal import Journal
from pipecat_whatsapp.simulator.question import Question
from pipecat_whatsapp.simulator.webhooks import Delivery


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.strip()), format="{message}")
    yield lines
    logger.remove(sink)


def question(path: str, **body: str) -> Question:
    return Question("POST", path, authorization="Bearer secret", body=body, too_long=False)


async def test_the_log_names_the_call_or_the_path(log: list[str]) -> None:
    journal = Journal()
    for asked in (
        question("/v26.0/2/calls", action="accept", call_id="wacid.A"),
        question("/v26.0/2/calls", action="connect"),
        question("/v26.0/2/settings"),
    ):
        await journal.note_request(asked.record(at=0.0, status=200, error_code=None))
    assert log == [
        "wacid.A: Graph answers 'accept' with 200",
        "/v26.0/2/calls: Graph answers 'connect' with 200",
        "/v26.0/2/settings: Graph answers 'settings' with 200",
    ]


async def test_the_log_tells_webhooks_of_calls_from_others(log: list[str]) -> None:
    journal = Journal()
    await journal.note_delivery(Delivery(0.0, "terminate", "wacid.A", attempt=1, status=200))
    await journal.note_delivery(Delivery(0.0, "messages", None, attempt=1, status=None))
    assert log == [
        "wacid.A: terminate webhook answered with 200",
        "no call: messages webhook answered with nothing",
    ]
