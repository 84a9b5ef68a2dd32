"""`python bot.py -t whatsapp`: WhatsApp calls beside every other transport of pipecat's runner.

A bot changes one import::

    from pipecat_whatsapp.runner import create_transport, main

pipecat's runner has no place for a transport from outside, but two public doors lead in: `main()`
takes an argument parser, and its FastAPI application is open for routes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from loguru import logger
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport, TransportParams

from pipecat_whatsapp.access_log import hide_verification_token
from pipecat_whatsapp.calls.adapter import WebhookAdapter
from pipecat_whatsapp.calls.bot import Bot, IncomingCallHook, WhatsAppRunnerArguments
from pipecat_whatsapp.calls.hooks import CallEndedHook, MissedCallHook, WebhookEventHook
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import ConfigError, WebhookError
from pipecat_whatsapp.media.ice_servers import read_ice_servers
from pipecat_whatsapp.meta.webhook import MAX_BODY_BYTES
from pipecat_whatsapp.server import BODY_TIMEOUT, DIAL_PATH, PATH
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport

if TYPE_CHECKING:
    from fastapi import APIRouter, Request

__all__ = ["WhatsAppRunnerArguments", "create_transport", "main", "whatsapp_router"]

StartHook: TypeAlias = Callable[[WebhookAdapter], Coroutine[Any, Any, None]]
"""Runs beside the calls from the start on."""

_SignalHandler: TypeAlias = Callable[[int, FrameType | None], object]


async def create_transport(
    runner_args: RunnerArguments, transport_params: Mapping[str, Callable[[], TransportParams]]
) -> BaseTransport:
    """Create the transport that the runner's arguments ask for.

    A WhatsApp call uses the key "whatsapp", or "webrtc" when there is no such key. All other
    arguments go to pipecat's own `create_transport`.

    Args:
        runner_args: What the bot was started with.
        transport_params: Transport names, and functions that give their parameters.

    Raises:
        ConfigError: A WhatsApp call came, and neither key is there.
    """
    if isinstance(runner_args, WhatsAppRunnerArguments):
        params = _whatsapp_params(transport_params)
        return WhatsAppTransport(
            runner_args.webrtc_connection, runner_args.call, runner_args.contact, params
        )
    from pipecat.runner.utils import create_transport as create_pipecat_transport

    return await create_pipecat_transport(runner_args, dict(transport_params))


def main(
    parser: argparse.ArgumentParser | None = None,
    *,
    bot: Bot | None = None,
    on_start: StartHook | None = None,
    on_incoming_call: IncomingCallHook | None = None,
    on_missed_call: MissedCallHook | None = None,
    on_webhook_event: WebhookEventHook | None = None,
    on_call_ended: CallEndedHook | None = None,
) -> None:
    """Run a bot with pipecat's runner; `-t whatsapp` serves WhatsApp calls.

    With `-t whatsapp` the `.env` of the current folder, or of one above it, is read over the
    environment.

    Args:
        parser: A parser with arguments of your own, as for pipecat's `main()`.
        bot: The bot for WhatsApp calls; the function `bot` of the main module by default. Where
            that has none, other transports get this one too.
        on_start: Runs beside the calls from the start on, with the adapter: to place calls, say.
        on_incoming_call: See `WebhookAdapter`.
        on_missed_call: See `WebhookAdapter`.
        on_webhook_event: See `WebhookAdapter`.
        on_call_ended: See `WebhookAdapter`.
    """
    from dotenv import find_dotenv, load_dotenv
    from pipecat.runner.run import app
    from pipecat.runner.run import main as run_pipecat

    def serve_whatsapp(args: argparse.Namespace) -> None:
        # pipecat's runner looks for the file in the folders above its own installation only.
        load_dotenv(find_dotenv(usecwd=True), override=True)
        adapter = WebhookAdapter(
            WhatsAppConfig.from_env(**_ice_servers(args)),
            bot or _main_module_bot(),
            cli_args=args,
            on_incoming_call=on_incoming_call,
            on_missed_call=on_missed_call,
            on_webhook_event=on_webhook_event,
            on_call_ended=on_call_ended,
        )

        def start() -> WebhookAdapter:
            _close_on_signal(adapter)
            if on_start is not None:
                adapter.run_beside(on_start(adapter))
            return adapter

        app.include_router(whatsapp_router(start))

    if bot is not None:
        # pipecat's runner would run every file of the folder in search of one.
        vars(sys.modules["__main__"]).setdefault("bot", bot)
    own = parser or argparse.ArgumentParser(description="Pipecat bot runner")
    run_pipecat(cast(argparse.ArgumentParser, _Parser(own, serve_whatsapp)))


def whatsapp_router(
    make_adapter: Callable[[], WebhookAdapter], *, body_timeout: float = BODY_TIMEOUT
) -> APIRouter:
    """Routes for a FastAPI application: GET and POST `/whatsapp`.

    Args:
        make_adapter: Called when the application starts, on its event loop. The adapter is closed,
            and its calls with it, when the application stops.
        body_timeout: Seconds in which a request's body must have come.

    Example::

        app = FastAPI()
        app.include_router(whatsapp_router(lambda: WebhookAdapter(config, bot)))
    """
    from fastapi import APIRouter, FastAPI, Request, Response
    from starlette.requests import ClientDisconnect

    adapter: WebhookAdapter | None = None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal adapter
        hide_verification_token()
        async with make_adapter() as adapter:
            numbers = ", ".join(sorted(adapter.config.phone_number_ids))
            logger.info("WhatsApp calls for {} are served at {}", numbers, PATH)
            yield

    router = APIRouter(lifespan=lifespan)

    async def serve(request: Request) -> Response:
        if adapter is None:
            return Response("The application has not started.", status_code=503)
        try:
            body = await _bounded_body(request, body_timeout)
        except WebhookError as error:
            return Response(str(error), status_code=error.status)
        except ClientDisconnect:
            return Response(status_code=400)
        if request.url.path.endswith(DIAL_PATH):
            answer = await adapter.handle_dial(request.headers, body)
        else:
            query = request.query_params
            answer = await adapter.handle(request.method, query, request.headers, body)
        return Response(answer.body, answer.status, dict(answer.headers))

    # FastAPI reads the types at run time, where `from __future__ import annotations` hides them.
    serve.__annotations__ = {"request": Request, "return": Response}
    router.add_api_route(PATH, serve, methods=["GET", "POST"], include_in_schema=False)
    router.add_api_route(PATH + DIAL_PATH, serve, methods=["POST"], include_in_schema=False)
    return router


async def _bounded_body(request: Request, seconds: float) -> bytes:
    """Read a body that is neither too large nor too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise WebhookError(f"The body is over {MAX_BODY_BYTES} bytes.", status=413)
    except TimeoutError:
        raise WebhookError(f"The body took over {seconds:.0f} s.", status=408) from None
    return bytes(body)


