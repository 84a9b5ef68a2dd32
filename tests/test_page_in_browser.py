"""The phone page in Chromium: calls that a user places with it and takes on it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, ViewportSize, expect

from browser import chromium, silence, speech
from conftest import until
from page_tab import page_of
from phone_page import DESK, HAND, PhonePage, phone_page, served_page, tab
from pipecat_whatsapp.media.interfaces import read_interfaces
from pipecat_whatsapp.simulator.demo import FOLDER, QUESTION
from pipecat_whatsapp.simulator.demo import bot as demo
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.phone import ADA
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from ports import free_port
from simulated_business import post
from terminal import running

GREETING, GOODBYE = FOLDER / "greeting.wav", FOLDER / "goodbye.wav"
CLI = ("-m", "pipecat_whatsapp.cli")
FOR_LONG = 600.0
"""Seconds of silence that a patient bot bears."""
BUSINESS = Account().phone_number_id
CALL_BUTTON = {
    "messaging_product": "whatsapp",
    "to": ADA.phone,
    "type": "interactive",
    "interactive": {
        "type": "voice_call",
        "body": {"text": "It is on its way."},
        "action": {
            "name": "voice_call",
            "parameters": {"display_text": "Ask us", "payload": "order 12345"},
        },
    },
}
SOMETHING_LOST = re.compile(r"what you hear: now [^,]+, at most (?!0 %)")


@pytest.fixture
async def address(whatsapp: WhatsApp) -> AsyncIterator[str]:
    """Of the page on which one calls the demo bot."""
    async with served_page(whatsapp) as address:
        yield address


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """Before its microphone nobody speaks."""
    async with chromium(silence(tmp_path)) as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, address: str) -> AsyncIterator[PhonePage]:
    async with phone_page(browser, address) as page:
        yield page


@pytest.fixture
def no_call(tmp_path: Path) -> Path:
    """A file that holds no call, of which the page says so."""
    file = tmp_path / "no-call.json"
    file.write_text("?")
    return file


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot says no goodbye of its own accord."""
    monkeypatch.setattr(demo, "SILENCE_SECONDS", FOR_LONG)


async def test_a_newcomer_calls_the_demo_bot_and_shows_the_call_to_somebody_else(
    browser: Browser, page: PhonePage, tmp_path: Path
) -> None:
    port, saved = free_port(), tmp_path / "call.json"
    options = ("--stay", "--no-browser", "--page-port", port, "--record", tmp_path / "heard.wav")
    # Each running simulation leaves its address there.
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    async with running(*CLI, "demo", *options, environment=environ) as simulation:
        await simulation.prints(f"http://127.0.0.1:{port}")
        async with phone_page(browser, f"http://127.0.0.1:{port}") as there:
            await there.click("Call", "Keypad", "1")
            await there.hears(GREETING)
            await there.click("#")
            await there.hears(GOODBYE)
            await there.is_in_state("Call ended: the bot hung up")
            await there.shows_steps("dials", "connect webhook", "pre_accept", "ICE", "DTLS")
            await there.shows_steps("pre_accept", "accept", "answered", "first packet")
            await there.shows_steps("first word", "terminate")
            await there.shows_steps("presses 1", "presses #", "terminate")
            await there.save(saved)
        simulation.interrupt()
        await simulation.ends()
    assert "4915550002222" not in saved.read_text()
    await page.open(saved)
    await page.shows_steps("dials", "connect webhook", "pre_accept", "presses #", "terminate")
    for name, seconds in {"What the phone heard": 7, "What the user said": 5}.items():
        assert await page.duration(name) > seconds
    await page.click("Back to live")
    await expect(page.region("Inspector").get_by_text("dials")).to_have_count(0)
    await expect(page.page.get_by_label("Open call")).to_be_focused()


