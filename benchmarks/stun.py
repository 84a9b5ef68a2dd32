"""A STUN server that answers some and not others, and a network of one's own to be deaf in.

A bot's host may have several addresses, and often one of them reaches nobody: that of `docker0`,
say. aioice asks from each of them. The namespace has such an interface; nothing leaves it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from aioice import stun

OUTER, DOCKER = "10.0.0.2", "172.17.0.1"
"""The addresses in the namespace: one that the STUN server answers, one that it does not."""

_INTERFACES = {"outer": f"{OUTER}/24", "docker0": f"{DOCKER}/16"}
_MARK = "BENCH_NAMESPACE"


class _Server(asyncio.DatagramProtocol):
    def __init__(self, answered: Collection[str]) -> None:
        self._answered = answered

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] in self._answered:
            request = stun.parse_message(data)
            reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
            reply.attributes["XOR-MAPPED-ADDRESS"] = addr[:2]
            self._transport.sendto(bytes(reply), addr)


@asynccontextmanager
async def stun_server(host: str, answered: Collection[str] = ()) -> AsyncIterator[str]:
    """Serve STUN.

    Args:
        host: Where to listen.
        answered: The addresses that get an answer.

    Yields:
        The server's URL.
    """
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Server(answered), local_addr=(host, 0)
    )
    try:
        yield f"stun:{host}:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


def why_no_namespace() -> str | None:
    """Why this machine lets us have no network namespace; None if it does."""
    missing = [tool for tool in ("unshare", "ip") if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not installed"
    probe = _unshare("ip", "link", "add", "docker0", "type", "bridge")
    made = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603
    return made.stderr.strip() or "unshare failed" if made.returncode else None


async def run_in_namespace(*command: str) -> None:
    """Run a command in a network namespace of its own.

    Raises:
        RuntimeError: It failed, with its last words.
    """
    process = await asyncio.create_subprocess_exec(
        *_unshare(*command),
        env=os.environ | {_MARK: "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        raise RuntimeError(errors.decode(errors="replace")[-4000:])


def in_namespace() -> bool:
    """Whether this process was started by `run_in_namespace`."""
    return _MARK in os.environ


def set_up_interfaces() -> None:
    """Give the namespace that we are in its interfaces."""
    _ip("link", "set", "lo", "up")
    for name, address in _INTERFACES.items():
        _ip("link", "add", name, "type", "bridge")
        _ip("address", "add", address, "dev", name)
        _ip("link", "set", name, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)  # noqa: S603, S607


def _unshare(*command: str) -> list[str]:
    # Who is not root may still be root in a user namespace of his own.
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *rights, *command]
