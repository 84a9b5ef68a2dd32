"""The phone in a tab: calls over a real WebSocket, two real WebRTC connections, and a real bot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipecat.frames.frames import OutputDTMFUrgentFrame

from aiortc_business import loud, pitch, tone
from bots import Ears, PipelineBot, PlainBot, says
from conftest import Reports, until
from page_tab import ADA, BEN, PATIENCE, PageTab, open_tab, page_of, server, tab
from pipecat_whatsapp.calls.contact import Contact
from pipecat_whatsapp.calls.dial_client import DialAnswer, DialError
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.meta.events import Event, MessageReceived, User
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.page import tab_sound
from pipecat_whatsapp.simulator.page.server import PageServer
from pipecat_whatsapp.simulator.phone import Phone, PhoneCall
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from simulated_account import DAY, Clock

__all__ = ["server", "tab"]

EVIL = "<img src=x onerror=\"alert('1')\">"
ADA_USER = User(phone=ADA["phone"], user_id=ADA["user_id"], name=ADA["name"])


def talker() -> tuple[PipelineBot, Ears]:
    """A bot that says 700 Hz, and its ears."""
    ears = Ears()
    return PipelineBot(ears, prepare=says(tone(700, 60.0))), ears


async def hears_the_browser(ears: Ears, call: int = 0) -> None:
    """Wait until a bot hears the browser's 440 Hz."""
    await until(lambda: len(ears) > call and len(loud(ears[call].pcm)) > 32_000)
    assert pitch(loud(ears[call].pcm)[-16_000:]) == pytest.approx(440, abs=10)


# Calling


async def test_a_user_calls_and_both_hear_each_other_until_the_user_hangs_up(
    whatsapp: WhatsApp, tab: PageTab, reports: Reports
) -> None:
    bot, ears = talker()
    await whatsapp.serve(bot, on_call_ended=reports)
    sound = await tab.calls()
    record = (await tab.hears("record"))["record"]
    assert pitch(await sound.hears(1.0, PATIENCE)) == pytest.approx(700, abs=10)
    await hears_the_browser(ears)
    await tab.send("hang_up")
    ended = await tab.hears("call", state="ended")
    assert ended == {
        "kind": "call",
        "state": "ended",
        "direction": "inbound",
        "record": record["id"],
        "text": "you hung up",
    }
    await tab.hears("record_end", record=record["id"], end="the caller hung up")
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    states = [message["state"] for message in tab.said if message["kind"] == "call"]
    assert states == ["calling", "answered", "ended"]
    titles = [message["step"]["title"] for message in tab.said if message["kind"] == "step"]
    for title in ("dials", "connect webhook", "pre_accept", "accept", "hangs up"):
        assert titles.count(title) == 1, titles


async def test_the_bot_hangs_up(whatsapp: WhatsApp, tab: PageTab) -> None:
    await whatsapp.serve(PipelineBot(prepare=says(tone(700, 0.5), then_end=True)))
    await tab.calls()
    assert (await tab.hears("call", state="ended"))["text"] == "the bot hung up"
    await tab.hears("record_end", end="the bot hung up")


async def test_the_next_call_works_as_well(whatsapp: WhatsApp, tab: PageTab) -> None:
    await whatsapp.serve(PlainBot())
    records = set()
    for _ in range(2):
        await tab.calls()
        await tab.send("hang_up")
        records.add((await tab.hears("call", state="ended"))["record"])
    assert len(records) == 2


async def test_keys_reach_the_bot_and_the_bots_keys_reach_the_page(
    whatsapp: WhatsApp, tab: PageTab
) -> None:
    pressed: list[str] = []

    async def prepare(transport: Any, worker: Any) -> None:
        async def on_dtmf_event(_: object, data: dict[str, str]) -> None:
            pressed.append(data["tone"])

        transport.add_event_handler("on_dtmf_event", on_dtmf_event)

    bot = PipelineBot(prepare=prepare)
    await whatsapp.serve(bot)
    await tab.send("press", key="1")
    await tab.calls()
    for key in "5#*":
        await tab.send("press", key=key)
    await until(lambda: pressed == ["5", "#", "*"])
    await bot.workers[0].queue_frame(OutputDTMFUrgentFrame.from_string("78"))
    assert [(await tab.hears("heard"))["key"] for _ in range(2)] == ["7", "8"]


async def test_keys_are_refused_while_it_rings(whatsapp: WhatsApp, tab: PageTab) -> None:
    await whatsapp.serve(PlainBot(ready=False))
    await tab.send("dial")
    await tab.hears_step("dials")
    await tab.send("press", key="1")
    assert "once the call is answered" in (await tab.hears("notice"))["text"]


