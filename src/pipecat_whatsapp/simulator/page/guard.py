"""Who may talk to the page's server: a browser that has the page from it, and nobody else.

A page of another site must neither read what is said nor place calls. It could try with requests
of its own, which bear its origin, or by pointing its own name to this machine (DNS rebinding),
which shows in `Host`. Beyond loopback there is a token besides.
"""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import web
from aiohttp.typedefs import Handler

from pipecat_whatsapp.errors import SimulatorError

SOCKET = "/socket"
"""Where the page's WebSocket is."""

SHORTEST_TOKEN = 16
"""Characters of a token that cannot be guessed."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; media-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Permissions-Policy": "microphone=(self)",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every answer says."""

_ONE_ORIGIN = ("same-origin", "none")


class Guard:
    """Lets the page's own requests pass, and no others.

    Args:
        host: The address at which the server listens.
        token: What a browser has to show once; None for no token. Whoever has it may reach the
            server by any name.

    Raises:
        SimulatorError: Others can reach the address, and there is no token; or it is short.
    """

    def __init__(self, host: str, token: str | None) -> None:
        check(host, token)
        self._token = token
        self._hosts: frozenset[str] = frozenset()
        self._cookie = ""
        self._host = host

    def listen(self, port: int) -> None:
        """The server listens at this port."""
        names = {"127.0.0.1", "localhost", "[::1]", bracketed(self._host)}
        self._hosts = frozenset(f"{name}:{port}" for name in names)
        if port == 80:
            self._hosts |= names
        # Cookies know no ports.
        self._cookie = f"page-{port}"

    @web.middleware
    async def protect(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what is not the page's."""
        host = request.headers.get("Host", "").lower()
        if self._token is None and host not in self._hosts:
            raise web.HTTPMisdirectedRequest(text="This is not the name of the simulated phone.")
        if self._token is not None and not self._is_known(request, self._token):
            self._greet(request, self._token)
        if request.path != "/" and not self._is_same_origin(request, host):
            raise web.HTTPForbidden(text="This is for the simulated phone's own page only.")
        return await handler(request)

    async def harden(self, request: web.Request, response: web.StreamResponse) -> None:
        """Give an answer its headers (aiohttp: on_response_prepare)."""
        response.headers.update(HEADERS)
        # It works on loopback and with https, and browsers complain of it elsewhere. Only there
        # do they send Sec-Fetch-Site (W3C: Fetch Metadata).
        if "Sec-Fetch-Site" in request.headers:
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers.pop("Server", None)

    def _is_known(self, request: web.Request, token: str) -> bool:
        if request.path == "/" and "token" in request.query:
            return False
        return _equal(request.cookies.get(self._cookie, ""), _ticket(token))

    def _greet(self, request: web.Request, token: str) -> None:
        """Let a browser in that shows the token.

        Raises:
            web.HTTPException: Always.
        """
        if request.path == "/" and _equal(request.query.get("token", ""), token):
            welcome = web.HTTPSeeOther("/")
            welcome.set_cookie(self._cookie, _ticket(token), httponly=True, samesite="Strict")
            raise welcome
        raise web.HTTPUnauthorized(
            text="Open this page by its address with ?token= and the token after it."
        )

    def _is_same_origin(self, request: web.Request, host: str) -> bool:
        origin = request.headers.get("Origin")
        ours = {f"http://{host}"}
        if self._token is not None:
            # Somebody before us may speak TLS.
            ours.add(f"https://{host}")
        if origin not in ours and (origin is not None or request.path == SOCKET):
            return False
        return request.headers.get("Sec-Fetch-Site", "none") in _ONE_ORIGIN


def check(host: str, token: str | None) -> None:
    """Check that nobody else can use a page at this address.

    Raises:
        SimulatorError: Others can reach the address, and there is no token; or it is short.
    """
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise SimulatorError(
            f"The page's token can be guessed: give one of {SHORTEST_TOKEN} characters or more."
        )
    if token is None and not _is_loopback(host):
        raise SimulatorError(
            f"Others could use the page at {host}: give it a token of {SHORTEST_TOKEN} characters "
            "or more with --page-token or WHATSAPP_PAGE_TOKEN, or leave it on 127.0.0.1."
        )


def bracketed(host: str) -> str:
    """An address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ticket(token: str) -> str:
    """What a browser keeps in place of the token."""
    return hmac.digest(token.encode(), b"pipecat-whatsapp page", "sha256").hex()


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
