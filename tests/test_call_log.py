from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import until
from finished_calls import PHONE, answer, fail, our_call, users_call
from pipecat_whatsapp.call_log import CallLog, record
from pipecat_whatsapp.calls.observer import Observers


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_an_answered_call_is_told_in_full() -> None:
    call = users_call()
    answer(call)
    told = record(call.report())
    began_at = datetime.fromisoformat(told.pop("began_at"))
    ended_at = datetime.fromisoformat(told.pop("ended_at"))
    assert began_at.timestamp() == pytest.approx(call.began_at, abs=0.002)
    assert (ended_at - began_at).total_seconds() == pytest.approx(10.0, abs=0.002)
    quality = told.pop("quality")
    assert (quality["mos"], quality["lost_in"], quality["first_audio_out"]) == (4.1, 20, 2.4)
    assert told == {
        "call_id": "wacid.A",
        "phone_number_id": "200",
        "direction": "inbound",
        "user": "+49…22",
        "user_id": "DE.900000000000000001",
        "outcome": "answered",
        "answered": True,
        "answered_after": 2.0,
        "duration": 8.0,
        "cause": "caller hung up",
        "failed": False,
        "detail": "",
        "stages": {
            "answered": 0.25,
            "pre-accepted": 0.5,
            "linked": 1.0,
            "ready": 1.5,
            "prepared": 1.5,
            "accepted": 2.0,
            "terminated": 10.0,
        },
        "ice_up_after": 0.75,
        "meta": {
            "status": "COMPLETED",
            "start_time": 1_790_000_002,
            "end_time": 1_790_000_010,
            "duration": 8,
            "errors": [{"code": 131000, "title": "Something with +***********22"}],
        },
    }


def test_a_failed_call_is_told_with_what_went_wrong() -> None:
    call = our_call()
    fail(call)
    told = record(call.report())
    assert (told["cause"], told["failed"], told["answered"]) == ("graph failed", True, False)
    assert told["detail"] == "no answer about ***********22"
    assert told["answered_after"] is told["meta"] is None


def test_half_a_character_costs_no_line(tmp_path: Path) -> None:
    call = users_call()
    fail(call)
    log = CallLog(tmp_path / "calls")
    log.call_ended(replace(call.report(), detail="half a smile: \ud83d"))
    log.close()
    assert lines(tmp_path / "calls")[0]["detail"] == "half a smile: \ud83d"


@pytest.mark.parametrize("make", [users_call, our_call])
def test_no_line_holds_a_phone_number(make: Any) -> None:
    for end in (answer, fail):
        call = make()
        end(call)
        assert PHONE not in json.dumps(record(call.report()))


def test_a_file_gets_a_line_for_every_call(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "calls.jsonl")
    for _ in range(3):
        call = users_call()
        fail(call)
        log.call_ended(call.report())
    log.close()
    assert [told["call_id"] for told in lines(tmp_path / "calls.jsonl")] == ["wacid.A"] * 3


async def test_a_file_may_be_moved_away(tmp_path: Path) -> None:
    path, old, call = tmp_path / "calls.jsonl", tmp_path / "old.jsonl", users_call()
    fail(call)
    log = CallLog(path)
    log.call_ended(call.report())
    await until(lambda: path.exists() and len(lines(path)) == 1)
    path.rename(old)
    log.call_ended(call.report())
    log.close()
    assert (len(lines(old)), len(lines(path))) == (1, 1)


def test_a_stream_is_written_to() -> None:
    stream, call = io.StringIO(), users_call()
    fail(call)
    log = CallLog(stream)
    log.call_ended(call.report())
    log.close()
    assert json.loads(stream.getvalue())["call_id"] == "wacid.A"


def test_a_slow_reader_holds_up_no_call() -> None:
    """A pipe that nobody reads takes no more after 64 KiB."""
    reading, writing = os.pipe()
    call = users_call()
    fail(call)
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        log = CallLog(stream)
        for _ in range(500):
            log.call_ended(call.report())
        told = [json.loads(reader.readline()) for _ in range(500)]
        log.close()
    assert len(told) == 500


def test_what_cannot_be_written_is_logged_and_harms_nobody(
    tmp_path: Path, warnings: list[str]
) -> None:
    log, call = CallLog(tmp_path / "missing" / "calls.jsonl"), users_call()
    fail(call)
    Observers([log]).call_ended(call.report())
    log.close()
    assert any("call log could not be written" in line for line in warnings)


def test_no_line_is_lost_when_the_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    code = (
        "import sys; from finished_calls import fail, users_call; "
        "from pipecat_whatsapp.call_log import CallLog; "
        "log, call = CallLog(sys.argv[1]), users_call(); fail(call); "
        "[log.call_ended(call.report()) for _ in range(200)]"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, str(path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(lines(path)) == 200
