"""What the whole test run logs is searched (log_watch.py); here it is made sure that this works."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from loguru import logger

import log_watch
from bots import PlainBot
from conftest import Reports
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import ADA, Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.settings import Account
from scripted_graph import PHONE, TOKEN
from terminal import run

ACCOUNT = Account()

FORBIDDEN = [
    (ACCOUNT.token, "token"),
    (TOKEN, "token"),
    (ACCOUNT.app_secret, "secret"),
    (ACCOUNT.verification_token, "secret"),
    ("v=0\r\na=ice-pwd:0123456789abcdef", "sdp"),
    ('{"sdp": "v=0\\r\\na=fingerprint:sha-256 AB"}', "sdp"),
    (ADA.phone, "number"),
    (f"+{PHONE}", "number"),
    ("+49 155 50002222", "number"),
    (ACCOUNT.display_phone_number, "number"),
]


@pytest.mark.parametrize(("words", "kind"), FORBIDDEN)
def test_what_no_log_may_hold_is_found(words: str, kind: str) -> None:
    assert log_watch.leak(f"Something went wrong with {words}.") == kind


@pytest.mark.parametrize(
    "words",
    [
        str(ADA),
        str(User(user_id="DE.900000000000000001")),
        ACCOUNT.phone_number_id,
        "wacid.4915",
        "wacid.EAAb0123456789/EAAb0123456789+EAAb0123456789==",
    ],
)
def test_what_a_log_may_hold_is_left_alone(words: str) -> None:
    assert log_watch.leak(f"Call with {words} ended.") is None


def test_the_log_is_read_with_its_tracebacks(leaks: list[str]) -> None:
    logger.debug("The token is {}", TOKEN)
    try:
        raise ValueError(PHONE)
    except ValueError:
        logger.exception("It failed")
    logging.getLogger("another.package").warning("a=ice-pwd:%s", "0123")
    assert [line.split()[0] for line in leaks] == ["token", "number", "sdp"]
    assert all(__name__ in line for line in leaks[:2])
    leaks.clear()


async def test_who_removes_all_sinks_does_not_stop_the_watch_for_good() -> None:
    code = (
        "from loguru import logger\n"
        "from log_watch import watched\n"
        "with watched():\n    logger.remove()\n"
        "with watched() as found:\n    logger.info('EA' + 'Aof-nobody')\n"
        "print(len(found))\n"
    )
    folder = str(Path(__file__).parent)
    assert (await run("-c", code, environment={"PYTHONPATH": folder})).output == "1\n"


def test_who_logs_at_trace_may_see_everything(leaks: list[str]) -> None:
    logger.trace("a=ice-pwd:0123")
    assert not leaks


async def test_the_log_of_another_process_is_read(leaks: list[str]) -> None:
    await run("-c", f"import sys; print('+{PHONE}'); sys.exit('{TOKEN}')")
    # A phone number may be told to whoever asked for it.
    (line,) = leaks
    assert line.startswith("token in the log")
    await run("-c", f"print('{TOKEN}')")
    assert len(leaks) == 2
    leaks.clear()


@pytest.mark.parametrize(
    ("bot", "refusals", "cause", "words"),
    [
        (PlainBot(error=ValueError("no more words")), {}, Cause.BOT_FAILED, "no more words"),
        (PlainBot(), {"accept": [(400, 138008)]}, Cause.GRAPH_FAILED, "138008"),
    ],
)
async def test_what_goes_wrong_in_a_call_is_logged_without_secrets(
    whatsapp: WhatsApp,
    phone: Phone,
    reports: Reports,
    warnings: list[str],
    bot: PlainBot,
    refusals: dict[str, list[tuple[int, int]]],
    cause: Cause,
    words: str,
) -> None:
    whatsapp.meta.faults.fail |= refusals
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.ended()
    assert (await reports.next()).cause is cause
    assert words in "".join(warnings)
    assert "+49…22" in "".join(warnings)
