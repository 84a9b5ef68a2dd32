"""`settings`, `permissions`, `link` and `call`, from the command line to Meta and the bot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.simulator.phone import Phone
from terminal import Outcome, run
from whatsapp_world import CLI, World, whatsapp_world

ADA = User(phone="4915550002222", user_id="DE.900000000000000001", name="Ada")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A business whose number can be called."""
    async with whatsapp_world(tmp_path) as made:
        await made.meta.subscribe(await made.start_bot())
        yield made


async def test_settings_are_shown_as_a_table(world: World) -> None:
    world.meta.business.settings.write({"call_icon_visibility": "DISABLE_ALL"})
    world.meta.business.restrict("RESTRICTED_USER_INITIATED_CALLING")
    outcome = await world.command("settings", "show")
    assert outcome.code == 0, outcome
    rows = [line for line in outcome.output.splitlines() if "call_icon_visibility" in line]
    assert "DISABLE_ALL" in rows[0]
    assert "RESTRICTED_USER_INITIATED_CALLING" in outcome.output


async def test_a_setting_is_changed_and_the_change_is_told(world: World) -> None:
    outcome = await world.command(
        "settings", "set", "status=DISABLED", "callback_permission_status=ENABLED"
    )
    assert outcome.code == 0, outcome
    assert outcome.output.splitlines() == [
        "status: ENABLED -> DISABLED",
        "callback_permission_status: DISABLED -> ENABLED",
    ]
    calling = world.meta.business.settings.read()
    assert calling["status"] == "DISABLED"
    assert calling["callback_permission_status"] == "ENABLED"


async def test_a_setting_that_is_like_that_already_is_not_written(world: World) -> None:
    outcome = await world.command("settings", "set", "status=ENABLED")
    assert outcome.code == 0, outcome
    assert outcome.output.startswith("Nothing changed")


async def test_what_meta_would_refuse_is_one_sentence(world: World) -> None:
    outcome = await world.command("settings", "set", "status=ON")
    assert outcome.code == 1
    assert outcome.complaint.count("\n") == 1, outcome
    assert "ENABLED" in outcome.complaint


async def test_a_missing_variable_is_one_sentence(world: World) -> None:
    world.environ["WHATSAPP_TOKEN"] = ""
    outcome = await world.command("settings", "show")
    assert outcome.code == 1
    assert outcome.complaint.startswith("WHATSAPP_TOKEN is missing")


async def test_of_several_numbers_one_must_be_chosen(world: World) -> None:
    number = world.meta.account.phone_number_id
    world.environ["WHATSAPP_PHONE_NUMBER_ID"] = f"{number},201"
    outcome = await world.command("settings", "show")
    assert outcome.code == 1
    assert "--phone-number-id" in outcome.complaint
    assert (await world.command("settings", "show", "--phone-number-id", number)).code == 0


@pytest.mark.parametrize("given", ["+49 (0)1555 000 22 22", "DE.900000000000000001"])
async def test_permissions_are_told_in_a_sentence_and_a_table(world: World, given: str) -> None:
    async with Phone(world.meta, ADA):
        world.meta.permissions.grant(ADA, permanent=True)
        outcome = await world.command("permissions", given)
    assert outcome.code == 0, outcome
    assert "has allowed calls for good." in outcome.output
    call = next(line for line in outcome.output.splitlines() if " call " in line)
    assert "yes" in call
    ask = next(line for line in outcome.output.splitlines() if "ask for permission" in line)
    assert "no" in ask
    assert "24 hours" in outcome.output
    assert ADA.phone is not None
    assert ADA.phone not in outcome.output


async def test_a_user_who_has_allowed_nothing(world: World) -> None:
    async with Phone(world.meta, ADA):
        outcome = await world.command("permissions", ADA.phone)
    assert outcome.code == 0, outcome
    assert "has not allowed calls." in outcome.output


async def test_a_link_finds_the_number_at_meta(world: World) -> None:
    outcome = await world.command("link", "--payload", "shop window")
    assert outcome.code == 0, outcome
    number = world.meta.account.display_phone_number
    assert outcome.output.splitlines()[0] == (
        f"https://wa.me/call/{number}?biz_payload=shop%20window"
    )


async def call(world: World, *arguments: object) -> Outcome:
    return await world.command("call", "--url", world.bot_url, *arguments)