async def test_the_bot_hears_the_microphone_through_a_bad_line_until_it_is_muted(
    address: str, tmp_path: Path
) -> None:
    async with (
        chromium(speech(tmp_path, QUESTION, pause=5)) as browser,
        phone_page(browser, address) as page,
    ):
        await page.click("Call")
        await page.hears(QUESTION)
        await page.slide("Loss", 5)
        await page.ear.forget()
        await page.hears(QUESTION)
        await expect(page.curve("Loss")).to_have_attribute("aria-label", SOMETHING_LOST)
        await page.slide("Loss", 0)
        # The bot says goodbye when it has heard nothing for a while.
        await page.toggle("Mute")
        await page.hears(GOODBYE)
        await page.is_in_state("Call ended: the bot hung up")


@pytest.mark.usefixtures("patient")
async def test_the_user_hangs_up(page: PhonePage) -> None:
    await page.click("Call")
    await page.answered()
    await page.click("Hang up")
    await page.is_in_state("Call ended: you hung up")
    await page.shows_steps("answered", "hangs up", "terminate webhook")
    await until(lambda: not demo.on_air)


@pytest.mark.usefixtures("patient")
async def test_the_bot_asks_and_calls_and_the_user_picks_up(page: PhonePage) -> None:
    await page.click("Have the bot call me", "Allow for 7 days", "Accept")
    await page.hears(GREETING)
    await page.click("Hang up")
    await page.is_in_state("Call ended: you hung up")
    await page.shows_steps("writes", "messages", "allows calls for 7 days", "connect", "picks up")


async def test_the_user_declines(page: PhonePage) -> None:
    await page.click("Have the bot call me", "Always allow", "Decline")
    await page.is_in_state("Call ended")
    await page.shows_steps(
        "allows calls for good", "declines", "rejected webhook", "terminate webhook"
    )


async def test_the_user_does_not_want_to_be_called(page: PhonePage) -> None:
    await page.click("Have the bot call me", "Don't allow")
    await expect(page.notices).to_contain_text("The bot did not call")
    await page.is_in_state("Ready")


@pytest.mark.usefixtures("patient")
async def test_two_phones_call_at_once(browser: Browser, page: PhonePage, address: str) -> None:
    async with tab(page.page.context, address) as other:
        await page.click("Call")
        await other.click("Call")
        await asyncio.gather(page.hears(GREETING), other.hears(GREETING))
        assert {call.user.name for call in demo.on_air} == {"Ada Example", "Ben Example"}
        await page.click("Hang up")
        await page.is_in_state("Call ended")
        await other.is_in_state("In call")
        await other.click("Hang up")
        await other.is_in_state("Call ended")


@pytest.mark.usefixtures("patient")
async def test_somebody_without_a_number_calls_and_is_called(page: PhonePage) -> None:
    await page.become(Phone_number="", User_ID="DE.42", Username="ada")
    await expect(page.region("Phone")).to_contain_text("@ada")
    await page.click("Call")
    await page.answered()
    await until(lambda: bool(demo.on_air))
    assert [(call.user.phone, call.user.user_id) for call in demo.on_air] == [(None, "DE.42")]
    await page.click("Hang up", "Have the bot call me", "Allow for 7 days", "Accept")
    await page.answered()


@pytest.mark.usefixtures("patient")
async def test_a_call_button_is_tapped_with_its_payload(
    page: PhonePage, whatsapp: WhatsApp
) -> None:
    await page.write("Where is my order?")
    await page.shows_steps("messages webhook", "200")
    sent = await post(whatsapp.meta, CALL_BUTTON, path=f"/v26.0/{BUSINESS}/messages")
    assert sent.status == 200
    await page.click("Ask us")
    await page.answered()
    await until(lambda: bool(demo.on_air))
    assert [call.cta_payload for call in demo.on_air] == ["order 12345"]


