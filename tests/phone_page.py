"""The phone page in a browser, and a person who finds everything on it by its name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    ViewportSize,
    expect,
)

from browser import Ear, listen
from page_tab import page_of
from pipecat_whatsapp.simulator.demo import bot as demo
from pipecat_whatsapp.simulator.matching import find
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.sound import RATE, read_wav
from recordings import MOSTLY

PATIENCE = 90.0
"""Seconds until something is there, on however slow a machine."""

DESK: ViewportSize = {"width": 1360, "height": 860}
HAND: ViewportSize = {"width": 390, "height": 844}
"""The sizes of a window on a desk, and of a phone in a hand."""

FOCUSED = """
(() => {
  const now = document.activeElement;
  return now.matches("button") ? now.ariaLabel ?? now.innerText.trim() : "";
})()
"""
MOST_STOPS = 60
"""As many times Tab is pressed until something is taken for out of reach."""

DURATION = """(audio) => new Promise((done, fail) => {
  audio.onloadedmetadata = () => done(audio.duration);
  audio.onerror = () => fail(audio.error);
  audio.load();
})"""


class PhonePage:
    """One tab with the phone page. Made by `tab` and `phone_page`.

    Args:
        page: The tab.
        ear: Hears what it plays.

    Attributes:
        complaints: What the browser's console had to complain of.
    """

    def __init__(self, page: Page, ear: Ear) -> None:
        self.page = page
        self.ear = ear
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)

    def region(self, name: str) -> Locator:
        """A part of the page."""
        return self.page.get_by_role("region", name=name, exact=True)

    def button(self, name: str) -> Locator:
        """A button, wherever it is."""
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def notices(self) -> Locator:
        """Sentences for the user that belong to no other place."""
        return self.page.get_by_role("alert")

    def curve(self, name: str) -> Locator:
        """The picture of a curve, which is described in words."""
        return self.page.get_by_role("figure", name=name, exact=True).get_by_role("img")

    async def click(self, *names: str) -> None:
        """Click buttons, one after the other."""
        for name in names:
            await self.button(name).click()

    async def toggle(self, name: str) -> None:
        """Click a button that stays down, or comes up again, and see that it does."""
        button = self.button(name)
        was_down = await button.get_attribute("aria-pressed") == "true"
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "false" if was_down else "true")

    async def slide(self, name: str, value: int) -> None:
        """Set a slider of the inspector."""
        slider = self.region("Inspector").get_by_role("slider", name=name, exact=True)
        await slider.fill(str(value))

    async def tab_to(self, name: str, *, backwards: bool = False) -> None:
        """Go to a button by the keyboard alone."""
        for _ in range(MOST_STOPS):
            if await self.page.evaluate(FOCUSED) == name:
                return
            await self.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        pytest.fail(f"{name} cannot be reached by the keyboard")

    async def write(self, text: str) -> None:
        """Send a chat message."""
        await self.page.get_by_role("textbox", name="Message", exact=True).fill(text)
        await self.click("Send")

    async def become(self, **fields: str) -> None:
        """Say who one is: by the names of the fields, with _ for a space."""
        await self.click("Who am I")
        form = self.page.get_by_role("group", name="Who am I", exact=True)
        for name, value in fields.items():
            field = form.get_by_role("textbox", name=name.replace("_", " "), exact=True)
            await field.fill(value)
        await self.click("Save")

    async def save(self, file: Path) -> None:
        """Save the call."""
        async with self.page.expect_download() as download:
            await self.page.get_by_role("link", name="Save call").click()
        await (await download.value).save_as(file)

    async def open(self, file: Path) -> None:
        """Open a saved call."""
        await self.page.get_by_label("Open call").set_input_files(file)
        await expect(self.button("Back to live")).to_be_visible()

    async def is_in_state(self, words: str) -> None:
        """Wait until the phone says that it is in a state."""
        await expect(self.page.locator("#call-state")).to_contain_text(words)

    async def answered(self) -> None:
        """Wait until a call is answered."""
        await self.is_in_state("In call")

    async def hears(self, wav: Path) -> None:
        """Wait until the speaker has played most of a WAV file."""
        wanted = read_wav(wav)
        async with patience(lambda: f"{wav.name} was not heard"):
            # Bot and simulator may share this loop, and shall not stumble while we look.
            is_there = False
            while not is_there:
                await asyncio.sleep(0.5)
                is_there = await asyncio.to_thread(_was_said, wanted, await self.ear.heard())

    async def shows_steps(self, *titles: str) -> None:
        """Wait until the inspector shows steps with these words in this order."""
        in_order = re.compile(".*".join(map(re.escape, titles)), re.DOTALL)
        shown = ""
        async with patience(lambda: f"{titles} are not in {shown}"):
            while not in_order.search(shown):
                await asyncio.sleep(0.2)
                shown = "\n".join(await self.page.locator("#steps > li").all_inner_texts())

    async def shows_details(self, text: str) -> None:
        """Open the particulars of all steps, and wait until a text is among them."""
        for summary in await self.page.locator("#steps > li summary").all():
            await summary.click()
        details = self.page.locator("#steps .detail").filter(has_text=text)
        await expect(details.first).to_be_visible()

    async def duration(self, name: str) -> float:
        """Wait until an audio player has read its sound; returns how long it is, s."""
        player = self.page.locator(f"audio[aria-label='{name}']")
        seconds: float = await player.evaluate(DURATION)
        return seconds

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@asynccontextmanager
async def served_page(whatsapp: WhatsApp) -> AsyncIterator[str]:
    """The address of a page on which one calls the demo bot, here in this process."""
    await whatsapp.serve(demo.bot, on_webhook_event=demo.on_webhook_event)
    async with page_of(whatsapp) as server:
        yield f"{server.url}/"


@asynccontextmanager
async def phone_page(browser: Browser, address: str, **options: Any) -> AsyncIterator[PhonePage]:
    """The phone page in a browser that has never seen it.

    Args:
        browser: Where.
        address: Of the page.
        **options: Of Playwright's `new_context`.
    """
    async with await browser.new_context(**({"viewport": DESK} | options)) as context:
        context.set_default_timeout(PATIENCE * 1000)
        async with tab(context, address) as page:
            yield page


@asynccontextmanager
async def tab(context: BrowserContext, address: str) -> AsyncIterator[PhonePage]:
    """The phone page in a new tab; at its end the browser must have had nothing to complain of."""
    page = await context.new_page()
    phone = PhonePage(page, await listen(page))
    await page.goto(address)
    await expect(phone.button("Call")).to_be_enabled()
    yield phone
    await page.close()
    assert phone.complaints == []


def _was_said(wanted: bytes, heard: bytes) -> bool:
    """Whether all of something was heard, or else half of its pieces.

    A browser bends time where packets are late, and a busy one leaves sound out.
    """
    if find(heard, wanted) is not None:
        return True
    samples = np.frombuffer(wanted, np.int16)
    pieces = np.array_split(samples, round(len(samples) / (0.8 * RATE)))
    found = [find(heard, piece.tobytes()) is not None for piece in pieces]
    return float(np.mean(found)) >= MOSTLY


@asynccontextmanager
async def patience(what_is_wrong: Callable[[], str]) -> AsyncIterator[None]:
    """Wait for long, but not for ever."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        pytest.fail(what_is_wrong())


expect.set_options(timeout=PATIENCE * 1000)
