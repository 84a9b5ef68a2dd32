from __future__ import annotations

from typing import Any

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.demo import FOLDER, QUESTION
from pipecat_whatsapp.simulator.demo.bot import bot, on_air, on_webhook_event
from pipecat_whatsapp.simulator.phone import ADA, Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from recordings import MOSTLY, PARTLY, share_found

PATIENCE = 120.0


def text_message(user: User, text: str) -> dict[str, Any]:
    message = {
        "id": "wamid.1",
        "from": user.phone,
        "from_user_id": user.user_id,
        "timestamp": "1790000000",
        "type": "text",
        "text": {"body": text},
    }
    return {"messages": [message]}


async def test_the_caller_interrupts_and_is_repeated_and_silence_ends_the_call(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.wait_sound(PATIENCE)
    await call.say(QUESTION)
    assert await call.ended(PATIENCE) == "terminated"
    heard = call.recording.pcm
    assert share_found(FOLDER / "greeting.wav", heard) < 1
    assert share_found(QUESTION, heard) > PARTLY
    assert share_found(FOLDER / "goodbye.wav", heard) > MOSTLY


async def test_a_caller_who_writes_bye_is_told_goodbye(whatsapp: WhatsApp, phone: Phone) -> None:
    await whatsapp.serve(bot, on_webhook_event=on_webhook_event)
    call = await phone.dial()
    await call.wait_sound(PATIENCE)
    stranger = User(phone="4915550003333", user_id="DE.900000000000000002")
    await whatsapp.meta.deliver(text_message(stranger, "bye"), field="messages")
    await whatsapp.meta.deliver(text_message(ADA, "what?"), field="messages")
    await whatsapp.meta.wait_delivery("messages", count=2)
    assert len(on_air) == 1
    await whatsapp.meta.deliver(text_message(ADA, " Bye\n"), field="messages")
    assert await call.ended(PATIENCE) == "terminated"
    heard = call.recording.pcm
    assert share_found(FOLDER / "greeting.wav", heard) > MOSTLY
    assert share_found(FOLDER / "goodbye.wav", heard) > MOSTLY
    assert not on_air


async def test_a_caller_who_presses_the_hash_key_is_told_goodbye(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.wait_sound(PATIENCE)
    await call.press("1#")
    assert await call.ended(PATIENCE) == "terminated"
    assert share_found(FOLDER / "goodbye.wav", call.recording.pcm) > MOSTLY
    assert not on_air


async def test_a_caller_who_hangs_up_leaves_nothing_behind(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    adapter = await whatsapp.serve(bot)
    call = await phone.dial()
    await call.wait_sound(PATIENCE)
    await call.hang_up()
    await adapter.drain(PATIENCE)
    assert not on_air