@pytest.mark.parametrize("size", [DESK, HAND], ids=["desk", "hand"])
async def test_a_notice_covers_nothing(
    browser: Browser, address: str, no_call: Path, size: ViewportSize
) -> None:
    async with phone_page(browser, address, viewport=size) as page:
        await page.page.get_by_label("Open call").set_input_files(no_call)
        await expect(page.notices).to_contain_text("it is not JSON")
        notice = await page.notices.bounding_box()
        main = await page.page.get_by_role("main").bounding_box()
        assert notice is not None
        assert main is not None
        assert main["y"] + main["height"] <= notice["y"]
        assert notice["y"] + notice["height"] <= size["height"]


async def test_what_is_said_again_stays_for_its_own_time(page: PhonePage, no_call: Path) -> None:
    file = page.page.get_by_label("Open call")
    await page.page.clock.install()
    await file.set_input_files(no_call)
    first = await page.notices.locator(".notice").element_handle()
    await page.page.clock.run_for(14_000)
    await file.set_input_files(no_call)
    await first.wait_for_element_state("hidden")
    await page.page.clock.run_for(2000)
    await expect(page.notices).to_contain_text("it is not JSON")
    await page.page.clock.run_for(14_000)
    await expect(page.notices).to_be_empty()


async def test_the_speaker_is_as_loud_as_its_slider_says(page: PhonePage) -> None:
    await page.region("Phone").get_by_role("slider", name="Speaker level").fill("40")
    assert await page.page.locator("#speaker").evaluate("(speaker) => speaker.volume") == 0.4


@pytest.mark.usefixtures("patient")
async def test_a_call_needs_no_mouse(page: PhonePage) -> None:
    await page.tab_to("Call")
    await page.page.keyboard.press("Enter")
    await page.hears(GREETING)
    await page.page.keyboard.press("5")
    await page.tab_to("Keypad")
    await page.page.keyboard.press("Space")
    await page.tab_to("7")
    await page.page.keyboard.press("Enter")
    await page.shows_steps("presses 5", "presses 7")
    await page.tab_to("Hang up", backwards=True)
    await page.page.keyboard.press("Enter")
    await page.is_in_state("Call ended")


@pytest.mark.usefixtures("patient")
async def test_what_others_write_is_text(page: PhonePage, whatsapp: WhatsApp) -> None:
    evil = "<img src=x onerror=window.hacked=1><script>window.hacked=2</script>"
    await page.become(Name=evil, Phone_number="4915550009999")
    await expect(page.region("Phone")).to_contain_text(evil)
    await page.write(evil)
    await expect(page.page.get_by_role("list", name="Messages")).to_contain_text(evil)
    await page.click("Call")
    await page.answered()
    await page.shows_details(evil)
    await until(lambda: bool(demo.on_air))
    assert [call.user.name for call in demo.on_air] == [evil]
    await page.click("Hang up")
    await page.is_in_state("Call ended")
    assert await page.page.evaluate("window.hacked ?? null") is None


async def test_the_browser_does_not_complain_of_a_page_from_elsewhere(
    browser: Browser, whatsapp: WhatsApp
) -> None:
    known = [address for each in read_interfaces() for address in each.addresses]
    host = next((each for each in known if ":" not in each and each != "127.0.0.1"), None)
    if host is None:
        pytest.skip("this machine has no address but loopback")
    token = "a-token-that-is-long"
    async with (
        page_of(whatsapp, host=host, token=token) as server,
        phone_page(browser, f"{server.url}/?token={token}") as page,
    ):
        assert not await page.page.evaluate("isSecureContext")


async def test_a_page_of_another_origin_gets_no_socket(browser: Browser, address: str) -> None:
    async def anything(_: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><title>Elsewhere</title>", content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/", anything)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        socket = json.dumps(address.replace("http:", "ws:") + "socket")
        outcome = f"""new Promise((done) => {{
            const socket = new WebSocket({socket});
            socket.onopen = () => done("opened");
            socket.onerror = () => done("refused");
        }})"""
        assert await page.evaluate(outcome) == "refused"
        await page.goto(address)
        assert await page.evaluate(outcome) == "opened"
        await page.close()
    finally:
        await runner.cleanup()