async def test_what_the_page_tells_of_the_sound_is_written_down(
    whatsapp: WhatsApp, tab: PageTab
) -> None:
    await whatsapp.serve(PlainBot())
    await tab.calls()
    await tab.send("muted", on=True)
    await tab.hears_step("mutes")
    await tab.send("muted", on=False)
    await tab.hears_step("unmutes")
    await tab.send("concealed", share=0.25)
    while (await tab.hears("sample"))["sample"]["concealed"] != 0.25:
        pass


async def test_two_phones_call_at_once(
    whatsapp: WhatsApp, server: PageServer, tab: PageTab
) -> None:
    bot, ears = talker()
    served = await whatsapp.serve(bot)
    async with open_tab(server.url, BEN) as other:
        sounds = await asyncio.gather(tab.calls(), other.calls())
        for call, sound in enumerate(sounds):
            assert pitch(await sound.hears(0.5, PATIENCE)) == pytest.approx(700, abs=10)
            await hears_the_browser(ears, call)
        assert {call.user.name for call in served.calls} == {"Ada Example", "Ben Example"}
        await tab.send("hang_up")
        await tab.hears("call", state="ended")
        await until(lambda: [call.user.name for call in served.calls] == ["Ben Example"])
        records = {message["record"] for message in other.said if message["kind"] == "step"}
        assert len(records) == 1


async def test_a_second_call_is_refused_while_one_goes_on(whatsapp: WhatsApp, tab: PageTab) -> None:
    await whatsapp.serve(PlainBot())
    await tab.calls()
    for order in ("dial", "ask_call"):
        await tab.send(order)
        assert "end it first" in (await tab.hears("notice"))["text"]
    assert len(whatsapp.meta.calls) == 1


async def test_the_same_user_in_two_tabs_has_one_call(
    whatsapp: WhatsApp, server: PageServer, tab: PageTab
) -> None:
    await whatsapp.serve(PlainBot())
    await tab.calls()
    async with open_tab(server.url) as twin:
        await twin.send("dial")
        assert "on a call already" in (await twin.hears("notice"))["text"]
        ended = await twin.hears("call", state="ended")
        assert ended["text"] == "it was not put through"
        await twin.hears("record_end", end="it was not put through")


async def test_a_user_who_gives_up_before_there_is_sound_has_called_nobody(
    whatsapp: WhatsApp, server: PageServer
) -> None:
    await whatsapp.serve(PlainBot())
    async with open_tab(server.url, answers=False) as tab:
        await tab.send("dial")
        await tab.hears("media")
        await tab.send("hang_up")
        assert (await tab.hears("call", state="ended"))["text"] == "you hung up"
        await tab.hears("record_end", end="the caller hung up")
    assert not whatsapp.meta.calls


