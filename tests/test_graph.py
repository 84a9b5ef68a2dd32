"""The Graph API's client, against a real server on loopback that does as it is told."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipecat_whatsapp.errors import (
    ConfigError,
    GraphError,
    GraphRequestError,
    GraphUnreachableError,
)
from pipecat_whatsapp.meta.graph import GraphClient, TokenProvider
from pipecat_whatsapp.meta.graph_errors import REFUSALS

NUMBER = "200000000000002"
CALL = "wacid.HBgMEXAMPLEEXAMPLEAA=="
SDP = "v=0\r\n"
TOKEN = "EAAtoken-of-nobody"

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Meta:
    """A Graph API that plays its steps, one for each request, the last one for ever.

    Parameters:
        url: Where it listens.
        steps: What it does.
        heard: The requests: method, path with query, token, body.
        hanging: Counts the requests that wait for an answer.
        released: When set, they get it.
    """

    def __init__(self) -> None:
        self.url = ""
        self.steps: list[Step] = [answer({"messaging_product": "whatsapp", "success": True})]
        self.heard: list[tuple[str, str, str, Any]] = []
        self.hanging = asyncio.Semaphore(0)
        self.released = asyncio.Event()

    async def play(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.heard.append((request.method, request.path_qs, token, body))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return await step(request)

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, _, body in self.heard]

    @property
    def tokens(self) -> list[str]:
        return [token for _, _, token, _ in self.heard]

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Answer only when `released` is set."""
        self.hanging.release()
        await self.released.wait()
        return web.json_response({"success": True})


def answer(body: Any, status: int = 200, **headers: str) -> Step:
    text = body if isinstance(body, str) else json.dumps(body)

    async def step(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, headers=named)

    return step


def error(status: int, code: int, message: str = "", **more: Any) -> Step:
    return answer({"error": {"code": code, "message": message, **more}}, status)


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.fixture
async def meta() -> AsyncIterator[Meta]:
    meta = Meta()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", meta.play)
    async with TestServer(app) as server:
        meta.url = str(server.make_url(""))
        yield meta
        meta.released.set()


@pytest.fixture
async def client(meta: Meta) -> AsyncIterator[GraphClient]:
    async with GraphClient(token=TOKEN, url=meta.url, retry_pauses=(0, 0)) as client:
        yield client


def soon(seconds: float = 60) -> float:
    return asyncio.get_running_loop().time() + seconds


# What is sent


async def test_bodies_are_as_meta_documents_them(meta: Meta, client: GraphClient) -> None:
    await client.pre_accept(NUMBER, CALL, SDP)
    await client.accept(NUMBER, CALL, SDP)
    await client.accept(NUMBER, CALL, SDP, biz_opaque_callback_data="order-7")
    await client.reject(NUMBER, CALL)
    await client.terminate(NUMBER, CALL)

    call = {"messaging_product": "whatsapp", "call_id": CALL}
    session = {"session": {"sdp_type": "answer", "sdp": SDP}}
    assert meta.bodies == [
        {**call, "action": "pre_accept", **session},
        {**call, "action": "accept", **session},
        {**call, "action": "accept", **session, "biz_opaque_callback_data": "order-7"},
        {**call, "action": "reject"},
        {**call, "action": "terminate"},
    ]
    heads = {(method, path, token) for method, path, token, _ in meta.heard}
    assert heads == {("POST", f"/v25.0/{NUMBER}/calls", TOKEN)}


async def test_any_request_goes_through_the_same_door(meta: Meta, client: GraphClient) -> None:
    meta.steps = [answer({"permission": {"status": "temporary"}})]
    path = f"{NUMBER}/call_permissions"
    result = await client.request("GET", path, params={"user_wa_id": "4915550002222"})
    assert result == {"permission": {"status": "temporary"}}
    assert meta.heard == [("GET", f"/v25.0/{path}?user_wa_id=4915550002222", TOKEN, None)]


@pytest.mark.parametrize("number", ["", "1/../2", "+1", "²", "number"])
async def test_a_phone_number_id_is_digits(meta: Meta, client: GraphClient, number: str) -> None:
    with pytest.raises(ConfigError):
        await client.reject(number, CALL)
    assert meta.heard == []


# The address


