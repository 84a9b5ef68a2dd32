"""The doctor, from the command line to Meta, the bot and the network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocked_network import examine_in_namespace, why_no_namespace
from pipecat_whatsapp.simulator.tokens import MANAGEMENT, MESSAGING, Token
from stun_server import stun_server
from terminal import Outcome
from whatsapp_world import World, whatsapp_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A business whose number can be called."""
    async with whatsapp_world(tmp_path) as made:
        await made.meta.subscribe(await made.start_bot())
        yield made


async def examine(world: World, *options: object) -> Outcome:
    async with stun_server() as stun:
        return await world.command("doctor", "--stun", stun, "--bot-url", world.bot_url, *options)


def complaints(outcome: Outcome) -> dict[str, str]:
    """The lines that name something broken, or warn, by verdict and the rest."""
    lines = (line.split(maxsplit=1) for line in outcome.output.splitlines())
    return {
        " ".join(rest.split()): verdict
        for verdict, rest in lines
        if verdict in ("broken", "warning")
    }


def the_complaint(outcome: Outcome) -> tuple[str, str]:
    """The one line that complains of more than the simulation itself."""
    found = [
        (verdict, rest)
        for rest, verdict in complaints(outcome).items()
        if "WHATSAPP_GRAPH_URL" not in rest
    ]
    assert len(found) == 1, outcome
    return found[0]


async def test_a_number_that_can_be_called_is_found_healthy(world: World) -> None:
    outcome = await examine(world)
    assert outcome.code == 0, outcome
    assert outcome.complaint == ""
    (line,) = complaints(outcome)
    assert "instead of Meta" in line
    for name in (
        "Python", "pipecat-ai", "aiortc", "token", "app secret", "number", "calling",
        "restrictions", "SIP", "key exchange", "call hours", "voicemail", "app subscription",
        "account subscription", "account override", "number override", "public address",
        "signed webhook", "unsigned webhook", "UDP", "NAT", "candidates", "sound",
    ):  # fmt: skip
        assert f"ok       {name} " in outcome.output, name


async def test_machines_get_json(world: World) -> None:
    world.meta.business.subscriptions.has_account = False
    outcome = await examine(world, "--json")
    assert outcome.code == 1
    findings = {finding["name"]: finding for finding in json.loads(outcome.output)}
    assert findings["account subscription"]["verdict"] == "broken"
    assert findings["account subscription"]["cure"]
    assert findings["token"]["verdict"] == "ok"


async def test_the_network_is_judged_by_what_the_bot_is_told_of_it(world: World) -> None:
    world.environ["WHATSAPP_BIND_ADDRESS"] = "127.0.0.1"
    outcome = await examine(world)
    assert outcome.code == 0, outcome
    assert "candidates           127.0.0.1 (all private)" in outcome.output


async def test_the_report_holds_no_secret(world: World) -> None:
    outcome = await examine(world)
    for secret in ("WHATSAPP_TOKEN", "WHATSAPP_APP_SECRET", "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN"):
        assert world.environ[secret] not in outcome.output + outcome.complaint


def _calling(change: dict[str, object]) -> Callable[[World], None]:
    return lambda world: world.meta.business.settings.write(change)


def _closed_hours() -> dict[str, object]:
    tomorrow = f"{datetime.now(UTC) + timedelta(days=2):%A}".upper()
    span = {"day_of_week": tomorrow, "open_time": "0900", "close_time": "1000"}
    return {
        "call_hours": {
            "status": "ENABLED", "timezone_id": "Etc/UTC", "weekly_operating_hours": [span],
        }
    }  # fmt: skip


def _voicemail(world: World) -> None:
    media = world.meta.business.media
    announcement = media.upload(b"OggS", "audio/ogg", "call_voicemail_announcement")
    default = {"announcement_media_id": int(announcement), "timeout_seconds": 3}
    voicemail = {"status": "ENABLED", "triggers": ["TIMEOUT"], "audio": {"default": default}}
    world.meta.business.settings.write({"voicemail": voicemail})


def _sip(world: World) -> None:
    server = {"hostname": "sip.example.com", "port": 5061}
    world.meta.business.settings.write({"sip": {"status": "ENABLED", "servers": [server]}})


def _token(**fields: object) -> Callable[[World], None]:
    def plant(world: World) -> None:
        world.meta.business.tokens.add(Token(world.meta.account.token, **fields))  # type: ignore[arg-type]

    return plant


def _fields(*fields: str) -> Callable[[World], None]:
    def plant(world: World) -> None:
        world.meta.business.subscriptions.fields = set(fields)

    return plant