async def test_a_user_who_hangs_up_while_the_call_is_being_placed_has_hung_up(
    whatsapp: WhatsApp, tab: PageTab, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing, on_its_way, dial = asyncio.Event(), asyncio.Event(), Phone.dial

    async def slow_dial(phone: Phone, **options: Any) -> PhoneCall:
        placing.set()
        await on_its_way.wait()
        return await dial(phone, **options)

    monkeypatch.setattr(Phone, "dial", slow_dial)
    await whatsapp.serve(PlainBot())
    await tab.send("dial")
    await placing.wait()
    await tab.send("hang_up")
    # Orders are obeyed one after the other.
    await tab.send("offline", on=False)
    await tab.hears("offline")
    on_its_way.set()
    assert (await tab.hears("call", state="ended"))["text"] == "you hung up"
    await tab.hears_step("hangs up")


async def test_a_browser_without_sound_calls_nobody(
    whatsapp: WhatsApp, server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_sound, "PATIENCE", 0.2)
    await whatsapp.serve(PlainBot())
    async with open_tab(server.url, answers=False) as tab:
        await tab.send("dial")
        assert "No sound gets through" in (await tab.hears("notice"))["text"]
        await tab.hears("call", state="ended")
    assert not whatsapp.meta.calls


async def test_an_answer_that_carries_no_sound_is_refused(
    whatsapp: WhatsApp, server: PageServer
) -> None:
    async with open_tab(server.url, answers=False) as tab:
        # Without an offer there is nothing to answer.
        await tab.send("media_answer", sdp="v=0")
        await tab.send("dial")
        await tab.hears("media")
        await tab.send("media_answer", sdp="v=0\r\n")
        assert "carries no sound" in (await tab.hears("notice"))["text"]
        await tab.send("hang_up")
        await tab.hears("call", state="ended")


async def test_a_business_that_takes_no_calls(whatsapp: WhatsApp, tab: PageTab) -> None:
    await whatsapp.serve(PlainBot())
    whatsapp.meta.business.settings.write({"status": "DISABLED"})
    await tab.send("dial")
    assert "takes no WhatsApp calls" in (await tab.hears("notice"))["text"]
    assert (await tab.hears("call", state="ended"))["text"] == "it was not put through"


# Ends that nobody on the line wanted


async def test_meta_ends_a_call_and_tells_both_sides(
    whatsapp: WhatsApp, tab: PageTab, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    await tab.send("terminate")
    await tab.calls()
    await tab.send("terminate")
    assert (await tab.hears("call", state="ended"))["text"] == "terminated by WhatsApp"
    report = await reports.next()
    assert report.terminate is not None
    assert report.terminate.status == "FAILED"
    assert [error.code for error in report.terminate.errors] == [131000]
    # Both know: nobody tells the other again.
    await whatsapp.stop_serving()
    assert "terminate" not in [request.action for request in whatsapp.meta.requests]


async def test_a_tab_that_goes_away_hangs_up(
    whatsapp: WhatsApp, server: PageServer, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    async with open_tab(server.url) as tab:
        await tab.calls()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    async with open_tab(server.url) as reloaded:
        await reloaded.calls()


async def test_a_phone_off_the_network_is_missed_and_may_come_back(
    whatsapp: WhatsApp, tab: PageTab, reports: Reports
) -> None:
    await whatsapp.serve(PlainBot(), on_call_ended=reports)
    await tab.calls()
    await tab.send("offline", on=True)
    await tab.hears("offline", on=True)
    await tab.hears_step("drops off the network")
    await tab.send("hang_up")
    ended = await tab.hears("call", state="ended")
    assert ended["text"] == "the phone dropped off the network"
    # Nobody could tell Meta.
    assert "hung up" not in [call.ended_reason for call in whatsapp.meta.calls.values()]
    for order in ({"kind": "dial"}, {"kind": "write", "text": "Hi"}, {"kind": "ask_call"}):
        await tab.send(**order)
        assert "off the network" in (await tab.hears("notice"))["text"]
    await tab.send("offline", on=False)
    await tab.hears("offline", on=False)
    await tab.hears_step("comes back to the network")


async def test_the_line_is_as_bad_as_is_wanted(whatsapp: WhatsApp, tab: PageTab) -> None:
    bot, _ = talker()
    await whatsapp.serve(bot)
    await tab.calls()
    await tab.hears("sample")
    await tab.send("conditions", loss=1, delay=0, jitter=0)
    assert await tab.hears("conditions") == {
        "kind": "conditions",
        "loss": 1,
        "delay": 0,
        "jitter": 0,
    }
    await tab.hears("sample")
    await tab.hears("sample")
    await tab.send("conditions", loss=0, delay=0, jitter=0)
    while (await tab.hears("sample"))["sample"]["loss_in"] == 0:
        pass


# Being called


async def test_the_bot_asks_and_calls_and_the_user_picks_up(
    whatsapp: WhatsApp, tab: PageTab, reports: Reports
) -> None:
    bot, ears = talker()
    received: list[Event] = []

    async def on_webhook_event(event: Event) -> None:
        received.append(event)

    await whatsapp.serve(bot, on_call_ended=reports, on_webhook_event=on_webhook_event)
    await tab.send("ask_call")
    record = (await tab.hears("record"))["record"]
    assert record["direction"] == "outbound"
    assert (await tab.hears("message"))["text"] == "Please call me."
    prompt = await tab.hears("prompt")
    assert (prompt["text"], prompt["state"]) == ("May we call you?", "open")
    assert "May we call you?" not in [
        message["text"] for message in tab.said if message["kind"] == "message"
    ]
    await tab.send("reply", prompt=prompt["id"], answer="once")
    await tab.hears("prompt", id=prompt["id"], state="once")
    await tab.hears_step("allows calls for 7 days")
    ringing = await tab.hears("call", state="ringing", direction="outbound")
    assert ringing["record"] == record["id"]
    assert tab.sound is None
    await tab.send("accept")
    await tab.hears("call", state="answered")
    assert tab.sound is not None
    assert pitch(await tab.sound.hears(1.0, PATIENCE)) == pytest.approx(700, abs=10)
    await hears_the_browser(ears)
    await tab.hears_step("picks up")
    await tab.send("hang_up")
    assert (await tab.hears("call", state="ended"))["text"] == "you hung up"
    await tab.hears("record_end", end="the user hung up")
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    texts = [event.text for event in received if isinstance(event, MessageReceived)]
    assert "Please call me." in texts
    assert whatsapp.meta.permissions.state(ADA_USER).status == "temporary"
    assert len([message for message in tab.said if message["kind"] == "record"]) == 1


async def test_a_user_who_may_be_called_declines(whatsapp: WhatsApp, tab: PageTab) -> None:
    adapter = await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(ADA_USER)
    calling = asyncio.create_task(adapter.call(ADA_USER))
    await tab.hears("call", state="ringing")
    await tab.send("decline")
    assert (await tab.hears("call", state="ended"))["text"] == "you declined"
    await tab.hears("record_end", end="the user declined")
    assert (await calling).outcome.value == "declined"
    await tab.hears_step("declines")


async def test_a_call_that_is_accepted_twice_is_picked_up_once(
    whatsapp: WhatsApp, tab: PageTab
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(ADA_USER)
    calling = asyncio.create_task(adapter.call(ADA_USER))
    await tab.hears("call", state="ringing")
    await asyncio.gather(tab.send("accept"), tab.send("accept"))
    await tab.hears("call", state="answered")
    await tab.send("hang_up")
    await tab.hears("call", state="ended")
    await calling
    assert len([message for message in tab.said if message["kind"] == "media"]) == 1


async def test_a_tab_that_goes_away_while_it_rings_declines(
    whatsapp: WhatsApp, server: PageServer
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(ADA_USER)
    async with open_tab(server.url) as tab:
        calling = asyncio.create_task(adapter.call(ADA_USER))
        await tab.hears("call", state="ringing")
    assert (await calling).outcome.value == "declined"


async def test_a_user_who_is_about_to_dial_is_busy(whatsapp: WhatsApp, server: PageServer) -> None:
    adapter = await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(ADA_USER)
    async with open_tab(server.url, answers=False) as tab:
        await tab.send("dial")
        await tab.hears("media")
        assert (await adapter.call(ADA_USER)).outcome.value == "declined"
        assert "ringing" not in [m["state"] for m in tab.said if m["kind"] == "call"]


async def test_a_user_does_not_want_to_be_called(whatsapp: WhatsApp, tab: PageTab) -> None:
    await whatsapp.serve(PlainBot())
    await tab.send("ask_call")
    prompt = await tab.hears("prompt")
    await tab.send("ask_call")
    assert "asked to call already" in (await tab.hears("notice"))["text"]
    await tab.send("reply", prompt=prompt["id"], answer="reject")
    await tab.hears("prompt", id=prompt["id"], state="reject")
    notice = await tab.hears("notice")
    assert notice["text"].startswith("The bot did not call: not permitted")
    await tab.hears("record_end", end="the bot did not call")
    # It may be changed.
    await tab.send("reply", prompt=prompt["id"], answer="always")
    await tab.hears("prompt", id=prompt["id"], state="always")
    assert whatsapp.meta.permissions.state(ADA_USER).status == "permanent"


async def test_a_bot_that_takes_no_orders(whatsapp: WhatsApp) -> None:
    async def nobody(_: User) -> DialAnswer:
        raise DialError("No bot answers.")

    await whatsapp.serve(PlainBot())
    async with PageServer(whatsapp.meta, "bot.py", nobody) as server, open_tab(server.url) as tab:
        await tab.send("ask_call")
        assert (await tab.hears("notice"))["text"] == "No bot answers."
        await tab.hears("record_end")
        await tab.calls()


async def test_a_request_that_has_expired_can_no_longer_be_answered() -> None:
    clock = Clock()
    async with SimulatedMeta(clock=clock) as meta:
        whatsapp = WhatsApp(meta)
        await whatsapp.serve(PlainBot())
        async with page_of(whatsapp) as server, open_tab(server.url) as tab:
            await tab.send("ask_call")
            prompt = await tab.hears("prompt")
            clock.advance(8 * DAY)
            await tab.send("reply", prompt=prompt["id"], answer="once")
            assert "expired" in (await tab.hears("notice"))["text"]
            await tab.hears("prompt", id=prompt["id"], state="expired")
            await tab.send("reply", prompt=99, answer="once")
            assert "no such request" in (await tab.hears("notice"))["text"]
        await whatsapp.close()


# The chat


async def test_a_call_button_is_tapped_and_its_payload_comes_back(
    whatsapp: WhatsApp, tab: PageTab
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    await tab.send("write", text="Hi")
    meta = whatsapp.meta
    await meta.wait_delivery("messages")
    async with GraphClient(token=meta.account.token, url=meta.graph_url) as graph:
        contact = Contact(graph, meta.account.phone_number_id, ADA_USER)
        await contact.send_call_button("Call us", display_text="Ring", payload="ticket-7")
        await contact.send_text("or not")
    message = await tab.hears("message", **{"from": "business"})
    assert (message["text"], message["button"]) == ("Call us", "Ring")
    plain = await tab.hears("message", **{"from": "business"})
    assert (plain["text"], plain["button"]) == ("or not", None)
    await tab.send("tap", message=plain["id"])
    assert "no such call button" in (await tab.hears("notice"))["text"]
    await tab.calls("tap", message=message["id"])
    assert bot.started[0].body["cta_payload"] == "ticket-7"


async def test_what_is_written_reaches_the_bot_as_it_is(
    whatsapp: WhatsApp, server: PageServer
) -> None:
    received: list[Event] = []

    async def on_webhook_event(event: Event) -> None:
        received.append(event)

    bot = PlainBot()
    await whatsapp.serve(bot, on_webhook_event=on_webhook_event)
    async with open_tab(server.url, None) as tab:
        hello = await tab.identifies(name=EVIL)
        assert hello["user"]["name"] == EVIL
        await tab.send("write", text=EVIL)
        shown = await tab.hears("message")
        assert (shown["from"], shown["text"], shown["button"]) == ("user", EVIL, None)
        # There is something to write it down in.
        assert (await tab.hears("record"))["record"]["user"]["name"] == EVIL
        assert (await tab.hears_step("writes"))["detail"] == {"text": EVIL}
        await until(lambda: any(isinstance(event, MessageReceived) for event in received))
        await tab.calls()
    (text,) = [event.text for event in received if isinstance(event, MessageReceived)]
    assert text == EVIL
    assert bot.started[0].call.user.name == EVIL


# Who one is


async def test_a_user_becomes_somebody_else_but_not_in_a_call(
    whatsapp: WhatsApp, tab: PageTab
) -> None:
    bot = PlainBot()
    adapter = await whatsapp.serve(bot)
    await tab.calls()
    await tab.send("identify", **BEN)
    assert "End the call before" in (await tab.hears("notice"))["text"]
    await tab.send("hang_up")
    await tab.hears("call", state="ended")
    assert (await tab.identifies(**BEN))["user"] == BEN
    await tab.calls()
    assert [args.call.user.phone for args in bot.started] == [ADA["phone"], BEN["phone"]]
    # Ada's phone is there no more.
    whatsapp.meta.permissions.grant(ADA_USER)
    await adapter.call(ADA_USER)
    assert whatsapp.meta.requests[-1].error_code == 138001


async def test_who_becomes_somebody_else_and_goes_away_at_once_is_reached_no_more(
    whatsapp: WhatsApp,
) -> None:
    adapter = await whatsapp.serve(PlainBot())
    whatsapp.meta.permissions.grant(ADA_USER)
    async with page_of(whatsapp) as server, open_tab(server.url) as tab:
        await tab.send("identify", **BEN)
    await adapter.call(ADA_USER)
    assert whatsapp.meta.requests[-1].error_code == 138001


async def test_a_user_with_a_username_only_calls_and_is_called(
    whatsapp: WhatsApp, server: PageServer
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    async with open_tab(server.url, None) as tab:
        hello = await tab.identifies(phone=None, user_id=None, name=None, username="ada")
        user_id = hello["user"]["user_id"]
        await tab.calls()
        call = bot.started[0].call
        assert (call.user.phone, call.user.user_id) == (None, user_id)
        await tab.send("hang_up")
        await tab.hears("call", state="ended")
        await tab.send("ask_call")
        prompt = await tab.hears("prompt")
        await tab.send("reply", prompt=prompt["id"], answer="always")
        await tab.hears("call", state="ringing")
        await tab.send("accept")
        await tab.hears("call", state="answered")


async def test_a_user_who_changes_only_the_name_keeps_the_chat(
    whatsapp: WhatsApp, tab: PageTab
) -> None:
    await whatsapp.serve(PlainBot())
    await tab.send("ask_call")
    prompt = await tab.hears("prompt")
    await tab.identifies(name="Ada Lovelace")
    await tab.send("reply", prompt=prompt["id"], answer="once")
    await tab.hears("prompt", id=prompt["id"], state="once")
    await tab.hears("call", state="ringing")
