"""One attempt at a request to the Graph API: connections, token, answer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from pipecat_whatsapp.errors import GraphUnreachableError, MediaError
from pipecat_whatsapp.meta.checks import checked_token, checked_url, checked_version
from pipecat_whatsapp.meta.graph_errors import Answer, masked, refusal
from pipecat_whatsapp.meta.reading import bounded_int
from pipecat_whatsapp.meta.request import Request

TokenProvider = Callable[[], str | Awaitable[str]]
"""Gives the access token. It is asked before every request, so that a token can rotate."""

OnAttempt = Callable[[str, str, float], None]
"""Told of every attempt of a request: what was asked, the HTTP status or `UNREACHABLE`, seconds."""

UNREACHABLE = "unreachable"
"""The status of an attempt that got no answer."""

MAX_ANSWER_BYTES = 64 * 1024
MAX_CONNECTIONS = 500
MEDIA_HOSTS = (".facebook.com", ".fbcdn.net", ".fbsbx.com", ".whatsapp.net")
"""Ends of the names of the hosts that Meta keeps files on."""

CONNECT_TIMEOUT = 5.0
KEEP_ALIVE_SECONDS = 30.0
DNS_CACHE_SECONDS = 300

_SECONDS = re.compile(r"[0-9]{1,6}")


class GraphHttp:
    """Connections of our own to the Graph API, opened when they are first needed.

    They go straight there: proxies that the environment names (HTTPS_PROXY) are not used.

    Args:
        token: The access token, or a function that gives it.
        url: Base address of the Graph API.
        version: Graph API version.
        on_attempt: Told of every attempt of a request.

    Raises:
        ConfigError: The URL, the version or the token cannot be used.
    """

    def __init__(
        self,
        *,
        token: str | TokenProvider,
        url: str,
        version: str,
        on_attempt: OnAttempt | None = None,
    ) -> None:
        self.token = token
        self._on_attempt = on_attempt or _no_matter
        self._base = f"{checked_url(url)}/{checked_version(version)}"
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def token(self) -> str | TokenProvider:
        """The access token, or what gives it."""
        return self._token

    @token.setter
    def token(self, token: str | TokenProvider) -> None:
        self._token = token if callable(token) else checked_token(token)

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
        began = time.monotonic()
        try:
            async with _answer_within(seconds, str(request)):
                answer = await self._exchange(request)
        except GraphUnreachableError:
            self._on_attempt(request.kind, UNREACHABLE, time.monotonic() - began)
            raise
        self._on_attempt(request.kind, str(answer.status), time.monotonic() - began)
        if not answer.succeeded:
            raise refusal(str(request), answer)
        return answer.body

    async def download(self, url: str, *, max_bytes: int, seconds: float) -> bytes:
        """Download a file from Meta.

        Args:
            url: Where it is: on the Graph API's host, or on one of Meta's hosts for media.
            max_bytes: The largest file to take.
            seconds: How long it may take.

        Raises:
            MediaError: The file is too large, or not on Meta's hosts.
            GraphRequestError: Meta refused, mostly because the address has expired.
            GraphUnreachableError: The file did not come.
        """
        address = self._checked_media_url(url)
        async with _answer_within(seconds, "the download"):
            token = await self.current_token()
            async with self._open_session().get(
                address,
                headers={"Authorization": f"Bearer {token}"},
                allow_redirects=False,
                trace_request_ctx=_nobody,
            ) as response:
                if response.status != 200:
                    answer = Answer(response.status, await _body(response), secrets=(token,))
                    raise refusal("the download", answer)
                return await _file(response, max_bytes)

    def _checked_media_url(self, url: str) -> URL:
        """Read an address as it will be used, and see that it is Meta's."""
        try:
            # As it is: some addresses are signed.
            address = URL(url, encoded=True)
            is_graph = address.origin() == URL(self._base).origin()
        except ValueError:
            address, is_graph = URL(), False
        is_media = address.scheme == "https" and (address.host or "").endswith(MEDIA_HOSTS)
        if is_graph or is_media:
            return address
        raise MediaError(
            "The file was not downloaded, because its address is not one of Meta's, "
            "and the access token must not go elsewhere."
        )

    async def _exchange(self, request: Request) -> Answer:
        token = request.token or await self.current_token()
        async with self._open_session().request(
            request.method,
            f"{self._base}/{request.path}",
            json=request.json,
            data=request.upload.form() if request.upload else None,
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
                secrets=_secrets(request, token),
            )

    async def current_token(self) -> str:
        """The access token as it is now.

        Raises:
            GraphUnreachableError: The token provider failed.
        """
        if isinstance(self._token, str):
            return self._token
        try:
            token = self._token()
            return checked_token(token if isinstance(token, str) else await token)
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


@asynccontextmanager
async def _answer_within(seconds: float, what: str) -> AsyncIterator[None]:
    """Bound an exchange, and name what kept its answer away."""
    try:
        async with asyncio.timeout(seconds):
            yield
    # The causes are left out, because they hold the request's headers and so the token.
    except TimeoutError:
        raise GraphUnreachableError(
            f"No answer to {what} came within {seconds:.1f} s, so Meta may or may not have "
            "acted on it: check the network."
        ) from None
    except (aiohttp.ClientError, OSError) as error:
        raise GraphUnreachableError(
            f"No answer to {what} came ({masked(str(error)) or type(error).__name__}), "
            "so Meta may or may not have acted on it: check the network and the Graph URL."
        ) from None


def _secrets(request: Request, token: str) -> tuple[str, ...]:
    """All tokens of a request: the one that it shows, in its parts, and one that it asks about."""
    asked_about = (request.params or {}).get("input_token", "")
    return tuple(secret for secret in (token, *token.split("|")[1:], asked_about) if secret)


def _no_matter(*_: object) -> None:
    """Who is told of attempts when nobody wants to know."""


def _nobody() -> None:
    """Who is told that a download is on its way."""


def _trace_sent() -> aiohttp.TraceConfig:
    async def chunk_sent(_: object, context: SimpleNamespace, __: object) -> None:
        # aiohttp tells just before it writes; the loop's next turn is just after.
        asyncio.get_running_loop().call_soon(context.trace_request_ctx)

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(chunk_sent)
    return trace


async def read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end.

    Raises:
        ValueError: It is longer than `MAX_ANSWER_BYTES`.
    """
    try:
        await response.content.readexactly(MAX_ANSWER_BYTES + 1)
    except asyncio.IncompleteReadError as read:
        return read.partial
    response.close()
    raise ValueError("The answer is too long.")


async def _body(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        body = json.loads(await read_bounded(response), parse_int=bounded_int)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


async def _file(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            response.close()
            raise MediaError(
                f"The file was not downloaded, because it is larger than {max_bytes} bytes: "
                "allow more if it is wanted."
            )
    return b"".join(parts)


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if _SECONDS.fullmatch(value) else 0.0
