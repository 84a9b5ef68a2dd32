"""Loads `bot.py`: the bot, and the hooks that stand beside it under their own names."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from loguru import logger

from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import Bot, IncomingCallHook, RegionHook
from pipecat_whatsapp.calls.directory import CallDirectory
from pipecat_whatsapp.calls.hooks import CallEndedHook, MissedCallHook, WebhookEventHook
from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.runner import StartHook
from pipecat_whatsapp.server import ReadyzHook


@dataclass(frozen=True, kw_only=True)
class BotModule:
    """What a bot's file has for us. All but `bot` is optional.

    Parameters:
        bot: `async def bot(runner_args)`.
        cli_args: What the module's `parser` made of the bot's own arguments.
        on_start: See `pipecat_whatsapp.runner.main`; runs in one process of a server.
        on_process_start: The same in every process, with the adapter of that process.
        on_incoming_call: See `WebhookAdapter`.
        on_missed_call: See `WebhookAdapter`.
        on_webhook_event: See `WebhookAdapter`.
        on_call_ended: See `WebhookAdapter`.
        region: See `WebhookAdapter`; it need not be async.
        readyz: `readyz()` says whether further calls are welcome, as on Pipecat Cloud.
        observers: See `WebhookAdapter`.
    """

    bot: Bot
    cli_args: argparse.Namespace
    on_start: StartHook | None = None
    on_process_start: StartHook | None = None
    on_incoming_call: IncomingCallHook | None = None
    on_missed_call: MissedCallHook | None = None
    on_webhook_event: WebhookEventHook | None = None
    on_call_ended: CallEndedHook | None = None
    region: RegionHook | None = None
    readyz: ReadyzHook | None = None
    observers: Sequence[Observer] = ()

    def adapter(
        self,
        config: WhatsAppConfig,
        *,
        directory: CallDirectory | None = None,
        observers: Sequence[Observer] = (),
    ) -> WebhookAdapter:
        """An adapter that has this bot answer, and asks and tells these hooks.

        Args:
            config: Its settings.
            directory: See `WebhookAdapter`.
            observers: Those that are told before the module's own.
        """
        return WebhookAdapter(
            config,
            self.bot,
            directory=directory,
            observers=[*observers, *self.observers],
            cli_args=self.cli_args,
            region=self.region,
            on_incoming_call=self.on_incoming_call,
            on_missed_call=self.on_missed_call,
            on_webhook_event=self.on_webhook_event,
            on_call_ended=self.on_call_ended,
        )

    def run_beside(self, adapter: WebhookAdapter, *, is_first: bool = True) -> None:
        """Start what runs beside the calls of a process.

        Args:
            adapter: The adapter of the process.
            is_first: Whether this process of its server runs `on_start` too.
        """
        for hook in (self.on_process_start, self.on_start if is_first else None):
            if hook is not None:
                adapter.run_beside(hook(adapter))


HOOKS = (
    "on_start",
    "on_process_start",
    "on_incoming_call",
    "on_missed_call",
    "on_webhook_event",
    "on_call_ended",
    "region",
    "readyz",
)


def load_bot(path: Path, arguments: Sequence[str] = ()) -> BotModule:
    """Load a bot's file.

    Args:
        path: The file.
        arguments: For the module's own `parser`, an `argparse.ArgumentParser`.

    Raises:
        ConfigError: The file cannot be loaded, has no bot, has something else under the name of a
            hook, or does not know the arguments.
    """
    module = _imported(path)
    if not hasattr(module, "bot"):
        raise ConfigError(
            f"{path.name} has no function bot(runner_args), which runs for every call: define it."
        )
    functions: dict[str, Any] = {name: getattr(module, name, None) for name in ("bot", *HOOKS)}
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise ConfigError(
                f"{name} in {path.name} is no function, but it is the name of a hook: rename it."
            )
    if functions["region"] is not None:
        functions["region"] = _awaitable(functions["region"])
    return BotModule(
        cli_args=_parsed(module, path.name, arguments),
        observers=_observers(module, path.name),
        **functions,
    )


def _observers(module: ModuleType, name: str) -> Sequence[Observer]:
    found = getattr(module, "observers", ())
    if isinstance(found, list | tuple) and all(isinstance(each, Observer) for each in found):
        return found
    raise ConfigError(
        f"observers in {name} is no list of instances of Observer, but it is where they are looked "
        "for: write observers = [MyObserver()], or rename it."
    )


def _imported(path: Path) -> ModuleType:
    """Run the file as a module of its own name, with its folder searched as `python` does."""
    path = path.resolve()
    if path.stem in sys.modules:
        raise ConfigError(f"{path.name} has the name of a module that is in use: rename it.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path.name} is no Python file: name the one with bot(runner_args).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    # A missing key or package may end it in any way.
    except (Exception, SystemExit) as error:
        logger.opt(exception=error).error("{} could not be loaded", path.name)
        raise ConfigError(
            f"{path.name} could not be loaded ({type(error).__name__}: {error}): "
            "run it with Python alone, and repair it."
        ) from error
    return module


def _awaitable(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A function that may be async or not, as one that is."""

    @wraps(function)
    async def call(*args: Any) -> Any:
        answer = function(*args)
        return await answer if inspect.isawaitable(answer) else answer

    return call


def _parsed(module: ModuleType, name: str, arguments: Sequence[str]) -> argparse.Namespace:
    parser = getattr(module, "parser", None)
    if isinstance(parser, argparse.ArgumentParser):
        try:
            return parser.parse_args(arguments)
        except SystemExit as error:
            raise ConfigError(
                f"{name} does not take these arguments after --: see the line above."
            ) from error
    if arguments:
        raise ConfigError(
            f"{name} has no argparse.ArgumentParser of the name parser, "
            "which would read the arguments after --: leave them out, or define it."
        )
    return argparse.Namespace()
