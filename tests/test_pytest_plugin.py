"""The fixtures of bot authors, used as they use them."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path

import pytest

from bots import PipelineBot, PlainBot, says
from conftest import Reports
from pipecat_whatsapp.calls.bot import Decision, Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.demo import FOLDER, QUESTION
from pipecat_whatsapp.simulator.direct_phone import DirectPhone
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.phone import PhoneError
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.sound import RATE, read_wav
from terminal import run

PATIENCE = 60.0
GREETING, GOODBYE = FOLDER / "greeting.wav", FOLDER / "goodbye.wav"
PAUSE = bytes(RATE)  # Half a second, 16-bit.
BEN = User(phone="4915550003333", user_id="DE.900000000000000002", name="Ben")


async def declines(_: Call) -> Decision:
    return Reject("not now")


async def test_a_call_to_a_bot_is_answered_and_heard(phone: DirectPhone) -> None:
    speech = PAUSE.join([read_wav(GREETING), read_wav(GOODBYE), b""])
    call = await phone.call(PipelineBot(prepare=says(speech, then_end=True)))
    assert await call.hears(GREETING, PATIENCE)
    assert await call.hears(GOODBYE, PATIENCE)
    assert await call.ended(PATIENCE) == "terminated"


async def test_what_was_not_said_is_not_heard(phone: DirectPhone) -> None:
    call = await phone.call(PipelineBot(prepare=says(read_wav(GOODBYE))))
    assert await call.hears(GOODBYE, PATIENCE)
    assert not await call.hears(GOODBYE, timeout=0)
    assert not await call.hears(GREETING, timeout=0)


async def test_nothing_more_is_heard_when_the_call_is_over(phone: DirectPhone) -> None:
    call = await phone.call(PipelineBot(prepare=says(read_wav(GOODBYE), then_end=True)))
    assert await call.ended(PATIENCE) == "terminated"
    assert not await call.hears(QUESTION, timeout=1e9)
    assert await call.hears(GOODBYE)


async def test_a_bot_that_is_served_goes_on_as_it_was_told_to(
    whatsapp: WhatsApp, phone: DirectPhone, reports: Reports
) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot, on_call_ended=reports, max_calls=7)
    first = await phone.call(bot)
    second = await (await whatsapp.phone(BEN)).call(bot, on_call_ended=reports, max_calls=7)
    assert await whatsapp.serve_only(bot) is adapter
    assert len(bot.started) == 2
    assert not first.is_over
    await second.hang_up()
    assert (await reports.next()).call_id == second.id


async def test_a_bot_with_other_options_is_served_anew(
    whatsapp: WhatsApp, phone: DirectPhone
) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot)
    await phone.call(bot, max_calls=7)
    assert await whatsapp.serve_only(bot) is not adapter
    assert (await whatsapp.serve_only(bot)).config.max_calls == 7


async def test_another_bot_takes_the_place_of_the_first(
    phone: DirectPhone, reports: Reports
) -> None:
    first, second = PlainBot(), PlainBot()
    call = await phone.call(first, on_call_ended=reports)
    other = await phone.call(second)
    assert (await reports.next()).cause is Cause.SHUTDOWN
    assert await call.ended(PATIENCE) == "terminated"
    assert (len(first.started), len(second.started)) == (1, 1)
    assert not other.is_over


async def test_a_bot_that_declines_raises(phone: DirectPhone) -> None:
    with pytest.raises(PhoneError, match="rejected"):
        await phone.call(PlainBot(), on_incoming_call=declines)


async def test_payloads_reach_the_bot(phone: DirectPhone) -> None:
    bot = PlainBot()
    await phone.call(bot, cta_payload="sales", deeplink_payload="shop window")
    (arguments,) = bot.started
    assert arguments.call.cta_payload == "sales"
    assert arguments.call.deeplink_payload == "shop window"


async def test_the_line_is_as_bad_as_the_network_is_told_to_be(
    phone: DirectPhone, network: Network
) -> None:
    network.conditions = NetworkConditions(loss=0.1)
    call = await phone.call(PipelineBot(prepare=says(read_wav(GREETING))))
    assert await call.hears(GREETING, PATIENCE)
    assert call.recording.lost > 0


async def test_a_bot_calls_a_phone(whatsapp: WhatsApp, phone: DirectPhone) -> None:
    adapter = await whatsapp.serve(PipelineBot(prepare=says(read_wav(GREETING))))
    whatsapp.meta.permissions.grant(phone.user)
    calling = asyncio.create_task(adapter.call(phone.user))
    call = await phone.rings(PATIENCE)
    await call.pick_up()
    assert await call.hears(GREETING, PATIENCE)
    assert (await calling).outcome is Outcome.ANSWERED


async def test_a_test_run_that_uses_no_fixture_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        textwrap.dedent("""
            import sys

            def test_nothing(pytestconfig):
                assert pytestconfig.pluginmanager.has_plugin("pipecat_whatsapp")
                loaded = [name for name in sys.modules if name.startswith(("pipecat.", "numpy"))]
                assert not loaded
        """)
    )
    outcome = await run("-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path)
    assert outcome.code == 0, outcome
