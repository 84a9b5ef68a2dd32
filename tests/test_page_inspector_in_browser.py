"""The inspector in Chromium: what its buttons do to a call, and that one sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from browser import chromium, silence
from phone_page import PhonePage, phone_page, served_page
from pipecat_whatsapp.simulator.demo import FOLDER
from pipecat_whatsapp.simulator.demo import bot as demo
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

GREETING = FOLDER / "greeting.wav"
FOR_LONG = 600.0
"""Seconds of silence that the bot bears."""
TWICE_THE_DELAY = re.compile(r"at most ([2-9]\d\d|\d{4,}) ms")


@pytest.fixture
async def page(
    whatsapp: WhatsApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PhonePage]:
    """A phone for a bot that says no goodbye of its own accord."""
    monkeypatch.setattr(demo, "SILENCE_SECONDS", FOR_LONG)
    async with (
        served_page(whatsapp) as address,
        chromium(silence(tmp_path)) as browser,
        phone_page(browser, address) as page,
    ):
        yield page


async def test_webhooks_that_come_twice_start_one_bot(page: PhonePage) -> None:
    await page.toggle("Deliver twice")
    await page.click("Call")
    await page.hears(GREETING)
    await page.shows_steps("connect webhook", "connect webhook", "answered")
    assert len(demo.on_air) == 1
    await page.click("Hang up")
    await page.shows_steps("terminate webhook", "terminate webhook")


@pytest.mark.parametrize("fault", ["Deliver late", "Graph slow"])
async def test_what_comes_late_makes_it_ring_longer(page: PhonePage, fault: str) -> None:
    await page.toggle(fault)
    await page.click("Call")
    await page.hears(GREETING)
    await page.click("Hang up")
    await page.is_in_state("Call ended")


@pytest.mark.parametrize(
    ("fault", "outcome"), [("Graph 500", "500, error 131000"), ("Token expired", "401, error 190")]
)
async def test_a_bot_that_graph_refuses_does_not_answer(
    page: PhonePage, fault: str, outcome: str
) -> None:
    await page.toggle(fault)
    await page.click("Call")
    await page.shows_steps("pre_accept", outcome)
    await page.click("Hang up")
    await page.is_in_state("Call ended")
    await page.toggle(fault)
    await page.click("Call")
    await page.answered()


async def test_an_sdes_offer_is_refused(page: PhonePage) -> None:
    await page.toggle("SDES offer")
    await page.click("Call")
    await page.is_in_state("Call ended: the bot's side declined")
    await page.shows_steps("connect webhook", "reject")


async def test_whatsapp_ends_a_call(page: PhonePage) -> None:
    await page.click("Call")
    await page.answered()
    await page.click("Terminate now")
    await page.is_in_state("Call ended: terminated by WhatsApp")
    await page.shows_steps("answered", "terminate webhook")
    await expect(page.button("Terminate now")).to_be_disabled()


async def test_a_phone_that_drops_off_the_network_is_missed_by_the_bot(page: PhonePage) -> None:
    await page.click("Call")
    await page.answered()
    await page.toggle("Off the network")
    await page.shows_steps("drops off the network", "terminate")
    await page.is_in_state("Call ended")
    await page.toggle("Off the network")
    await page.click("Call")
    await page.answered()


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1440, 900)])
async def test_the_line_and_the_faults_are_in_sight_on_a_desk(
    page: PhonePage, width: int, height: int
) -> None:
    await page.page.set_viewport_size({"width": width, "height": height})
    for name in ("Off the network", "Deliver twice", "SDES offer"):
        await expect(page.button(name)).to_be_in_viewport(ratio=1)


async def test_faults_hold_for_every_phone(page: PhonePage) -> None:
    await page.toggle("Deliver twice")
    other = await page.page.context.new_page()
    await other.goto(page.page.url)
    await expect(other.get_by_role("button", name="Deliver twice")).to_have_attribute(
        "aria-pressed", "true"
    )
    await other.close()


async def test_what_meta_thinks_of_the_bots_sdp_is_said_in_words(page: PhonePage) -> None:
    await page.click("Call")
    await page.answered()
    remarks = page.page.get_by_role("list", name="SDP review").get_by_role("listitem")
    await expect(remarks.filter(has_text="Good").first).to_be_visible()
    await expect(remarks.filter(has_text="Wrong")).to_have_count(0)


async def test_curves_tell_how_the_line_is(page: PhonePage) -> None:
    await page.slide("Delay", 100)
    await page.slide("Jitter", 50)
    await page.click("Call")
    await page.answered()
    for name in ("Round trip", "Jitter", "Loss", "Concealment", "Level"):
        nothing = f"{name}: nothing measured yet"
        await expect(page.curve(name)).not_to_have_attribute("aria-label", nothing)
    await expect(page.curve("Round trip")).to_have_attribute("aria-label", TWICE_THE_DELAY)
