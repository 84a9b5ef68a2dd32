"""The same bot, served by pipecat's own `--whatsapp`, with stand-ins that let it run here.

The in-tree client speaks to Meta's address only, asks Google's STUN server for its own address,
and reads the challenge of a verification as a number. None of these can be set from outside, so
they are replaced before its `main()` runs:

- the Graph API is the one of `WHATSAPP_GRAPH_URL`;
- the STUN servers are those of `PIPECAT_ICE_SERVERS`, as for this package, and none by default:
  with an unreachable one every call would begin with a pause of 5 s, and most benchmarks are to
  compare two clients, not two networks;
- the challenge is echoed as it came.
"""

from __future__ import annotations

import os
from typing import Any

from echo_bot import run_bot, transport_params
from fastapi import Request, Response
from pipecat.runner.run import app, main
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.transports.smallwebrtc.connection import IceServer
from pipecat.transports.whatsapp import client
from pipecat.transports.whatsapp.api import WhatsAppApi


class ClientWithIceServers(client.WhatsAppClient):
    """The in-tree client with the one argument that its runner leaves out."""

    def __init__(self, **settings: Any) -> None:
        urls = os.environ.get("PIPECAT_ICE_SERVERS", "").split(",")
        super().__init__(**settings, ice_servers=[IceServer(urls=url) for url in urls if url])


async def verify(request: Request) -> Response:
    """Echo the challenge."""
    return Response(request.query_params.get("hub.challenge", ""))


async def bot(runner_args: RunnerArguments) -> None:
    """Answer one call."""
    await run_bot(await create_transport(runner_args, transport_params), runner_args)


if __name__ == "__main__":
    WhatsAppApi.BASE_URL = os.environ["WHATSAPP_GRAPH_URL"] + "/v23.0/"
    client.WhatsAppClient = ClientWithIceServers  # type: ignore[assignment,misc]
    verify.__annotations__ = {"request": Request, "return": Response}
    app.add_api_route("/whatsapp", verify, methods=["GET"])
    main()
