"""A machine of one's own that has interfaces of containers beside its network.

Run as a script inside the namespace, it prints the addresses that an answer names.
"""

from __future__ import annotations

import asyncio
import re
import sys

from blocked_network import in_namespace
from links import Link

CONTAINERS = """
ip link set lo up
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
ip link add br-0a1b2c3d4e5f type bridge
ip address add 172.18.0.1/16 dev br-0a1b2c3d4e5f
ip link set br-0a1b2c3d4e5f up
ip link add veth0 type veth peer name veth1
ip address add 172.19.0.1/16 dev veth0
ip link set veth0 up
"""

NETWORK = """
ip link add outer type bridge
ip address add 10.0.0.2/24 dev outer
ip link set outer up
"""


async def addresses_named(setup: str) -> list[str]:
    """The addresses that an answer names on such a machine."""
    process = await asyncio.create_subprocess_exec(
        *in_namespace(f"exec {sys.executable} {__file__}", setup),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().split()


async def _answer() -> None:
    async with Link() as link:
        await link.answer()
        for address in re.findall(r"^a=candidate:(?:\S+ ){4}(\S+)", link.sdp, re.MULTILINE):
            sys.stdout.write(f"{address}\n")


if __name__ == "__main__":
    asyncio.run(_answer())
