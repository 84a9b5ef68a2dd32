"""`serve`: the production server."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.errors import ConfigError, WhatsAppError
from pipecat_whatsapp.serving.descriptors import open_missing_streams

if TYPE_CHECKING:
    from pipecat_whatsapp.serving.settings import Plan, Settings

REDIS_URL = "WHATSAPP_REDIS_URL"

_PATH = re.compile(r"/[^\s?#{}]*")

DOORS = 2
"""Processes that serve webhooks where each call has a process of its own."""


def serve(
    bot: Annotated[
        Path, typer.Argument(help="The bot's file, such as bot.py.", exists=True, dir_okay=False)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- ARGUMENTS]",
            help="The bot's own arguments, for the argparse.ArgumentParser `parser` of its file.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="Where to listen; 0.0.0.0 is every address of this machine, without TLS.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="At which port; 0 takes any.")
    ] = 8080,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="Where Meta sends webhooks to.")
    ] = "/whatsapp",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes; one per core by default, and one alone without Redis. "
            "The file's on_start runs in one of them, its on_process_start in all.",
        ),
    ] = None,
    redis_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The Redis that processes and machines share, such as redis://host:6379/0; "
            f"{REDIS_URL} in the environment by default.",
        ),
    ] = "",
    redis_prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="What its keys begin with; one per deployment.")
    ] = "whatsapp",
    region: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Where this machine is, for the file's function region(call)."
        ),
    ] = "",
    max_calls: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Calls at one time in one process; with --process-per-call, on this machine.",
        ),
    ] = None,
    max_lag: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="A process whose event loop was later than this, on average over 5 s, takes no "
            "further call: it would spoil the others.",
        ),
    ] = 0.01,
    drain_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long running calls may go on after SIGTERM or Ctrl-C; a second one ends "
            "them at once. Give your service manager some more time than this.",
        ),
    ] = 300.0,
    goodbye_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How long bots may then take to say goodbye."),
    ] = 10.0,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve figures for Prometheus at /metrics there, on loopback unless a host is "
            "named; nowhere by default.",
        ),
    ] = "",
    call_log: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Write a line of JSON for every call; - is standard output."
        ),
    ] = "",
    process_per_call: Annotated[
        bool,
        typer.Option(
            "--process-per-call",
            help="Run every call in a process of its own, which ends with it. Needs Redis and "
            "--max-calls. The bot can take calls, but not place them.",
        ),
    ] = False,
    warm: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="With --process-per-call: idle processes that have loaded the bot and wait.",
        ),
    ] = 2,
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help="The least level of what is logged.")
    ] = "INFO",
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log lines of JSON.")] = False,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Serve a bot's calls in production: several processes, on one machine or many.

    Beside the bot, its file may define on_start, on_process_start, on_incoming_call,
    on_missed_call, on_webhook_event, on_call_ended, region, readyz and observers. /livez and
    /readyz answer probes.
    """
    try:
        open_missing_streams()
        environ = environment.load(env_file)
        from pipecat_whatsapp.serving import deployment
        from pipecat_whatsapp.serving.logs import set_up_logging
        from pipecat_whatsapp.serving.settings import Settings

        settings = Settings(
            bot=str(bot),
            arguments=tuple(arguments or ()),
            path=_absolute(path),
            redis_url=redis_url or environ.get(REDIS_URL, ""),
            redis_prefix=redis_prefix,
            region=region,
            max_calls=max_calls,
            max_lag=max_lag,
            drain_timeout=drain_timeout,
            goodbye_timeout=goodbye_timeout,
            call_log=call_log,
            log_level=_known_level(log_level),
            json_logs=json_logs,
        )
        set_up_logging(settings.log_level, as_json=json_logs)
        plan = _plan(settings, workers, warm if process_per_call else 0)
        # An empty host would be every address of this machine.
        address = deployment.Address(host or deployment.LOOPBACK, port)
        figures = deployment.Address.parse(metrics) if metrics else None
        asyncio.run(deployment.run(plan, address, figures))
    except WhatsAppError as error:
        terminal.fail(str(error))


def _plan(settings: Settings, workers: int | None, warm: int) -> Plan:
    """What to run.

    Raises:
        ConfigError: It cannot work without Redis, or without a limit.
    """
    from pipecat_whatsapp.serving.settings import Plan

    if warm:
        return _plan_per_call(settings, workers or DOORS, warm)
    if settings.redis_url:
        return Plan(settings=settings, workers=workers or cores())
    if (workers or 1) > 1:
        raise ConfigError(
            f"{workers} processes need Redis, because a call's webhooks may come to any of them: "
            "name one with --redis-url, or leave --workers out."
        )
    if workers is None and cores() > 1:
        from loguru import logger

        logger.info("One process serves all calls; with --redis-url all {} cores do", cores())
    return Plan(settings=settings)


def _plan_per_call(settings: Settings, doors: int, warm: int) -> Plan:
    from pipecat_whatsapp.serving.settings import Plan

    if not settings.redis_url:
        raise ConfigError(
            "--process-per-call needs Redis, through which calls go to their processes: "
            "name one with --redis-url."
        )
    most = settings.max_calls
    if most is None or most < warm:
        raise ConfigError(
            "--process-per-call needs --max-calls, the number of processes that this machine can "
            "carry, idle ones included: give it, and no less than --warm."
        )
    return Plan(settings=settings, workers=doors, warm=warm, most=most)


def _absolute(path: str) -> str:
    if not _PATH.fullmatch(path) or path in ("/livez", "/readyz"):
        raise ConfigError(f"{path!r} cannot be the webhooks' path: write one such as /whatsapp.")
    return path


def _known_level(name: str) -> str:
    from loguru import logger

    try:
        return logger.level(name.upper()).name
    except ValueError:
        raise ConfigError(f"{name!r} is no log level: DEBUG, INFO and WARNING are some.") from None


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