class _Parser:
    """A parser that knows "whatsapp" as one more transport.

    pipecat adds its arguments to it and calls `parse_args()`; what it reads back are its own words
    only.
    """

    def __init__(
        self,
        parser: argparse.ArgumentParser,
        serve_whatsapp: Callable[[argparse.Namespace], None],
    ) -> None:
        self._parser = parser
        self._serve_whatsapp = serve_whatsapp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Add an argument; `--transport` gets one choice more."""
        choices = options.get("choices")
        if "--transport" in names and choices is not None and "whatsapp" not in choices:
            options["choices"] = [*choices, "whatsapp"]
        return self._parser.add_argument(*names, **options)

    def parse_args(self, *args: Any, **kwargs: Any) -> argparse.Namespace:
        """Parse; for `-t whatsapp`, mount the routes and tell pipecat nothing of it."""
        namespace: argparse.Namespace = self._parser.parse_args(*args, **kwargs)
        if namespace.transport == "whatsapp":
            namespace.transport = None
            # Its own client would start beside ours.
            namespace.whatsapp = False
            try:
                self._serve_whatsapp(namespace)
            except ConfigError as error:
                self._parser.exit(2, f"{error}\n")
        return namespace


def _close_on_signal(adapter: WebhookAdapter) -> None:
    """Close the adapter as soon as the process is told to end.

    uvicorn ends the lifespan only when every request, and so every bot of another transport, has
    come to its end. No caller shall wait for that.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def close() -> None:
        closing.append(loop.create_task(adapter.close()))

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(close)
        usual[number](number, frame)

    usual: dict[int, _SignalHandler] = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }
    for number in usual:
        signal.signal(number, handle)


def _main_module_bot() -> Bot:
    found = getattr(sys.modules["__main__"], "bot", None)
    if found is None:
        raise ConfigError(
            "The main module has no function bot(runner_args): define one, or call main(bot=...)."
        )
    bot: Bot = found
    return bot


def _ice_servers(args: argparse.Namespace) -> dict[str, Any]:
    """The servers of `--ice-servers`, as pipecat will read them, if there are any."""
    given: str | list[str] | None = getattr(args, "ice_servers", None)
    # A text is that of PIPECAT_ICE_SERVERS, and ours is more to the point.
    if isinstance(given, str) and os.environ.get("WHATSAPP_ICE_SERVERS"):
        return {}
    texts = [given] if isinstance(given, str) else given or []
    servers = read_ice_servers(texts)
    return {"ice_servers": servers} if servers else {}


def _whatsapp_params(
    transport_params: Mapping[str, Callable[[], TransportParams]],
) -> WhatsAppParams:
    factory = transport_params.get("whatsapp") or transport_params.get("webrtc")
    if factory is None:
        raise ConfigError(
            'A WhatsApp call came, but transport_params has no "whatsapp" key: '
            'add "whatsapp": lambda: WhatsAppParams().'
        )
    params = factory()
    if isinstance(params, WhatsAppParams):
        return params
    chosen = {name: getattr(params, name) for name in params.model_fields_set}
    return WhatsAppParams(**chosen)