@pytest.mark.parametrize(
    "url",
    [
        "https://graph.facebook.com",
        "https://graph.facebook.com/",
        "https://proxy.example.com:8443/graph/",
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://localhost:8080/",
        "http://[::1]:8080",
    ],
)
def test_usable_urls(url: str) -> None:
    GraphClient(token=TOKEN, url=url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "graph.facebook.com",
        "https://",
        "https://host:port",
        "https://[::1",
        "ftp://127.0.0.1",
        "http://graph.facebook.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://localhost@example.com",
        "https://user:password@graph.facebook.com",
        "https://graph.facebook.com?token=x",
    ],
)
def test_unusable_urls(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        GraphClient(token=TOKEN, url=url)
    assert "password" not in str(refused.value)


@pytest.mark.parametrize("version", ["", "25", "v25", "v25.0/..", "latest"])
def test_unusable_versions(version: str) -> None:
    with pytest.raises(ConfigError):
        GraphClient(token=TOKEN, version=version)


# The token


async def test_a_provider_is_asked_before_every_request(meta: Meta) -> None:
    tokens = iter(["first", "second"])

    async def provide() -> str:
        return next(tokens)

    async with GraphClient(token=provide, url=meta.url) as client:
        await client.reject(NUMBER, CALL)
        await client.reject(NUMBER, CALL)
        client.token = lambda: "third"
        await client.reject(NUMBER, CALL)
        client.token = " fourth\n"
        await client.reject(NUMBER, CALL)
    assert meta.tokens == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nbreak", "tökén"])
def test_unusable_tokens(token: str) -> None:
    with pytest.raises(ConfigError) as refused:
        GraphClient(token=token)
    assert "tökén" not in str(refused.value)


def raising() -> str:
    raise RuntimeError("the vault is closed")


@pytest.mark.parametrize("provider", [raising, lambda: "", lambda: None, lambda: "a b"])
async def test_a_failing_provider_sends_nothing(meta: Meta, provider: TokenProvider) -> None:
    async with GraphClient(token=provider, url=meta.url) as client:
        with pytest.raises(GraphUnreachableError, match="token provider"):
            await client.accept(NUMBER, CALL, SDP)
    assert meta.heard == []


# Answers


async def refused(request: Awaitable[None]) -> GraphRequestError:
    with pytest.raises(GraphRequestError) as raised:
        await request
    return raised.value


async def test_an_error_carries_metas_words_and_advice(meta: Meta, client: GraphClient) -> None:
    details = {"messaging_product": "whatsapp", "details": "No such line"}
    meta.steps = [error(400, 100, "Bad SDP.", error_user_msg="Try again", error_data=details)]
    failure = await refused(client.accept(NUMBER, CALL, SDP))
    assert (failure.status, failure.code, failure.retryable) == (400, 100, False)
    assert failure.meta_message == "Bad SDP. - Try again - No such line"
    assert failure.advice == REFUSALS[100].advice
    assert str(failure) == (
        "Meta refused accept (HTTP 400, code 100): Bad SDP. - Try again - No such line. "
        + REFUSALS[100].advice
    )


async def test_401_is_not_always_the_token(meta: Meta, client: GraphClient) -> None:
    meta.steps = [error(401, 138000), error(401, 190)]
    assert "calling" in (await refused(client.accept(NUMBER, CALL, SDP))).advice
    assert "token" in (await refused(client.accept(NUMBER, CALL, SDP))).advice


async def test_errors_hide_numbers_and_token(meta: Meta, client: GraphClient) -> None:
    meta.steps = [error(400, 100, f"{TOKEN} may not\ncall 4915550002222 or 1234567, 138021")]
    failure = await refused(client.accept(NUMBER, CALL, SDP))
    words = "*** may not call ***********22 or *****67, 138021"
    assert failure.meta_message == words
    assert TOKEN not in "".join(traceback.format_exception(failure))


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (answer({"success": False}), 200),
        (answer({"error": {"message": "no"}}), 200),
        (answer("<html>", 404), 404),
        (answer([1], 403), 403),
        (answer({"error": "text"}, 400), 400),
        (answer({"error": {"code": "x", "message": {}, "error_data": "{}"}}, 400), 400),
        (answer("", 302, Location="/elsewhere"), 302),
    ],
)
async def test_odd_refusals(meta: Meta, client: GraphClient, step: Step, status: int) -> None:
    meta.steps = [step]
    failure = await refused(client.terminate(NUMBER, CALL))
    assert (failure.status, failure.code) == (status, 0)
    assert len(meta.heard) == 1


@pytest.mark.parametrize("body", ["", "OK", "[]", "[" * 60_000, '{"a": "' + "b" * 70_000 + '"}'])
async def test_odd_successes_count(meta: Meta, client: GraphClient, body: str) -> None:
    meta.steps = [answer(body)]
    assert await client.request("POST", "x", json={}) == {}
    await client.accept(NUMBER, CALL, SDP)


# No answer


async def test_a_closed_connection_is_no_answer(meta: Meta, client: GraphClient) -> None:
    meta.steps = [hang_up]
    with pytest.raises(GraphUnreachableError, match="may or may not"):
        await client.accept(NUMBER, CALL, SDP)


async def test_silence_is_no_answer(meta: Meta) -> None:
    meta.steps = [meta.hang]
    async with GraphClient(token=TOKEN, url=meta.url, request_timeout=0.05) as client:
        with pytest.raises(GraphUnreachableError, match="within"):
            await client.accept(NUMBER, CALL, SDP)


