"""STUN servers of our own (RFC 8489), honest or as they look from behind a NAT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aioice import stun

Address = tuple[str, int]


class _Server(asyncio.DatagramProtocol):
    def __init__(self, seen: Address | None, silent: int, noise: bool) -> None:
        self._seen = seen
        self._silent = silent
        self._noise = noise

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        request = stun.parse_message(data)
        if self._silent > 0:
            self._silent -= 1
            return
        if self._noise:
            self._transport.sendto(b"noise", addr)
            self._transport.sendto(_answer(b"\0" * 12, ("192.0.2.99", 9)), addr)
        self._transport.sendto(_answer(request.transaction_id, self._seen or addr[:2]), addr)


def _answer(transaction_id: bytes, mapped: Address) -> bytes:
    reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id)
    reply.attributes["XOR-MAPPED-ADDRESS"] = mapped
    return bytes(reply)


@asynccontextmanager
async def stun_server(
    *, seen: Address | None = None, silent: int = 0, noise: bool = False
) -> AsyncIterator[str]:
    """Serve STUN on loopback.

    Args:
        seen: The address that everybody is told to have; by default the true one.
        silent: How many requests get no answer.
        noise: Whether bytes that are no answer come before each answer.

    Yields:
        The server's URL.
    """
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Server(seen, silent, noise), local_addr=("127.0.0.1", 0)
    )
    try:
        yield f"stun:127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()
