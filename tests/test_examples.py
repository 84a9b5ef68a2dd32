from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    InputAudioRawFrame,
    LLMContextFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService

from bots import PlainBot
from example_files import EXAMPLES, SOUNDS, hears, load, was_heard
from pipecat_whatsapp.calls.bot import Reject
from pipecat_whatsapp.calls.call import Call
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.demo import QUESTION
from pipecat_whatsapp.simulator.graph import SimulatedMeta, SubscriptionError
from pipecat_whatsapp.simulator.phone import ADA, Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.simulator.sound import RATE, read_wav
from ports import free_port
from recordings import MOSTLY, share_found
from terminal import run, running
from whatsapp_world import variables

PATIENCE = 60.0
BEN = User(phone="4915550003333", user_id="DE.900000000000000002", name="Ben")
KEYS = ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY")


async def test_echo_says_back_what_it_hears(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    command = ["simulate", EXAMPLES / "echo.py", "--record", heard]
    outcome = await run("-m", "pipecat_whatsapp.cli", *command)
    assert outcome.code == 0, outcome
    assert "the caller hung up" in outcome.output
    assert share_found(QUESTION, heard) > MOSTLY


async def subscribe(meta: SimulatedMeta, webhook_url: str) -> None:
    """Send webhooks to a bot as soon as it serves them."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await meta.subscribe(webhook_url)
            except SubscriptionError:
                await asyncio.sleep(0.1)


async def test_the_reminder_asks_calls_one_after_the_other_and_tells_what_came_of_it(
    whatsapp: WhatsApp,
) -> None:
    meta, ada, ben = whatsapp.meta, await whatsapp.phone(ADA), await whatsapp.phone(BEN)
    meta.business.settings.enable()
    for user in (ADA, BEN):
        meta.business.conversations.open_window(user)
    port = free_port()
    command = ["-t", "whatsapp", "--port", port, "--to", "nobody", f"+{BEN.phone}", f"+{ADA.phone}"]
    environment = variables(meta.account, meta.graph_url) | {"PYTHON_DOTENV_DISABLED": "1"}
    async with running(
        EXAMPLES / "outbound_reminder.py", *command, environment=environment
    ) as reminder:
        await subscribe(meta, f"http://127.0.0.1:{port}/whatsapp")
        await reminder.prints("nobody: The user cannot be told")
        (await ben.permission_prompt(PATIENCE)).reject()
        await reminder.prints(f"+{BEN.phone}: not permitted: the user declined to be called")
        (await ada.permission_prompt(PATIENCE)).accept()
        call = await ada.rings(PATIENCE)
        await call.pick_up()
        assert await call.ended(PATIENCE) == "terminated"
        await reminder.prints(f"+{ADA.phone}: answered, bot hung up after")
    assert share_found(SOUNDS / "reminder.wav", call.recording.pcm) > MOSTLY


async def test_the_menu_does_what_the_keys_say(whatsapp: WhatsApp, phone: Phone) -> None:
    menu = load("keypad_menu")
    await whatsapp.serve(menu.bot)
    call = await phone.dial()
    await call.wait_sound(PATIENCE)
    await call.press("1")
    await hears(call, "hours")
    assert not was_heard(call, "menu")
    await call.press("2")
    assert (await phone.message(PATIENCE)).text == menu.ADDRESS
    await hears(call, "address")
    await call.press("#")
    assert await call.ended(PATIENCE) == "terminated"
    assert share_found(SOUNDS / "farewell.wav", call.recording.pcm) > MOSTLY


async def test_the_menu_says_that_a_message_could_not_be_sent(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    await whatsapp.serve(load("keypad_menu").bot)
    whatsapp.meta.faults.fail["messages"] = [(400, 131026)]
    call = await phone.dial()
    await call.wait_sound(PATIENCE)
    await call.press("2")
    await hears(call, "failed")
    assert not phone.messages


async def test_a_menu_that_nobody_uses_hangs_up(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    menu = load("keypad_menu")
    monkeypatch.setattr(menu, "SILENCE_SECONDS", 5.0)
    await whatsapp.serve(menu.bot)
    call = await phone.dial()
    assert await call.ended(PATIENCE) == "terminated"
    assert share_found(SOUNDS / "menu.wav", call.recording.pcm) > MOSTLY


async def test_the_simulated_user_presses_keys(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    command = ["simulate", EXAMPLES / "keypad_menu.py", "--press", "1#", "--record", heard]
    outcome = await run("-m", "pipecat_whatsapp.cli", *command)
    assert outcome.code == 0, outcome
    assert outcome.output.index("presses 1") < outcome.output.index("presses #")
    assert share_found(SOUNDS / "farewell.wav", heard) > MOSTLY


async def test_the_simulated_user_has_an_ordinary_telephone() -> None:
    command = ["simulate", EXAMPLES / "keypad_menu.py", "--press", "1x"]
    outcome = await run("-m", "pipecat_whatsapp.cli", *command)
    assert outcome.code == 2
    assert "0 to 9, * and #" in outcome.complaint


@pytest.mark.parametrize(
    ("example", "missing"),
    [
        *((example, key) for example in ("voice agent", "receptionist") for key in KEYS),
        ("speech-to-speech agent", "OPENAI_API_KEY"),
    ],
)
async def test_an_example_names_a_missing_key(example: str, missing: str) -> None:
    environment = {**dict.fromkeys(KEYS, "x"), missing: "", "PYTHON_DOTENV_DISABLED": "1"}
    name = {"speech-to-speech agent": "speech_to_speech"}.get(example, example.replace(" ", "_"))
    script = EXAMPLES / f"{name}.py"
    outcome = await run(script, "-t", "whatsapp", environment=environment)
    assert outcome.code == 1
    assert outcome.complaint.splitlines()[-1] == (
        f"The {example} needs {missing} in the environment or in .env."
    )


class Deaf(FrameProcessor):
    """Stands for a service that hears or speaks."""

    Settings = SimpleNamespace

    def __init__(self, **_: object) -> None:
        super().__init__()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Model(LLMService):
    """Stands for a language model: when it is asked first, it hands the caller over."""

    Settings = SimpleNamespace
    asked: list[str]

    def __init__(self, *, settings: Any, **_: object) -> None:
        super().__init__()
        self.asked.append(settings.system_instruction)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
        elif len(frame.context.get_messages()) == 1:
            arguments = {"summary": "Ada wants a book."}
            call = FunctionCallFromLLM("hand_over", "call-1", arguments, frame.context)
            await self.run_function_calls([call])


@pytest.fixture
def receptionist(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The receptionist, whose services are stood in for: they need keys."""
    monkeypatch.setenv("PYTHON_DOTENV_DISABLED", "1")
    for key in KEYS:
        monkeypatch.setenv(key, "x")
    monkeypatch.setattr(Model, "asked", [], raising=False)
    services = {
        "deepgram.stt": SimpleNamespace(DeepgramSTTService=Deaf),
        "openai.llm": SimpleNamespace(OpenAILLMService=Model),
        "cartesia.tts": SimpleNamespace(CartesiaTTSService=Deaf),
    }
    for name, stand_in in services.items():
        monkeypatch.setitem(sys.modules, f"pipecat.services.{name}", stand_in)
    return load("receptionist")


async def test_the_receptionist_hands_over_to_a_colleague_by_message(
    whatsapp: WhatsApp, phone: Phone, receptionist: Any
) -> None:
    colleague = await whatsapp.phone(BEN)
    adapter = await whatsapp.serve(
        receptionist.reception.desk(receptionist.FRONT_DESK),
        on_incoming_call=receptionist.to_desk,
        cli_args=receptionist.parser().parse_args(["--colleague", f"+{BEN.phone}"]),
    )
    await receptionist.reception.open(adapter)
    assert adapter.config.max_calls == receptionist.MAX_CALLS
    await colleague.send_text("I am here.")
    call = await phone.dial(cta_payload="sales")
    message = await colleague.message(PATIENCE)
    assert message.text == f"Please call back +{ADA.phone}. Ada wants a book."
    prompt = await phone.permission_prompt(PATIENCE)
    assert prompt.text == "May a colleague call you back?"
    assert receptionist.DESKS["sales"] in Model.asked[0]
    await call.hang_up()


async def test_the_receptionist_hands_over_only_where_there_is_a_colleague(
    whatsapp: WhatsApp, phone: Phone, receptionist: Any
) -> None:
    adapter = await whatsapp.serve(PlainBot(), cli_args=receptionist.parser().parse_args([]))
    await receptionist.reception.open(adapter)
    call = SimpleNamespace(contact=SimpleNamespace())
    names = [tool.__name__ for tool in receptionist.reception.tools(call)]
    assert names == ["end_call", "send_message"]


async def test_who_calls_while_all_lines_are_busy_gets_a_button(
    whatsapp: WhatsApp, phone: Phone, receptionist: Any
) -> None:
    await whatsapp.serve(PlainBot(), on_missed_call=receptionist.on_missed_call, max_calls=0)
    call = await phone.dial(cta_payload="support")
    assert await call.ended() == "rejected"
    message = await phone.message(PATIENCE)
    assert message.call_button
    assert "busy" in message.text


async def test_who_calls_outside_business_hours_is_told_when_to_call(
    whatsapp: WhatsApp, phone: Phone, receptionist: Any
) -> None:
    async def decline(_: Call) -> Reject:
        return Reject("outside business hours")

    await whatsapp.serve(
        PlainBot(), on_incoming_call=decline, on_missed_call=receptionist.on_missed_call
    )
    call = await phone.dial()
    assert await call.ended() == "rejected"
    assert "weekdays from 9" in (await phone.message(PATIENCE)).text


class Realtime(LLMService):
    """Stands for a model that hears and speaks: greets when asked to, and says all back."""

    Settings = SimpleNamespace
    rates: set[int]

    def __init__(self, **_: object) -> None:
        super().__init__()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.rates.add(frame.sample_rate)
            await self.push_frame(speech(frame.audio, frame.sample_rate))
        elif isinstance(frame, LLMContextFrame):
            message: Any = frame.context.get_messages()[-1]
            assert message["role"] == "developer"
            await self.push_frame(speech(read_wav(SOUNDS / "menu.wav"), RATE))
        else:
            await self.push_frame(frame, direction)


def speech(audio: bytes, rate: int) -> TTSAudioRawFrame:
    return TTSAudioRawFrame(audio, rate, 1)


async def test_the_model_that_speaks_hears_sound_at_its_own_rate(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_DOTENV_DISABLED", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setattr(Realtime, "rates", set(), raising=False)
    stand_in = SimpleNamespace(OpenAIRealtimeLLMService=Realtime)
    monkeypatch.setitem(sys.modules, "pipecat.services.openai.realtime.llm", stand_in)
    await whatsapp.serve(load("speech_to_speech").bot)
    call = await phone.dial()
    await hears(call, "menu")
    await call.say(SOUNDS / "hours.wav")
    await hears(call, "hours")
    assert Realtime.rates == {24_000}
    await call.hang_up()