async def test_an_order_to_call_needs_the_app_secret(world: World) -> None:
    world.environ["WHATSAPP_APP_SECRET"] = "guessed"
    outcome = await call(world, ADA.phone)
    assert outcome.code == 1
    assert "runs with another app secret" in outcome.complaint


async def test_without_a_bot_nobody_is_called(world: World) -> None:
    world.bot_url = "http://127.0.0.1:1/whatsapp"
    outcome = await call(world, ADA.phone)
    assert outcome.code == 1
    assert outcome.complaint.startswith("No bot answers at http://127.0.0.1:1/whatsapp/calls")


async def test_what_is_no_bot_is_told_apart(world: World) -> None:
    world.bot_url = await world.serve(404)
    outcome = await call(world, ADA.phone)
    assert "Nothing takes orders to call" in outcome.complaint
    world.bot_url = await world.serve(200, "hello")
    outcome = await call(world, ADA.phone)
    assert "not that of a bot" in outcome.complaint
    world.bot_url = await world.serve(200, "hello" * 20_000)
    outcome = await call(world, ADA.phone)
    assert "did not tell what became of the call (ValueError)" in outcome.complaint


async def test_what_became_of_the_call_is_printed(world: World) -> None:
    told = {"outcome": "declined", "detail": "the user declined", "call_id": "wacid.A"}
    world.bot_url = await world.serve(200, json.dumps(told))
    outcome = await call(world, ADA.phone)
    assert outcome.code == 1
    assert outcome.output == "declined: the user declined\n"
    world.bot_url = await world.serve(200, json.dumps({"outcome": "answered", "detail": ""}))
    outcome = await call(world, ADA.phone)
    assert outcome.code == 0
    assert outcome.output == "answered\n"


async def test_the_running_bot_calls_a_phone_that_declines(world: World) -> None:
    world.meta.permissions.grant(ADA)
    async with Phone(world.meta, ADA) as phone:
        calling = asyncio.create_task(call(world, ADA.phone))
        rung = await phone.rings(timeout=30)
        await rung.decline()
        outcome = await calling
    assert outcome.code == 1, outcome
    assert outcome.output.startswith("declined")


async def test_the_running_bot_asks_first_and_then_calls_a_phone_that_picks_up(
    world: World,
) -> None:
    async with Phone(world.meta, ADA) as phone:
        await phone.send_text("Call me, please.")
        calling = asyncio.create_task(call(world, ADA.user_id, "--ask", "May we call you?"))
        prompt = await phone.permission_prompt(timeout=30)
        await prompt.accept()
        rung = await phone.rings(timeout=30)
        await rung.pick_up()
        outcome = await calling
    assert outcome.code == 0, outcome
    assert outcome.output == "answered\n"


async def test_a_user_who_has_not_allowed_calls_is_not_called(world: World) -> None:
    async with Phone(world.meta, ADA):
        outcome = await call(world, ADA.phone)
    assert outcome.code == 1
    assert outcome.output.startswith("not permitted")


async def test_a_file_of_variables_that_is_not_there_is_named() -> None:
    outcome = await run(*CLI, "settings", "show", "--env-file", "mistyped.env")
    assert outcome.code == 2
    assert "mistyped.env does not exist" in outcome.complaint


async def test_a_file_of_variables_with_a_null_byte_is_one_sentence(world: World) -> None:
    world.env_file.write_bytes(b"WHATSAPP_TOKEN=a\0b\n")
    outcome = await world.command("settings", "show")
    assert outcome.code == 1
    assert outcome.complaint.count("\n") == 1, outcome
    assert "cannot be read" in outcome.complaint


async def test_a_variable_that_holds_nothing_but_a_comma_is_missing(world: World) -> None:
    world.environ["WHATSAPP_APP_SECRET"] = ","
    outcome = await call(world, ADA.phone)
    assert outcome.code == 1
    assert outcome.complaint.startswith("WHATSAPP_APP_SECRET is missing")


@pytest.mark.parametrize("url", ["nonsense", "https://[", "ftp://bot/whatsapp"])
async def test_what_is_no_address_of_a_bot_is_one_sentence(world: World, url: str) -> None:
    world.bot_url = url
    outcome = await call(world, ADA.phone)
    assert outcome.code == 1
    assert outcome.complaint == (
        f"{url}/calls is not an address: name the bot's address with --url.\n"
    )


async def test_the_terminal_is_left_to_what_a_command_says(world: World) -> None:
    world.meta.faults.fail = {"settings": [(500, 2)]}
    outcome = await world.command("settings", "show")
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
