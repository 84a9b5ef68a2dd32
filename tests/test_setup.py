"""`setup`, from the command line to a number that can be called."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dotenv import dotenv_values

from pipecat_whatsapp.simulator.tokens import MESSAGING, Token
from ports import free_port
from stun_server import stun_server
from terminal import Outcome, run, running
from whatsapp_world import CLI, World, whatsapp_world

NGROK = """#!/bin/sh
echo '{"lvl":"info","msg":"starting web service"}'
echo "{\\"lvl\\":\\"info\\",\\"msg\\":\\"started tunnel\\",\\"url\\":\\"http://127.0.0.1:$2\\"}"
exec sleep 1000
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A business that has nothing but a token and a secret."""
    async with whatsapp_world(tmp_path) as made:
        for name in ("PHONE_NUMBER_ID", "WEBHOOK_VERIFICATION_TOKEN", "TOKEN", "APP_SECRET"):
            made.environ[f"WHATSAPP_{name}"] = ""
        yield made


async def set_up(world: World, *options: object, port: int | None = None) -> Outcome:
    port = port or free_port()
    account = world.meta.account
    if "--url" not in options:
        options = ("--url", f"http://127.0.0.1:{port}/whatsapp", *options)
    return await world.command(
        "setup", "--token", account.token, "--app-secret", account.app_secret, "--port", port,
        *options,
    )  # fmt: skip


def is_set_up(world: World, url: str) -> bool:
    business = world.meta.business
    return (
        business.subscriptions.webhook_url("calls")
        == business.subscriptions.webhook_url("messages")
        == url
        and business.settings.read()["status"] == "ENABLED"
    )


async def test_a_token_and_a_secret_make_a_number_that_can_be_called(world: World) -> None:
    port = free_port()
    outcome = await set_up(world, port=port)
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
    assert is_set_up(world, f"http://127.0.0.1:{port}/whatsapp")
    written = dotenv_values(world.env_file)
    account = world.meta.account
    assert written["WHATSAPP_TOKEN"] == account.token
    assert written["WHATSAPP_APP_SECRET"] == account.app_secret
    assert written["WHATSAPP_PHONE_NUMBER_ID"] == account.phone_number_id
    assert len(written["WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"] or "") >= 32
    for topic in ("Token", "App secret", "Number", ".env", "Address", "Bot", "Webhooks", "Account",
                  "Calling", "Next"):  # fmt: skip
        assert f"\n{topic} " in f"\n{outcome.output}", topic
    for secret in (account.token, account.app_secret, *written.values()):
        assert secret == account.phone_number_id or str(secret) not in outcome.output


async def test_what_setup_makes_the_doctor_finds_healthy(world: World) -> None:
    port = free_port()
    assert (await set_up(world, port=port)).code == 0
    token = dotenv_values(world.env_file)["WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"]
    url = await world.start_bot(port, verification_token=token)
    async with stun_server() as stun:
        outcome = await world.command("doctor", "--stun", stun, "--bot-url", url)
    assert outcome.code == 0, outcome


async def test_setup_is_safe_to_repeat(world: World) -> None:
    port = free_port()
    await set_up(world, port=port)
    written = world.env_file.read_bytes()
    outcome = await world.command(
        "setup", "--port", port, "--url", f"http://127.0.0.1:{port}/whatsapp"
    )
    assert outcome.code == 0, outcome
    assert world.env_file.read_bytes() == written
    for words in ("has it all already", "gets its webhooks already", "is switched on already"):
        assert words in outcome.output


async def test_a_complete_env_file_is_for_its_owner_only_too(world: World) -> None:
    port = free_port()
    await set_up(world, port=port)
    world.env_file.chmod(0o644)
    assert (await set_up(world, port=port)).code == 0
    assert world.env_file.stat().st_mode & 0o777 == 0o600


async def test_setup_is_safe_to_repeat_with_a_comma_in_the_verification_token(
    world: World,
) -> None:
    world.env_file.write_text("WHATSAPP_WEBHOOK_VERIFICATION_TOKEN='one, two'\n")
    port = free_port()
    assert (await set_up(world, port=port)).code == 0
    written = world.env_file.read_bytes()
    assert (await set_up(world, port=port)).code == 0
    assert world.env_file.read_bytes() == written


async def test_what_the_app_has_already_is_not_subscribed_again(world: World) -> None:
    port = free_port()
    await set_up(world, port=port)
    seen = len(world.meta.requests)
    outcome = await set_up(world, port=port)
    assert outcome.code == 0, outcome
    assert "go to http" in outcome.output
    assert not [r for r in world.meta.requests[seen:] if r.method == "POST"]


async def test_a_bot_that_runs_answers_the_verification_itself(world: World) -> None:
    world.env_file.write_text("WHATSAPP_WEBHOOK_VERIFICATION_TOKEN=chosen-by-us\n")
    url = await world.start_bot(verification_token="chosen-by-us")
    outcome = await set_up(world, "--url", url)
    assert outcome.code == 0, outcome
    assert f"answers at {url}" in outcome.output
    assert is_set_up(world, url)


async def test_a_bot_with_another_verification_token_stops_it(world: World) -> None:
    url = await world.start_bot()
    outcome = await set_up(world, "--url", url)
    assert outcome.code == 1
    assert "runs with another verification token: start it again" in outcome.complaint
    assert world.meta.business.subscriptions.callback_url is None


async def test_the_env_file_keeps_its_other_lines_and_its_owner_only(world: World) -> None:
    world.env_file.write_text("# mine\nOPENAI_API_KEY=kept\nWHATSAPP_TOKEN=\n")
    world.env_file.chmod(0o644)
    assert (await set_up(world)).code == 0
    text = world.env_file.read_text()
    assert text.startswith("# mine\nOPENAI_API_KEY=kept\n")
    assert text.count("WHATSAPP_TOKEN=") == 1
    assert world.env_file.stat().st_mode & 0o777 == 0o600


async def test_the_env_file_has_no_quotes_for_programs_that_would_take_them_for_a_part_of_values(
    world: World,
) -> None:
    world.environ["WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"] = "chosen-by_us"
    world.environ["WHATSAPP_PHONE_NUMBER_ID"] = f"{world.meta.account.phone_number_id},2"
    outcome = await set_up(world)
    assert outcome.code == 0, outcome
    lines = world.env_file.read_text().splitlines()
    written = dotenv_values(world.env_file)
    assert sorted(lines) == sorted(f"{name}={value}" for name, value in written.items())


async def test_another_value_in_the_env_file_is_replaced_with_consent_only(world: World) -> None:
    old = "WHATSAPP_TOKEN=an-old-one\n"
    world.env_file.write_text(old)
    refused = await set_up(world)
    assert refused.code == 1
    assert "WHATSAPP_TOKEN in .env has another value" in refused.complaint
    assert "--yes" in refused.complaint
    assert world.env_file.read_text() == old
    assert world.meta.business.subscriptions.callback_url is None
    assert (await set_up(world, "--yes")).code == 0
    assert dotenv_values(world.env_file)["WHATSAPP_TOKEN"] == world.meta.account.token


@pytest.mark.parametrize("place", ["file", "environment"])
async def test_a_number_joins_several_that_are_served_already(world: World, place: str) -> None:
    number = world.meta.account.phone_number_id
    if place == "file":
        world.env_file.write_text("WHATSAPP_PHONE_NUMBER_ID='1, 2'\n")
    else:
        world.environ["WHATSAPP_PHONE_NUMBER_ID"] = "1,2"
    outcome = await set_up(world, "--phone-number-id", number)
    assert outcome.code == 0, outcome
    assert dotenv_values(world.env_file)["WHATSAPP_PHONE_NUMBER_ID"] == f"1,2,{number}"


async def test_of_several_numbers_in_the_environment_none_is_lost(world: World) -> None:
    number = world.meta.account.phone_number_id
    world.environ["WHATSAPP_PHONE_NUMBER_ID"] = f"{number},2"
    outcome = await set_up(world)
    assert outcome.code == 0, outcome
    assert dotenv_values(world.env_file)["WHATSAPP_PHONE_NUMBER_ID"] == f"{number},2"


async def test_the_only_number_is_replaced_with_consent_only(world: World) -> None:
    number = world.meta.account.phone_number_id
    world.env_file.write_text("WHATSAPP_PHONE_NUMBER_ID=1\n")
    refused = await set_up(world, "--phone-number-id", number)
    assert "WHATSAPP_PHONE_NUMBER_ID in .env has another value" in refused.complaint
    assert (await set_up(world, "--phone-number-id", number, "--yes")).code == 0
    assert dotenv_values(world.env_file)["WHATSAPP_PHONE_NUMBER_ID"] == number


async def test_all_numbers_that_no_account_has_are_named(world: World) -> None:
    world.env_file.write_text("WHATSAPP_PHONE_NUMBER_ID=998,999\n")
    outcome = await set_up(world)
    assert outcome.code == 1
    assert "none of the numbers 998, 999" in outcome.complaint


async def test_a_port_that_cannot_be_opened_is_one_sentence_with_a_cure(world: World) -> None:
    with socket.socket() as taken:
        # Bound, and not listening: nobody answers, and nobody else can have it.
        taken.bind(("127.0.0.1", 0))
        outcome = await set_up(world, port=taken.getsockname()[1])
    assert outcome.code == 1
    assert "cannot be used (Address already in use)" in outcome.complaint
    assert "--port" in outcome.complaint


async def test_webhooks_that_go_elsewhere_are_moved_with_consent_only(world: World) -> None:
    elsewhere = await world.start_bot()
    await world.meta.subscribe(elsewhere)
    refused = await set_up(world)
    assert refused.code == 1
    assert f"The app's webhooks go to {elsewhere}" in refused.complaint
    assert world.meta.business.subscriptions.callback_url == elsewhere
    port = free_port()
    assert (await set_up(world, "--yes", port=port)).code == 0
    assert is_set_up(world, f"http://127.0.0.1:{port}/whatsapp")


async def test_overrides_are_removed(world: World) -> None:
    elsewhere = await world.start_bot()
    await world.meta.subscribe(elsewhere)
    subscriptions = world.meta.business.subscriptions
    subscriptions.account_override = subscriptions.number_override = f"{elsewhere}?other"
    port = free_port()
    outcome = await set_up(world, "--yes", port=port)
    assert outcome.code == 0, outcome
    assert subscriptions.account_override is None
    assert subscriptions.number_override is None
    assert is_set_up(world, f"http://127.0.0.1:{port}/whatsapp")


async def test_fields_that_the_app_had_are_kept(world: World) -> None:
    world.meta.business.subscriptions.subscribe(None, ("account_update",))
    assert (await set_up(world)).code == 0
    assert world.meta.business.subscriptions.fields == {"account_update", "calls", "messages"}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("token", "The token: lacks whatsapp_business_management"),
        ("secret", "WHATSAPP_APP_SECRET is not that of app"),
        ("number", "have no number 999"),
        ("limit", "138015"),
    ],
)
async def test_a_step_that_fails_stops_it_with_one_sentence(
    world: World, fault: str, sentence: str
) -> None:
    options: list[object] = []
    if fault == "token":
        world.meta.business.tokens.add(Token(world.meta.account.token, scopes=(MESSAGING,)))
    elif fault == "secret":
        options += ["--app-secret", "guessed"]
    elif fault == "number":
        options += ["--phone-number-id", "999"]
    else:
        world.meta.business.settings.messaging_limit = 250
    outcome = await set_up(world, *options)
    assert outcome.code == 1
    assert outcome.complaint.count("\n") == 1, outcome
    assert sentence in outcome.complaint
    assert "Traceback" not in outcome.complaint


async def test_without_an_answer_it_says_which_option_is_missing(world: World) -> None:
    outcome = await run(
        "-c", "import sys; sys.stdin.close(); sys.stdin = open('/dev/null'); "
        "from pipecat_whatsapp.cli import app; app()",
        "setup", "--env-file", world.env_file,
        environment=world.environ,
    )  # fmt: skip
    assert outcome.code == 1
    assert outcome.complaint.splitlines()[-1] == (
        "Without an answer it does not go on: give --token."
    )


async def test_an_address_must_be_https(world: World) -> None:
    outcome = await set_up(world, "--url", "http://bot.example.com")
    assert outcome.code == 1
    assert "is not https" in outcome.complaint


async def test_what_is_no_address_is_one_sentence(world: World) -> None:
    outcome = await set_up(world, "--url", "https://[")
    assert outcome.code == 1
    assert outcome.complaint == "https://[ is not an address: give Meta an https address.\n"


async def test_an_address_that_leads_elsewhere_stops_it(world: World) -> None:
    url = await world.serve(404)
    outcome = await set_up(world, "--url", url)
    assert outcome.code == 1
    assert f"{url} does not lead to port" in outcome.complaint
    assert "answers HTTP 404" in outcome.complaint


async def test_something_else_on_the_port_stops_it(world: World) -> None:
    url = await world.serve(200, "hello")
    port = int(url.split(":")[2].split("/")[0])
    outcome = await set_up(world, "--url", url, port=port)
    assert outcome.code == 1
    assert f"Something else than a bot listens on port {port}" in outcome.complaint


async def test_a_tunnel_is_started_and_stays_open(world: World) -> None:
    tools = world.folder / "tools"
    tools.mkdir()
    (tools / "ngrok").write_text(NGROK)
    (tools / "ngrok").chmod(0o755)
    port, account = free_port(), world.meta.account
    async with running(
        *CLI, "setup", "--token", account.token, "--app-secret", account.app_secret,
        "--port", port, "--env-file", world.env_file,
        environment={**world.environ, "PATH": f"{tools}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
    ) as command:  # fmt: skip
        await command.prints("ngrok stays open until Ctrl-C")
        assert is_set_up(world, f"http://127.0.0.1:{port}/whatsapp")
        command.interrupt()
        outcome = await command.ends()
    assert outcome.code == 130, outcome
    assert "Traceback" not in outcome.complaint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_tunnel_ends_with_the_command(world: World, number: signal.Signals) -> None:
    tools = world.folder / "tools"
    tools.mkdir()
    # Written before the address is: the command may be ended as soon as that is read.
    noted = NGROK.replace("#!/bin/sh", '#!/bin/sh\necho $$ > "$(dirname "$0")/pid"')
    (tools / "ngrok").write_text(noted)
    (tools / "ngrok").chmod(0o755)
    account = world.meta.account
    async with running(
        *CLI, "setup", "--token", account.token, "--app-secret", account.app_secret,
        "--port", free_port(), "--env-file", world.env_file,
        environment={**world.environ, "PATH": f"{tools}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
    ) as command:  # fmt: skip
        await command.prints("ngrok stays open until Ctrl-C")
        command.send(number)
        outcome = await command.ends()
    assert outcome.code == 128 + number, outcome
    assert "Traceback" not in outcome.complaint
    with pytest.raises(ProcessLookupError):
        os.kill(int((tools / "pid").read_text()), 0)


async def test_without_an_address_or_a_tunnel_it_says_what_to_do(world: World) -> None:
    account = world.meta.account
    world.environ["PATH"] = str(world.folder)
    outcome = await world.command(
        "setup", "--token", account.token, "--app-secret", account.app_secret
    )
    assert outcome.code == 1
    assert "--url, or install cloudflared or ngrok" in outcome.complaint


async def test_token_and_secret_are_asked_for_and_not_shown(world: World) -> None:
    account, port = world.meta.account, free_port()
    # A terminal of its own, as only there input can be hidden.
    script = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, sys.executable, *CLI, "setup", "--port", str(port),
        "--url", f"http://127.0.0.1:{port}/whatsapp", "--env-file", str(world.env_file),
        env={**os.environ, **world.environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    shown = b""
    async with asyncio.timeout(60):
        for question, answer in ((b"Token", account.token), (b"App secret", account.app_secret)):
            while question + b" (hidden): " not in shown:
                shown += await process.stdout.read(1000)
            process.stdin.write(f"{answer}\n".encode())
        shown += await process.stdout.read()
        code = await process.wait()
    assert code == 0, shown
    assert account.token.encode() not in shown
    assert account.app_secret.encode() not in shown
    assert dotenv_values(world.env_file)["WHATSAPP_TOKEN"] == account.token
