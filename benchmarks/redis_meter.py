"""What is spent in Redis, as it counts itself, and in its clients, which are this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis


@dataclass(frozen=True)
class Spent:
    """What something cost a Redis, and its clients.

    Parameters:
        redis_cpu: CPU time of Redis, s.
        client_cpu: CPU time of this process, s.
        requests: What clients asked for.
        commands: What Redis did, that within scripts included.
        octets: What went over the network, both ways.
        memory: By how much Redis's data grew, bytes.
    """

    redis_cpu: float
    client_cpu: float
    requests: int
    commands: int
    octets: int
    memory: int


@dataclass
class Meter:
    """Counts what is spent from its making on.

    Parameters:
        client: A client of the Redis, for questions alone.
        before: What had been spent before.
    """

    client: Redis
    before: dict[str, float] = field(default_factory=dict)

    @classmethod
    async def start(cls, client: Redis) -> Meter:
        """Count from now on."""
        meter = cls(client)
        meter.before = await meter._read()
        return meter

    async def spent(self) -> Spent:
        """What was spent since."""
        now = await self._read()
        differences = {name: now[name] - self.before.get(name, 0) for name in now}
        return Spent(
            redis_cpu=differences["redis_cpu"],
            client_cpu=differences["client_cpu"],
            requests=int(differences["requests"]),
            commands=int(differences["commands"]),
            octets=int(differences["octets"]),
            memory=int(differences["memory"]),
        )

    async def _read(self) -> dict[str, float]:
        told: dict[str, Any] = await self.client.info("everything")
        calls = {
            name.removeprefix("cmdstat_"): count["calls"]
            for name, count in told.items()
            if name.startswith("cmdstat_") and name != "cmdstat_info"
        }
        asked = ("evalsha", "xread", "xdel")
        return {
            "redis_cpu": told["used_cpu_user"] + told["used_cpu_sys"],
            "client_cpu": time.process_time(),
            "requests": sum(calls.get(name, 0) for name in asked),
            "commands": sum(count for name, count in calls.items() if name != "evalsha"),
            "octets": told["total_net_input_bytes"] + told["total_net_output_bytes"],
            "memory": told["used_memory"],
        }
