"""A whole server: its addresses, its figures, and the parent of its workers."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from loguru import logger

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.serving.descriptors import raise_limit
from pipecat_whatsapp.serving.front import BACKLOG, served, url_of
from pipecat_whatsapp.serving.settings import Plan
from pipecat_whatsapp.serving.supervisor import Supervisor

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Parameters:
        host: A name or an IP address.
        port: The port; 0 takes a free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "port", on loopback, or "host:port".

        Raises:
            ConfigError: It is neither.
        """
        host, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise ConfigError(f"{text!r} is no address: write it as port, or as host:port.")
        return cls(host.strip("[]") or LOOPBACK, int(port))


async def run(plan: Plan, address: Address, figures: Address | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        plan: What to keep running.
        address: Where Meta's webhooks come to.
        figures: Where Prometheus finds `/metrics`; None for nowhere.

    Raises:
        WhatsAppError: An address is in use, no worker can work, or calls were cut in the end.
    """
    if sys.platform == "win32":
        raise ConfigError("Windows cannot share a socket among processes: serve on Linux or macOS.")
    raise_limit()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_bound(address))
        if figures is not None:
            folder = stack.enter_context(TemporaryDirectory(prefix="pipecat-whatsapp-"))
            await stack.enter_async_context(_figures_served(folder, figures))
            plan = replace(plan, settings=replace(plan.settings, figures=folder))
        await Supervisor(plan, listener).run()
    logger.info("All calls have ended")


@asynccontextmanager
async def _figures_served(folder: str, address: Address) -> AsyncIterator[None]:
    from pipecat_whatsapp.serving.figures import create_app

    with _bound(address) as listener:
        logger.info("Prometheus finds figures at {}", url_of(listener, "/metrics"))
        async with served(create_app(folder), listener):
            yield


@contextmanager
def _bound(address: Address) -> Iterator[socket.socket]:
    """A listening socket, for as long as it is needed."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise ConfigError(
            f"{address.host}:{address.port} cannot be listened at ({error.strerror}): "
            "end what uses it, or choose another port."
        ) from error
    with listener:
        yield listener