FAULTS: dict[str, tuple[Callable[[World], object], str, str, str]] = {
    # What is planted, the verdict, what the line says, and how it cures.
    "calling off": (
        _calling({"status": "DISABLED"}), "broken", "calling is switched off", "status=ENABLED",
    ),
    "call icon hidden": (
        _calling({"call_icon_visibility": "DISABLE_ALL"}),
        "warning", "no call icon", "call_icon_visibility=DEFAULT",
    ),
    "SIP mode": (_sip, "broken", "SIP is on", "sip.status=DISABLED"),
    "SDES mode": (
        _calling({"srtp_key_exchange_protocol": "SDES"}),
        "broken", "key exchange is SDES", "srtp_key_exchange_protocol=DTLS",
    ),
    "hours closed": (_calling(_closed_hours()), "warning", "closed now", "call_hours.status"),
    "voicemail timeout": (
        _voicemail, "broken", "takes calls after 3 s", "voicemail.timeout_seconds=30",
    ),
    "restriction": (
        lambda world: world.meta.business.restrict("RESTRICTED_USER_INITIATED_CALLING"),
        "broken", "RESTRICTED_USER_INITIATED_CALLING until", "answer every call",
    ),
    "scope missing": (
        _token(scopes=(MANAGEMENT,)), "broken", f"token lacks {MESSAGING}", "System users",
    ),
    "token ends soon": (
        _token(expires_at=int(datetime.now(UTC).timestamp()) + 86_400),
        "warning", "token expires on", "never expires",
    ),
    "no field calls": (
        _fields("messages"), "broken", "lacks the field `calls`", "pipecat-whatsapp setup",
    ),
    "no field messages": (
        _fields("calls"), "broken", "lacks the field `messages`", "pipecat-whatsapp setup",
    ),
    "account not subscribed": (
        lambda world: setattr(world.meta.business.subscriptions, "has_account", False),
        "broken", "does not get the webhooks of the WhatsApp Business", "pipecat-whatsapp setup",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_line_names_what_is_wrong_at_meta_and_its_cure(world: World, fault: str) -> None:
    plant, verdict, words, cure = FAULTS[fault]
    plant(world)
    outcome = await examine(world)
    found, line = the_complaint(outcome)
    assert found == verdict
    assert words in line
    assert cure in line.partition(" -> ")[2]
    assert outcome.code == (1 if verdict == "broken" else 0)


async def test_an_expired_token_is_named(world: World) -> None:
    _token(expires_at=1_790_000_001)(world)
    outcome = await examine(world, "--url", world.bot_url)
    found, line = the_complaint(outcome)
    assert found == "broken"
    assert line.startswith("token ")
    assert "expired" in line
    assert "token" in line.partition(" -> ")[2]


async def test_an_app_without_any_subscription_is_named(world: World) -> None:
    world.meta.business.subscriptions.subscribe(None, ())
    outcome = await examine(world, "--url", world.bot_url)
    found, line = the_complaint(outcome)
    assert found == "broken"
    assert "the app has no webhook address" in line
    assert "pipecat-whatsapp setup" in line


@pytest.mark.parametrize("level", ["account", "number"])
async def test_an_override_that_leads_elsewhere_is_named(world: World, level: str) -> None:
    elsewhere = await world.start_bot()
    expected = world.meta.business.subscriptions.callback_url
    setattr(world.meta.business.subscriptions, f"{level}_override", elsewhere)
    outcome = await examine(world, "--url", expected)
    found, line = the_complaint(outcome)
    assert found == "broken"
    assert f"{level} override sends webhooks to {elsewhere} instead of {expected}" in line
    assert "pipecat-whatsapp setup" in line


async def test_an_app_secret_of_another_app_is_told_apart(world: World) -> None:
    world.environ["WHATSAPP_APP_SECRET"] = "that of another app"
    found, line = the_complaint(await examine(world))
    assert found == "broken"
    assert "app secret WHATSAPP_APP_SECRET is not that of app 300000000000003" in line
    assert "App settings > Basic" in line.partition(" -> ")[2]


async def test_a_bot_that_runs_with_another_secret_is_told_apart(world: World) -> None:
    url = await world.start_bot(app_secrets=("an old one",))
    await world.meta.subscribe(url)
    found, line = the_complaint(await examine(world))
    assert found == "broken"
    assert "signed webhook is refused (HTTP 401): the bot runs with another app secret" in line
    assert "start the bot again" in line


async def test_a_bot_that_runs_with_another_verification_token_is_told_apart(
    world: World,
) -> None:
    url = await world.start_bot(verification_token="an old one")
    found, line = the_complaint(await examine(world, "--url", url))
    assert found == "broken"
    assert "runs with another verification token" in line
    assert "start it again" in line


async def test_a_webhook_that_lets_strangers_in_is_broken(world: World) -> None:
    url = await world.serve(200)
    outcome = await examine(world, "--url", url)
    assert any("no challenge" in line for line in complaints(outcome))


async def test_a_tunnel_that_is_down_is_told_from_a_bot_that_does_not_run(world: World) -> None:
    closed = "http://127.0.0.1:1/whatsapp"
    _, line = the_complaint(await examine(world, "--url", closed))
    assert f"{closed} cannot be reached" in line
    assert f"though a bot answers at {world.bot_url} -> start the tunnel" in line
    world.bot_url = closed
    _, line = the_complaint(await examine(world, "--url", closed))
    assert "nor does a bot answer" in line
    assert "start the bot" in line.partition(" -> ")[2]


async def test_an_address_without_https_is_refused_before_it_is_tried(world: World) -> None:
    outcome = await examine(world, "--url", "http://bot.example.com/whatsapp")
    assert any("is not https" in line for line in complaints(outcome))


@pytest.mark.parametrize(
    "name",
    [
        "WHATSAPP_TOKEN",
        "WHATSAPP_PHONE_NUMBER_ID",
        "WHATSAPP_APP_SECRET",
        "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN",
    ],
)
async def test_a_missing_variable_is_named_with_what_belongs_in_it(world: World, name: str) -> None:
    world.environ[name] = ""
    outcome = await examine(world)
    assert outcome.code == 1
    found, line = the_complaint(outcome)
    assert found == "broken"
    assert line.startswith(f"{name} is missing -> set it, or run `pipecat-whatsapp setup`: ")


async def test_the_env_file_counts_more_than_the_environment(world: World) -> None:
    world.env_file.write_text("WHATSAPP_TOKEN=an-old-one\n")
    outcome = await examine(world)
    assert any(line.startswith("token ") for line in complaints(outcome))


async def test_a_graph_that_cannot_be_reached_is_said(world: World) -> None:
    world.environ["WHATSAPP_GRAPH_URL"] = "http://127.0.0.1:1"
    outcome = await examine(world, "--url", world.bot_url)
    assert outcome.code == 1
    assert any(line.startswith("token No answer") for line in complaints(outcome)), outcome


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WHATSAPP_GRAPH_URL", "http://graph.example.com", "must begin with https://"),
        ("WHATSAPP_GRAPH_VERSION", "latest", "Graph version cannot be used"),
        ("WHATSAPP_TOKEN", "two words", "access token cannot be used"),
    ],
)
async def test_a_graph_that_cannot_be_asked_spoils_no_other_check(
    world: World, name: str, value: str, words: str
) -> None:
    world.environ[name] = value
    outcome = await examine(world, "--url", world.bot_url)
    assert outcome.code == 1
    assert any(words in line and line.startswith("Graph API ") for line in complaints(outcome))
    assert value not in outcome.output or name != "WHATSAPP_TOKEN"
    assert "ok       signed webhook" in outcome.output
    assert "ok       UDP" in outcome.output