async def test_a_refused_connection_is_no_answer(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with GraphClient(token=TOKEN, url=url, retry_pauses=()) as client:
        with pytest.raises(GraphUnreachableError):
            await client.terminate(NUMBER, CALL)


async def test_a_gateways_5xx_is_no_answer(meta: Meta, client: GraphClient) -> None:
    meta.steps = [answer("<html>", 504)]
    with pytest.raises(GraphUnreachableError, match="504"):
        await client.accept(NUMBER, CALL, SDP)


async def test_a_closed_client_sends_nothing(meta: Meta, client: GraphClient) -> None:
    await client.close()
    await client.close()
    with pytest.raises(GraphUnreachableError, match="closed"):
        await client.accept(NUMBER, CALL, SDP)
    assert meta.heard == []


# Again


@pytest.mark.parametrize("step", [error(429, 4), error(500, 138004), answer("", 503), hang_up])
async def test_the_end_of_a_call_is_sent_again(meta: Meta, client: GraphClient, step: Step) -> None:
    for request in (client.reject, client.terminate):
        meta.heard.clear()
        meta.steps = [step, step, answer({"success": True})]
        await request(NUMBER, CALL)
        assert len(meta.heard) == 3


async def test_three_attempts_are_enough(meta: Meta, client: GraphClient) -> None:
    meta.steps = [error(500, 2)]
    failure = await refused(client.terminate(NUMBER, CALL))
    assert (failure.status, failure.retryable, len(meta.heard)) == (500, True, 3)


async def test_a_refusal_is_final(meta: Meta, client: GraphClient) -> None:
    meta.steps = [error(400, 100)]
    await refused(client.terminate(NUMBER, CALL))
    await refused(client.accept(NUMBER, CALL, SDP, deadline=soon()))
    assert len(meta.heard) == 2


async def test_an_answer_is_sent_again_only_inside_a_deadline(
    meta: Meta, client: GraphClient
) -> None:
    for request in (client.pre_accept, client.accept):
        meta.heard.clear()
        meta.steps = [error(500, 138004)]
        await refused(request(NUMBER, CALL, SDP))
        assert len(meta.heard) == 1

        meta.steps = [hang_up, answer({"success": True})]
        await request(NUMBER, CALL, SDP, deadline=soon())
        assert len(meta.heard) == 3
        assert meta.bodies[-1] == meta.bodies[0]


async def test_a_passed_deadline_sends_nothing(meta: Meta, client: GraphClient) -> None:
    with pytest.raises(GraphUnreachableError, match="deadline"):
        await client.accept(NUMBER, CALL, SDP, deadline=soon(-1))
    assert meta.heard == []


async def test_a_deadline_ends_an_attempt(meta: Meta, client: GraphClient) -> None:
    meta.steps = [meta.hang]
    with pytest.raises(GraphUnreachableError):
        await client.accept(NUMBER, CALL, SDP, deadline=soon(0.05))


async def test_a_wait_past_the_deadline_is_not_begun(meta: Meta, client: GraphClient) -> None:
    meta.steps = [answer({"error": {"code": 4}}, 429, Retry_After="100000")]
    failure = await refused(client.accept(NUMBER, CALL, SDP, deadline=soon(4)))
    assert (failure.retry_after, len(meta.heard)) == (100_000, 1)


async def test_meta_may_ask_for_a_wait(meta: Meta, client: GraphClient) -> None:
    meta.steps = [
        answer({"error": {"code": 4}}, 429, Retry_After="1"),
        answer({"success": True}),
    ]
    begun = asyncio.get_running_loop().time()
    await client.terminate(NUMBER, CALL)
    # The loop's clock may wake a sleeper a tick early.
    assert asyncio.get_running_loop().time() - begun > 0.9


async def test_a_refusal_after_silence_leaves_the_outcome_open(
    meta: Meta, client: GraphClient
) -> None:
    meta.steps = [hang_up, error(400, 100, "Already accepted")]
    with pytest.raises(GraphUnreachableError, match="Already accepted") as raised:
        await client.accept(NUMBER, CALL, SDP, deadline=soon())
    assert isinstance(raised.value.__cause__, GraphRequestError)


# on_sent


async def test_on_sent_comes_before_the_answer(meta: Meta, client: GraphClient) -> None:
    meta.steps = [meta.hang]
    sent = asyncio.Event()
    request = asyncio.create_task(client.pre_accept(NUMBER, CALL, SDP, on_sent=sent.set))
    await sent.wait()
    assert not request.done()
    meta.released.set()
    await request


async def test_on_sent_comes_once_even_for_several_attempts(
    meta: Meta, client: GraphClient
) -> None:
    meta.steps = [hang_up, answer({"success": True})]
    sent: list[int] = []
    await client.pre_accept(NUMBER, CALL, SDP, deadline=soon(), on_sent=lambda: sent.append(1))
    await asyncio.sleep(0)
    assert sent == [1]


async def test_on_sent_comes_when_nothing_can_be_sent(unused_tcp_port: int) -> None:
    sent: list[int] = []
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with GraphClient(token=TOKEN, url=url) as client:
        with pytest.raises(GraphError):
            await client.pre_accept(NUMBER, CALL, SDP, on_sent=lambda: sent.append(1))
    assert sent == [1]


async def test_many_requests_run_side_by_side(meta: Meta, client: GraphClient) -> None:
    meta.steps = [meta.hang]
    requests = [asyncio.create_task(client.accept(NUMBER, CALL, SDP)) for _ in range(200)]
    for _ in requests:
        await meta.hanging.acquire()
    meta.released.set()
    await asyncio.gather(*requests)
