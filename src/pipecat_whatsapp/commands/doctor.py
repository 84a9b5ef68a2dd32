"""`doctor`: checks all that a call needs, and says what to do where something is wrong."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipecat_whatsapp.doctor.finding import Finding
    from pipecat_whatsapp.doctor.patient import Patient
    from pipecat_whatsapp.meta.graph import GraphClient

STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red", "skipped": "dim"}


def doctor(
    url: Annotated[
        str | None, typer.Option(help="Where webhooks shall go; by default, where Meta sends them.")
    ] = None,
    bot_url: environment.BotUrl = environment.BOT_URL,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVER",
            help="A STUN or TURN server of the bot, as for --ice-servers. May be repeated.",
        ),
    ] = None,
    stun: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Asked whether UDP gets out. May be repeated."),
    ] = None,
    answer_time: Annotated[
        float, typer.Option(min=0, help="Seconds that the bot needs to answer a call.")
    ] = 5.0,
    waba: environment.Waba = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Check everything that a call needs, from the token to UDP."""

    async def examine() -> list[Finding]:
        environ = environment.load(env_file)
        options = {"url": url, "bot_url": bot_url, "waba_id": waba, "answer_time": answer_time}
        patient = _patient(environ, ice_server, stun, options)
        return await _examine(patient, _ignore if as_json else _show)

    findings = terminal.run(examine())
    if as_json:
        typer.echo(json.dumps([_plain(finding) for finding in findings], indent=2))
    if any(finding.verdict.value == "broken" for finding in findings):
        raise typer.Exit(1)


def _patient(
    environ: Mapping[str, str],
    ice_servers: list[str] | None,
    probes: list[str] | None,
    options: Mapping[str, Any],
) -> Patient:
    from pipecat_whatsapp.doctor.network import STUN_SERVERS
    from pipecat_whatsapp.doctor.patient import Patient
    from pipecat_whatsapp.doctor.stun import read_probe
    from pipecat_whatsapp.media.ice_servers import read_ice_servers

    configured = environ.get("WHATSAPP_ICE_SERVERS") or environ.get("PIPECAT_ICE_SERVERS", "")

    return Patient(
        environ=environ,
        phone_number_ids=tuple(environment.values(environ, environment.PHONE_NUMBER_ID)),
        app_secrets=tuple(environment.values(environ, environment.APP_SECRET)),
        verification_token=environ.get(environment.VERIFICATION_TOKEN, "").strip(),
        ice_servers=read_ice_servers(ice_servers or [configured]),
        probes=tuple(map(read_probe, probes or STUN_SERVERS)),
        **options,
    )


async def _examine(patient: Patient, tell: Callable[[Finding], None]) -> list[Finding]:
    from pipecat_whatsapp.doctor.examination import examine

    findings = []
    async with AsyncExitStack() as stack:
        graph: GraphClient | ConfigError | None = None
        if patient.environ.get(environment.TOKEN, "").strip():
            try:
                graph = await stack.enter_async_context(environment.open_graph(patient.environ))
            except ConfigError as error:
                graph = error
        async for finding in examine(patient, graph):
            tell(finding)
            findings.append(finding)
    return findings


def _show(finding: Finding) -> None:
    from rich.console import Console
    from rich.text import Text

    style = STYLES[finding.verdict.value]
    line = Text.assemble(
        (f"{finding.verdict.value:<8}", style), " ", (f"{finding.name:<20}", "bold"), " "
    )
    line.append(finding.what)
    if finding.cure:
        line.append(f" -> {finding.cure}", style="cyan")
    # A finding is one line, however narrow the terminal.
    Console().print(line, soft_wrap=True)


def _ignore(_: Finding) -> None:
    """Machines get it all at the end."""


def _plain(finding: Finding) -> dict[str, str]:
    return {
        "name": finding.name,
        "verdict": finding.verdict.value,
        "what": finding.what,
        "cure": finding.cure,
    }
