"""The phone page in Chromium by the rules of axe-core: every state, size and colour scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import axe_playwright_python
import pytest
from playwright.async_api import ViewportSize

from browser import chromium, silence
from phone_page import DESK, HAND, PhonePage, phone_page, served_page
from pipecat_whatsapp.simulator.demo import bot as demo
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
FOR_LONG = 600.0

VIOLATIONS = """
axe.run().then(({ violations }) => violations.flatMap(({ id, help, nodes }) =>
  nodes.map((node) => `${id}: ${help}: ${node.html}: ${node.failureSummary}`)))
"""


class Examined:
    """A page that is looked at by axe-core.

    Args:
        page: The page.
        narrow: Whether phone and inspector take turns.
    """

    def __init__(self, page: PhonePage, *, narrow: bool) -> None:
        self.page = page
        self._narrow = narrow

    async def look_at(self, *names: str) -> None:
        """Show a part of the page, and demand that nothing is wrong with what is shown."""
        for name in names:
            if self._narrow:
                await self.page.click(name)
            assert await self.page.page.evaluate(VIOLATIONS) == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, HAND], ids=["desk", "hand"])
async def test_nothing_is_in_the_way_of_anybody(
    whatsapp: WhatsApp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: ViewportSize,
    scheme: Literal["light", "dark"],
) -> None:
    monkeypatch.setattr(demo, "SILENCE_SECONDS", FOR_LONG)
    saved = tmp_path / "call.json"
    async with (
        served_page(whatsapp) as address,
        chromium(silence(tmp_path)) as browser,
        phone_page(
            browser, address, viewport=size, color_scheme=scheme, reduced_motion="reduce"
        ) as page,
    ):
        await page.page.evaluate(AXE.read_text())
        examined = Examined(page, narrow=size is HAND)
        await examined.look_at("Inspector", "Phone")
        await page.click("Who am I")
        await examined.look_at("Phone")
        await page.click("Who am I", "Have the bot call me")
        await page.button("Allow for 7 days").wait_for()
        await examined.look_at("Phone")
        await page.click("Allow for 7 days")
        await page.button("Accept").wait_for()
        await examined.look_at("Phone")
        await page.click("Accept", "Keypad", "5")
        await page.answered()
        await examined.look_at("Phone")
        await page.shows_steps("first word")
        await examined.look_at("Inspector")
        await page.shows_details("sdp")
        await examined.look_at("Inspector", "Phone")
        await page.click("Hang up")
        await page.is_in_state("Call ended")
        await examined.look_at("Phone", "Inspector")
        await page.save(saved)
        await page.open(saved)
        await examined.look_at("Inspector")
