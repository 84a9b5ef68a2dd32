"""One `/metrics` for all workers: they count in files, and the parent adds up.

Needs the extra `metrics`. This is prometheus_client's multiprocess mode, but for one thing: a file
belongs to a seat rather than to a process, so that processes that come and go leave no files.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiohttp import web

from pipecat_whatsapp.errors import ConfigError

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, values
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
except ModuleNotFoundError as error:
    raise ConfigError(
        "There are no figures for Prometheus, because its package is missing: "
        "install it with pip install 'pipecat-whatsapp[metrics]'."
    ) from error


def count_in(folder: str, seat: int) -> None:
    """Count in a file of the folder from now on; before the first figure is made.

    Args:
        folder: The folder that the workers share.
        seat: A number that no other process has at the same time.
    """
    os.environ[FOLDER_VARIABLE] = folder
    values.ValueClass = values.MultiProcessValue(lambda: seat)


def forget_seat(folder: str, seat: int) -> None:
    """Leave a process that has ended out of the sums of what goes on now."""
    mark_process_dead(seat, folder)


def create_app(folder: str) -> web.Application:
    """An aiohttp application with the figures of all workers, at `/metrics`.

    Args:
        folder: The folder that the workers share.
    """

    async def metrics(_: web.Request) -> web.Response:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=Path(folder).as_posix())
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