async def test_cures_name_the_number_where_there_are_several(world: World) -> None:
    world.meta.business.settings.write({"status": "DISABLED"})
    number = world.meta.account.phone_number_id
    world.environ["WHATSAPP_PHONE_NUMBER_ID"] = f"{number},201"
    outcome = await examine(world)
    line = next(line for line in complaints(outcome) if line.startswith(f"calling of {number}"))
    assert f"`pipecat-whatsapp settings set --phone-number-id {number} status=ENABLED`" in line


async def test_a_probe_that_is_no_stun_server_is_not_taken_for_blocked_udp(world: World) -> None:
    outcome = await world.command("doctor", "--stun", "127.0.0.1:3478")
    assert outcome.code == 1
    assert outcome.complaint == (
        "'127.0.0.1:3478' is no STUN server: write it as stun:host:port.\n"
    )


async def test_blocked_udp_is_named_with_what_callers_will_experience() -> None:
    reason = await asyncio.to_thread(why_no_namespace)
    if reason is not None:
        pytest.skip(f"no network namespace without UDP: {reason}")
    outcome = await examine_in_namespace()
    assert outcome.code == 1, outcome
    broken = [rest for rest, verdict in complaints(outcome).items() if verdict == "broken"]
    assert [line.split()[0] for line in broken] == ["UDP", "sound"], outcome
    assert "UDP is blocked (stun:10.0.0.9:3478: " in broken[0]
    assert "hears silence" in broken[1]
    for line in broken:
        assert "let outgoing UDP through the firewall" in line.partition(" -> ")[2]
    assert "ok       signed webhook" in outcome.output
