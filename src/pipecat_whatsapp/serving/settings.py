"""What the parent process decides, and what one worker is told of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Self


class Role(StrEnum):
    """What a worker does.

    Parameters:
        WHOLE: Serves webhooks, and calls.
        DOOR: Serves webhooks, and hands all calls on.
        CALL: Serves one call, and ends with it.
    """

    WHOLE = "whole"
    DOOR = "door"
    CALL = "call"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all workers have in common.

    Parameters:
        bot: The bot's file.
        arguments: The bot's own arguments.
        path: Where Meta sends webhooks to.
        redis_url: The Redis that processes share; empty for none.
        redis_prefix: What its keys begin with.
        region: Where this machine is; empty for nowhere in particular.
        max_calls: Calls at one time in one worker. None is no limit.
        max_lag: Seconds of mean event-loop lag above which further calls are refused.
        drain_timeout: Seconds that running calls get when the server ends.
        goodbye_timeout: Seconds that bots then get to say goodbye.
        call_log: A file for a line of JSON per call, "-" for standard output, empty for none.
        figures: The folder in which workers count for Prometheus; empty when nobody asks.
        log_level: The least level that is logged.
        json_logs: Whether log lines are JSON.
    """

    bot: str
    arguments: tuple[str, ...] = ()
    path: str = "/whatsapp"
    redis_url: str = field(default="", repr=False)
    redis_prefix: str = "whatsapp"
    region: str = ""
    max_calls: int | None = None
    max_lag: float | None = None
    drain_timeout: float = 300.0
    goodbye_timeout: float = 10.0
    call_log: str = ""
    figures: str = ""
    log_level: str = "INFO"
    json_logs: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the parent keeps running.

    Parameters:
        settings: What all workers have in common.
        workers: Processes that serve webhooks.
        warm: Idle processes that wait for one call each; 0 where webhooks' processes serve calls.
        most: Processes for one call each, idle ones included.
    """

    settings: Settings
    workers: int = 1
    warm: int = 0
    most: int = 0

    @property
    def front(self) -> Role:
        """What those do that serve webhooks."""
        return Role.DOOR if self.warm else Role.WHOLE


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What one worker is told at its start, on its standard input.

    Parameters:
        settings: What all workers have in common.
        role: What it does.
        node: Its name, which no process had before.
        seat: A number that no other process has at the same time.
        is_first: Whether it runs `on_start`.
        channel: File descriptor of its channel.
        listener: File descriptor of the listening socket; None where it serves no webhooks.
    """

    settings: Settings
    role: Role
    node: str
    seat: int
    is_first: bool
    channel: int
    listener: int | None

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it from text."""
        fields = json.loads(text)
        return cls(
            **fields | {"settings": Settings(**fields["settings"]), "role": Role(fields["role"])}
        )
