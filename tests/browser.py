"""Chromium without a screen, whose microphone is a file, and an ear for what its pages play."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import getuid
from pathlib import Path
from tempfile import gettempdir

import pytest
from playwright.async_api import Browser, Page, async_playwright

from pipecat_whatsapp.simulator.sound import OPUS_CLOCK, RATE, read_wav, resample, write_wav

OPTIONS = (
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-gpu",
)

LISTEN = """
window.heard = [];
const srcObject = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "srcObject");
Object.defineProperty(HTMLMediaElement.prototype, "srcObject", {
  ...srcObject,
  set(stream) {
    srcObject.set.call(this, stream);
    stream?.getAudioTracks().forEach(listen);
  },
});
async function listen(track) {
  const processor = new MediaStreamTrackProcessor({ track, maxBufferSize: 1000 });
  const sound = processor.readable.getReader();
  for (let part = await sound.read(); !part.done; part = await sound.read()) {
    const samples = new Float32Array(part.value.numberOfFrames);
    part.value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    part.value.close();
    window.heard.push(Int16Array.from(samples, (sample) => sample * 32767));
  }
}
"""
"""Keeps the sound of every stream that the page plays, before its volume is applied."""

TAKE = """
new Promise((done) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(",")[1] ?? "");
  reader.readAsDataURL(new Blob(window.heard.splice(0)));
})
"""
"""What was kept since it was last taken, as base64."""


class Ear:
    """Hears what a page plays, from the first sample on. Made by `listen`."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._pcm = bytearray()

    async def heard(self) -> bytes:
        """All that was heard so far, as `sound` has it."""
        self._pcm += base64.b64decode(await self._page.evaluate(TAKE))
        return await asyncio.to_thread(resample, bytes(self._pcm), OPUS_CLOCK, RATE)

    async def forget(self) -> None:
        """Listen anew."""
        await self.heard()
        self._pcm.clear()


async def listen(page: Page) -> Ear:
    """Listen to a page that is still to be loaded."""
    await page.add_init_script(LISTEN)
    return Ear(page)


@asynccontextmanager
async def chromium(microphone: Path) -> AsyncIterator[Browser]:
    """A browser. Skips the test where there is none.

    Args:
        microphone: A WAV file that the microphone hears again and again.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian package chromium)")
    options = [*OPTIONS, f"--use-file-for-fake-audio-capture={microphone}"]
    async with one_at_a_time(), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def one_at_a_time() -> AsyncIterator[None]:
    """Wait until no other test has a browser: several at once on a few cores stutter."""
    with (Path(gettempdir()) / f"pipecat-whatsapp-browser-{getuid()}").open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


def silence(folder: Path) -> Path:
    """A microphone before which nobody speaks."""
    file = folder / "silence.wav"
    write_wav(file, bytes(2 * RATE))
    return file


def speech(folder: Path, wav: Path, *, pause: float) -> Path:
    """A microphone before which somebody says the same again and again.

    Args:
        folder: Where to put its file.
        wav: What is said.
        pause: Seconds of silence before each time.
    """
    file = folder / "speech.wav"
    write_wav(file, bytes(2 * int(pause * RATE)) + read_wav(wav))
    return file
