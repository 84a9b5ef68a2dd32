"""One attempt at a request to the Graph API: connections, token, answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from pipecat_whatsapp.errors import ConfigError, GraphUnreachableError
from pipecat_whatsapp.meta.graph_errors import Answer, masked, refusal
from pipecat_whatsapp.meta.reading import bounded_int

TokenProvider = Callable[[], str | Awaitable[str]]
"""Gives the access token. It is asked before every request, so that a token can rotate."""

MAX_ANSWER_BYTES = 64 * 1024
MAX_CONNECTIONS = 500
CONNECT_TIMEOUT = 5.0
KEEP_ALIVE_SECONDS = 30.0
DNS_CACHE_SECONDS = 300

_TOKEN = re.compile(r"[!-~]+")
_VERSION = re.compile(r"v[0-9]{1,3}\.[0-9]{1,3}")
_SECONDS = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class Request:
    """One request, however often it is sent.

    Parameters:
        method: HTTP method.
        path: What follows the version.
        json: The body.
        params: The query.
        on_sent: Called when the request is on its way.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None
    params: Mapping[str, str] | None
    on_sent: Callable[[], None]

    def __str__(self) -> str:
        return (self.json or {}).get("action") or f"{self.method} {self.path}"


class GraphHttp:
    """Connections of our own to the Graph API, opened when they are first needed.

    Args:
        token: The access token, or a function that gives it.
        url: Base address of the Graph API.
        version: Graph API version.

    Raises:
        ConfigError: The URL, the version or the token cannot be used.
    """

    def __init__(self, *, token: str | TokenProvider, url: str, version: str) -> None:
        self.token = token
        self._base = f"{_checked_url(url)}/{_checked_version(version)}"
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def token(self) -> str | TokenProvider:
        """The access token, or what gives it."""
        return self._token

    @token.setter
    def token(self, token: str | TokenProvider) -> None:
        self._token = token if callable(token) else _checked_token(token)

    async def close(self) -> None:
        """Close the connections for good. Safe to repeat."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def attempt(self, request: Request, seconds: float) -> dict[str, Any]:
        """Send a request once.

        Args:
            request: What to send.
            seconds: How long it may take, from the token to the last byte of the answer.

        Returns:
            Meta's answer; empty when it was not a JSON object.

        Raises:
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came; Meta may have acted.
        """
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(request)
        # The causes are left out, because they hold the request's headers and so the token.
        except TimeoutError:
            raise GraphUnreachableError(
                f"No answer to {request} came within {seconds:.1f} s, so Meta may or may not have "
                "acted on it: check the network."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise GraphUnreachableError(
                f"No answer to {request} came ({masked(str(error)) or type(error).__name__}), "
                "so Meta may or may not have acted on it: check the network and the Graph URL."
            ) from None
        if not answer.succeeded:
            raise refusal(str(request), answer)
        return answer.body

    async def _exchange(self, request: Request) -> Answer:
        token = await self._current_token()
        async with self._open_session().request(
            request.method,
            f"{self._base}/{request.path}",
            json=request.json,
            params=request.params,
            headers={"Authorization": f"Bearer {token}"},
            # A redirect would carry the token to wherever it points.
            allow_redirects=False,
            trace_request_ctx=request.on_sent,
        ) as response:
            return Answer(
                status=response.status,
                body=await _body(response),
                retry_after=_retry_after(response),
                token=token,
            )

    async def _current_token(self) -> str:
        if isinstance(self._token, str):
            return self._token
        try:
            token = self._token()
            return _checked_token(token if isinstance(token, str) else await token)
        except Exception as error:
            raise GraphUnreachableError(
                "The request was not sent, because the token provider failed with "
                f"{type(error).__name__}: look at what it raised."
            ) from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise GraphUnreachableError("The request was not sent, because the client is closed.")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    keepalive_timeout=KEEP_ALIVE_SECONDS,
                    ttl_dns_cache=DNS_CACHE_SECONDS,
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[_trace_sent()],
            )
        return self._session


def _trace_sent() -> aiohttp.TraceConfig:
    async def chunk_sent(_: object, context: SimpleNamespace, __: object) -> None:
        # aiohttp tells just before it writes; the loop's next turn is just after.
        asyncio.get_running_loop().call_soon(context.trace_request_ctx)

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(chunk_sent)
    return trace


async def _body(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        await response.content.readexactly(MAX_ANSWER_BYTES + 1)
    except asyncio.IncompleteReadError as read:
        try:
            body = json.loads(read.partial, parse_int=bounded_int)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}
    response.close()
    return {}


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if _SECONDS.fullmatch(value) else 0.0


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "The Graph URL cannot be used, because it is not a plain address: "
            "write it as https://graph.facebook.com."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ConfigError(
            "The Graph URL must begin with https://, because the access token travels with every "
            "request; plain http is for this machine only."
        )
    return url.strip().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_version(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise ConfigError("The Graph version cannot be used: write it as v25.0.")
    return version


def _checked_token(token: str) -> str:
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            "The access token cannot be used, because it is empty or has unusual characters: "
            "copy it again from Meta."
        )
    return token
