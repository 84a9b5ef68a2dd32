"""A FastAPI application on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from conftest import until


@asynccontextmanager
async def served(app: FastAPI, **options: Any) -> AsyncIterator[str]:
    """Serve an application, and stop it as a signal would; gives its webhook's address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_config=None, **options))
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}/whatsapp"
    finally:
        server.should_exit = True
        await serving
