"""Takes the pictures of docs/phone-page.md, and more of them to look at.

    .venv/bin/python tests/screenshots.py [FOLDER]

The folder is docs/images by default; elsewhere every state is shown in both colour schemes.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.async_api import Browser, expect

from browser import chromium, speech
from phone_page import DESK, HAND, PhonePage, phone_page, served_page
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

IN_THE_DOCS = Path(__file__).parent.parent / "docs" / "images"
SHOWN_THERE = frozenset(
    {
        "call-light.png",
        "call-dark.png",
        "prompt-light.png",
        "incoming-dark.png",
        "saved-light.png",
    }
)
SCHEMES = ("light", "dark")
COLOURS = 128
TALK = 20
"""Seconds of a call that make a curve worth a look."""


class Album:
    """Pictures of one page.

    Args:
        page: The page.
        folder: Where they go.
        scheme: What their names end with.
    """

    def __init__(self, page: PhonePage, folder: Path, scheme: str) -> None:
        self._page = page
        self._folder = folder
        self._scheme = scheme

    async def take(self, name: str) -> None:
        """Take a picture, if it is wanted."""
        file = f"{name}-{self._scheme}.png"
        if self._folder == IN_THE_DOCS and file not in SHOWN_THERE:
            return
        raw = await self._page.page.screenshot()
        picture = Image.open(io.BytesIO(raw)).convert("RGB").quantize(COLOURS)
        picture.save(self._folder / file, optimize=True)


@asynccontextmanager
async def pictured(
    browser: Browser, address: str, folder: Path, scheme: str, **options: Any
) -> AsyncIterator[tuple[PhonePage, Album]]:
    """A page in a colour scheme, which does not move while a picture is taken."""
    looks = {"color_scheme": scheme, "reduced_motion": "reduce"}
    async with phone_page(browser, address, **looks, **options) as page:
        yield page, Album(page, folder, scheme)


async def at_a_desk(browser: Browser, address: str, folder: Path, scheme: str) -> None:
    """A call with everything beside it, and what is saved of it."""
    async with pictured(browser, address, folder, scheme, viewport=DESK) as (page, album):
        await album.take("ready")
        await page.write("Do you open on Sundays?")
        await page.click("Call")
        await album.take("calling")
        await page.answered()
        await asyncio.sleep(TALK / 2)
        await page.slide("Loss", 5)
        await page.click("Keypad", "1", "2")
        await asyncio.sleep(TALK / 2)
        await album.take("call")
        await page.slide("Loss", 0)
        await page.click("Hang up")
        await page.is_in_state("Call ended")
        await album.take("ended")
        with TemporaryDirectory() as saved:
            await page.save(Path(saved) / "call.json")
            await page.open(Path(saved) / "call.json")
        await page.page.locator("#steps summary").nth(1).click()
        await album.take("saved")


async def in_a_hand(browser: Browser, address: str, folder: Path, scheme: str) -> None:
    """A call of the bot's on a phone's screen."""
    options = {"viewport": HAND, "device_scale_factor": 1.5}
    async with pictured(browser, address, folder, scheme, **options) as (page, album):
        await page.become(Name="Chloé Example", Username="chloe")
        await page.click("Have the bot call me")
        await expect(page.button("Allow for 7 days")).to_be_visible()
        await album.take("prompt")
        await page.click("Allow for 7 days")
        await expect(page.button("Accept")).to_be_visible()
        await album.take("incoming")
        await page.click("Accept", "Keypad", "4", "2")
        await album.take("keypad")
        await page.click("Inspector")
        await album.take("inspector")
        await page.click("Phone", "Hang up")
        await page.is_in_state("Call ended")


async def main(folder: Path) -> None:
    """Take them all."""
    with TemporaryDirectory() as files:
        async with chromium(speech(Path(files), QUESTION, pause=5)) as browser:
            for scheme in SCHEMES:
                # Another WhatsApp, which knows of no permission yet.
                async with SimulatedMeta() as meta:
                    whatsapp = WhatsApp(meta)
                    async with served_page(whatsapp) as address:
                        await at_a_desk(browser, address, folder, scheme)
                        await in_a_hand(browser, address, folder, scheme)
                    await whatsapp.close()


if __name__ == "__main__":
    wanted = Path(sys.argv[1]) if len(sys.argv) > 1 else IN_THE_DOCS
    wanted.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(wanted))
