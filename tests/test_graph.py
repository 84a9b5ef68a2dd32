"""The Graph API's client, against a real server on loopback that does as it is told."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable

import pytest

from pipecat_whatsapp.errors import (
    ConfigError,
    GraphError,
    GraphRequestError,
    GraphUnreachableError,
    InvalidRequestError,
)
from pipecat_whatsapp.meta.capture import Capture
from pipecat_whatsapp.meta.events import User
from pipecat_whatsapp.meta.graph import GraphClient, TokenProvider
from pipecat_whatsapp.meta.graph_errors import REFUSALS
from scripted_graph import (
    NUMBER,
    PHONE,
    TOKEN,
    USER_ID,
    ScriptedGraph,
    Step,
    answer,
    error,
    hang_up,
)

CALL = "wacid.HBgMEXAMPLEEXAMPLEAA=="
SDP = "v=0\r\n"


def soon(seconds: float = 60) -> float:
    return asyncio.get_running_loop().time() + seconds


# What is sent


async def test_bodies_are_as_meta_documents_them(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    await graph.pre_accept(NUMBER, CALL, SDP)
    await graph.accept(NUMBER, CALL, SDP)
    await graph.accept(NUMBER, CALL, SDP, biz_opaque_callback_data="order-7")
    await graph.reject(NUMBER, CALL)
    await graph.terminate(NUMBER, CALL)

    call = {"messaging_product": "whatsapp", "call_id": CALL}
    session = {"session": {"sdp_type": "answer", "sdp": SDP}}
    assert scripted.bodies == [
        {**call, "action": "pre_accept", **session},
        {**call, "action": "accept", **session},
        {**call, "action": "accept", **session, "biz_opaque_callback_data": "order-7"},
        {**call, "action": "reject"},
        {**call, "action": "terminate"},
    ]
    heads = {(method, path, token) for method, path, token, _ in scripted.heard}
    assert heads == {("POST", f"/v25.0/{NUMBER}/calls", TOKEN)}


async def test_an_accepted_call_may_be_recorded_and_transcribed(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    recording, transcription = Capture(purpose="quality"), Capture(announcement_language="de")
    await graph.accept(NUMBER, CALL, SDP, recording=recording, transcription=transcription)
    (body,) = scripted.bodies
    assert body["recording"] == recording.body()
    assert body["transcription"] == transcription.body()


PLACED = {"messaging_product": "whatsapp", "calls": [{"id": CALL}]}


async def test_a_call_is_placed_with_our_offer_and_its_id_comes_back(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({**PLACED, "success": True})]
    placed = await graph.connect(
        NUMBER,
        User(PHONE, USER_ID),
        SDP,
        biz_opaque_callback_data="order-7",
        recording=Capture(),
        transcription=Capture(),
    )
    assert placed == CALL
    assert scripted.bodies == [
        {
            "messaging_product": "whatsapp",
            "to": PHONE,
            "action": "connect",
            "session": {"sdp_type": "offer", "sdp": SDP},
            "biz_opaque_callback_data": "order-7",
            "recording": Capture().body(),
            "transcription": Capture().body(),
        }
    ]


async def test_a_user_without_a_number_is_called_by_user_id(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer(PLACED)]
    await graph.connect(NUMBER, User(user_id=USER_ID), SDP)
    (body,) = scripted.bodies
    assert body["recipient"] == USER_ID
    assert body.keys() == {"messaging_product", "recipient", "action", "session"}


@pytest.mark.parametrize("step", [hang_up, error(500, 138004), error(429, 138005), answer("", 503)])
async def test_a_call_is_never_placed_twice(
    scripted: ScriptedGraph, graph: GraphClient, step: Step
) -> None:
    scripted.steps = [step, answer(PLACED)]
    with pytest.raises(GraphError):
        await graph.connect(NUMBER, User(PHONE), SDP)
    assert len(scripted.heard) == 1


@pytest.mark.parametrize("body", [{}, {"calls": []}, {"calls": [{}]}, ""])
async def test_a_call_without_an_id_may_ring_all_the_same(
    scripted: ScriptedGraph, graph: GraphClient, body: object
) -> None:
    scripted.steps = [answer(body)]
    with pytest.raises(GraphUnreachableError, match="cannot be read"):
        await graph.connect(NUMBER, User(PHONE), SDP)


async def test_overlong_callback_data_is_not_sent(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    for request in (
        graph.accept(NUMBER, CALL, SDP, biz_opaque_callback_data="d" * 513),
        graph.connect(NUMBER, User(PHONE), SDP, biz_opaque_callback_data="d" * 513),
    ):
        with pytest.raises(InvalidRequestError, match="513"):
            await request
    assert scripted.heard == []
    scripted.steps = [answer(PLACED)]
    await graph.connect(NUMBER, User(PHONE), SDP, biz_opaque_callback_data="d" * 512)


async def test_a_call_to_nobody_is_not_placed(scripted: ScriptedGraph, graph: GraphClient) -> None:
    with pytest.raises(InvalidRequestError, match="neither a phone number nor a user id"):
        await graph.connect(NUMBER, User(name="Ada"), SDP)
    assert scripted.heard == []


async def test_a_request_may_have_a_token_of_its_own(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [error(400, 190, "app|secret is wrong")]
    failure = await refused(graph.request("GET", "app", token="app|secret"))
    assert scripted.tokens == ["app|secret"]
    assert "secret" not in str(failure)


async def test_any_request_goes_through_the_same_door(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"permission": {"status": "temporary"}})]
    path = f"{NUMBER}/call_permissions"
    result = await graph.request("GET", path, params={"user_wa_id": "4915550002222"})
    assert result == {"permission": {"status": "temporary"}}
    assert scripted.heard == [("GET", f"/v25.0/{path}?user_wa_id=4915550002222", TOKEN, None)]


@pytest.mark.parametrize("number", ["", "1/../2", "+1", "²", "number"])
async def test_a_phone_number_id_is_digits(
    scripted: ScriptedGraph, graph: GraphClient, number: str
) -> None:
    with pytest.raises(ConfigError):
        await graph.reject(number, CALL)
    assert scripted.heard == []


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


async def test_a_provider_is_asked_before_every_request(scripted: ScriptedGraph) -> None:
    tokens = iter(["first", "second"])

    async def provide() -> str:
        return next(tokens)

    async with GraphClient(token=provide, url=scripted.url) as graph:
        await graph.reject(NUMBER, CALL)
        await graph.reject(NUMBER, CALL)
        graph.token = lambda: "third"
        await graph.reject(NUMBER, CALL)
        graph.token = " fourth\n"
        await graph.reject(NUMBER, CALL)
    assert scripted.tokens == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nbreak", "tökén"])
def test_unusable_tokens(token: str) -> None:
    with pytest.raises(ConfigError) as refused:
        GraphClient(token=token)
    assert "tökén" not in str(refused.value)


def raising() -> str:
    raise RuntimeError("the vault is closed")


@pytest.mark.parametrize("provider", [raising, lambda: "", lambda: None, lambda: "a b"])
async def test_a_failing_provider_sends_nothing(
    scripted: ScriptedGraph, provider: TokenProvider
) -> None:
    async with GraphClient(token=provider, url=scripted.url) as graph:
        with pytest.raises(GraphUnreachableError, match="token provider"):
            await graph.accept(NUMBER, CALL, SDP)
    assert scripted.heard == []


# Answers


async def refused(request: Awaitable[object]) -> GraphRequestError:
    with pytest.raises(GraphRequestError) as raised:
        await request
    return raised.value


async def test_an_error_carries_metas_words_and_advice(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    details = {"messaging_product": "whatsapp", "details": "No such line"}
    scripted.steps = [error(400, 100, "Bad SDP.", error_user_msg="Try again", error_data=details)]
    failure = await refused(graph.accept(NUMBER, CALL, SDP))
    assert (failure.status, failure.code, failure.retryable) == (400, 100, False)
    assert failure.meta_message == "Bad SDP. - Try again - No such line"
    assert failure.advice == REFUSALS[100].advice
    assert str(failure) == (
        "Meta refused accept (HTTP 400, code 100): Bad SDP. - Try again - No such line. "
        + REFUSALS[100].advice
    )


async def test_401_is_not_always_the_token(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [error(401, 138000), error(401, 190)]
    assert "calling" in (await refused(graph.accept(NUMBER, CALL, SDP))).advice
    assert "token" in (await refused(graph.accept(NUMBER, CALL, SDP))).advice


async def test_errors_hide_numbers_and_token(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [error(400, 100, f"{TOKEN} may not\ncall 4915550002222 or 1234567, 138021")]
    failure = await refused(graph.accept(NUMBER, CALL, SDP))
    words = "*** may not call ***********22 or *****67, 138021"
    assert failure.meta_message == words
    assert TOKEN not in "".join(traceback.format_exception(failure))


@pytest.mark.parametrize("secret", ["EAAG" + "x9" * 40, "0123456789abcdef" * 2])
async def test_errors_hide_tokens_and_secrets_of_others_too(
    scripted: ScriptedGraph, graph: GraphClient, secret: str
) -> None:
    scripted.steps = [error(400, 100, f"Cannot decrypt {secret}!")]
    failure = await refused(graph.request("GET", "debug_token"))
    assert failure.meta_message == "Cannot decrypt ***!"


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
async def test_odd_refusals(
    scripted: ScriptedGraph, graph: GraphClient, step: Step, status: int
) -> None:
    scripted.steps = [step]
    failure = await refused(graph.terminate(NUMBER, CALL))
    assert (failure.status, failure.code) == (status, 0)
    assert len(scripted.heard) == 1


@pytest.mark.parametrize("body", ["", "OK", "[]", "[" * 60_000, '{"a": "' + "b" * 70_000 + '"}'])
async def test_odd_successes_count(scripted: ScriptedGraph, graph: GraphClient, body: str) -> None:
    scripted.steps = [answer(body)]
    assert await graph.request("POST", "x", json={}) == {}
    await graph.accept(NUMBER, CALL, SDP)


# No answer


async def test_a_closed_connection_is_no_answer(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [hang_up]
    with pytest.raises(GraphUnreachableError, match="may or may not"):
        await graph.accept(NUMBER, CALL, SDP)


async def test_silence_is_no_answer(scripted: ScriptedGraph) -> None:
    scripted.steps = [scripted.hang]
    async with GraphClient(token=TOKEN, url=scripted.url, request_timeout=0.05) as graph:
        with pytest.raises(GraphUnreachableError, match="within"):
            await graph.accept(NUMBER, CALL, SDP)


async def test_a_refused_connection_is_no_answer(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with GraphClient(token=TOKEN, url=url, retry_pauses=()) as graph:
        with pytest.raises(GraphUnreachableError):
            await graph.terminate(NUMBER, CALL)


async def test_a_gateways_5xx_is_no_answer(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [answer("<html>", 504)]
    with pytest.raises(GraphUnreachableError, match="504"):
        await graph.accept(NUMBER, CALL, SDP)


async def test_a_closed_client_sends_nothing(scripted: ScriptedGraph, graph: GraphClient) -> None:
    await graph.close()
    await graph.close()
    with pytest.raises(GraphUnreachableError, match="closed"):
        await graph.accept(NUMBER, CALL, SDP)
    assert scripted.heard == []


# Again


@pytest.mark.parametrize("step", [error(429, 4), error(500, 138004), answer("", 503), hang_up])
async def test_the_end_of_a_call_is_sent_again(
    scripted: ScriptedGraph, graph: GraphClient, step: Step
) -> None:
    for request in (graph.reject, graph.terminate):
        scripted.heard.clear()
        scripted.steps = [step, step, answer({"success": True})]
        await request(NUMBER, CALL)
        assert len(scripted.heard) == 3


async def test_three_attempts_are_enough(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [error(500, 2)]
    failure = await refused(graph.terminate(NUMBER, CALL))
    assert (failure.status, failure.retryable, len(scripted.heard)) == (500, True, 3)


async def test_a_refusal_is_final(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [error(400, 100)]
    await refused(graph.terminate(NUMBER, CALL))
    await refused(graph.accept(NUMBER, CALL, SDP, deadline=soon()))
    assert len(scripted.heard) == 2


async def test_an_answer_is_sent_again_only_inside_a_deadline(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    for request in (graph.pre_accept, graph.accept):
        scripted.heard.clear()
        scripted.steps = [error(500, 138004)]
        await refused(request(NUMBER, CALL, SDP))
        assert len(scripted.heard) == 1

        scripted.steps = [hang_up, answer({"success": True})]
        await request(NUMBER, CALL, SDP, deadline=soon())
        assert len(scripted.heard) == 3
        assert scripted.bodies[-1] == scripted.bodies[0]


async def test_a_passed_deadline_sends_nothing(scripted: ScriptedGraph, graph: GraphClient) -> None:
    with pytest.raises(GraphUnreachableError, match="deadline"):
        await graph.accept(NUMBER, CALL, SDP, deadline=soon(-1))
    assert scripted.heard == []


async def test_a_deadline_ends_an_attempt(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [scripted.hang]
    with pytest.raises(GraphUnreachableError):
        await graph.accept(NUMBER, CALL, SDP, deadline=soon(0.05))


async def test_a_wait_past_the_deadline_is_not_begun(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"error": {"code": 4}}, 429, Retry_After="100000")]
    failure = await refused(graph.accept(NUMBER, CALL, SDP, deadline=soon(4)))
    assert (failure.retry_after, len(scripted.heard)) == (100_000, 1)


async def test_meta_may_ask_for_a_wait(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [
        answer({"error": {"code": 4}}, 429, Retry_After="1"),
        answer({"success": True}),
    ]
    begun = asyncio.get_running_loop().time()
    await graph.terminate(NUMBER, CALL)
    # The loop's clock may wake a sleeper a tick early.
    assert asyncio.get_running_loop().time() - begun > 0.9


async def test_a_refusal_after_silence_leaves_the_outcome_open(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [hang_up, error(400, 100, "Already accepted")]
    with pytest.raises(GraphUnreachableError, match="Already accepted") as raised:
        await graph.accept(NUMBER, CALL, SDP, deadline=soon())
    assert isinstance(raised.value.__cause__, GraphRequestError)


# on_sent


async def test_on_sent_comes_before_the_answer(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [scripted.hang]
    sent = asyncio.Event()
    request = asyncio.create_task(graph.pre_accept(NUMBER, CALL, SDP, on_sent=sent.set))
    await sent.wait()
    assert not request.done()
    scripted.released.set()
    await request


async def test_on_sent_comes_once_even_for_several_attempts(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [hang_up, answer({"success": True})]
    sent: list[int] = []
    await graph.pre_accept(NUMBER, CALL, SDP, deadline=soon(), on_sent=lambda: sent.append(1))
    await asyncio.sleep(0)
    assert sent == [1]


async def test_on_sent_comes_when_nothing_can_be_sent(unused_tcp_port: int) -> None:
    sent: list[int] = []
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with GraphClient(token=TOKEN, url=url) as graph:
        with pytest.raises(GraphError):
            await graph.pre_accept(NUMBER, CALL, SDP, on_sent=lambda: sent.append(1))
    assert sent == [1]


async def test_many_requests_run_side_by_side(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [scripted.hang]
    requests = [asyncio.create_task(graph.accept(NUMBER, CALL, SDP)) for _ in range(200)]
    for _ in requests:
        await scripted.hanging.acquire()
    scripted.released.set()
    await asyncio.gather(*requests)


# on_attempt


async def test_every_attempt_is_told_with_its_status(scripted: ScriptedGraph) -> None:
    told: list[tuple[str, str]] = []

    def on_attempt(action: str, status: str, seconds: float) -> None:
        assert seconds >= 0
        told.append((action, status))

    async with GraphClient(
        token=TOKEN, url=scripted.url, retry_pauses=(0, 0), on_attempt=on_attempt
    ) as graph:
        scripted.steps = [hang_up, error(500, 2), answer({"success": True})]
        await graph.terminate(NUMBER, CALL)
        scripted.steps = [error(400, 138000)]
        with pytest.raises(GraphRequestError):
            await graph.accept(NUMBER, CALL, SDP)
    assert told == [
        ("terminate", "unreachable"),
        ("terminate", "500"),
        ("terminate", "200"),
        ("accept", "400"),
    ]


async def test_attempts_are_told_without_ids(scripted: ScriptedGraph) -> None:
    told: list[str] = []
    async with GraphClient(
        token=TOKEN, url=scripted.url, on_attempt=lambda action, *_: told.append(action)
    ) as graph:
        await graph.request("POST", f"{NUMBER}/messages", json={"to": PHONE})
        await graph.request("GET", f"{USER_ID}/call_permissions")
        await graph.request("GET", "debug_token", params={"input_token": "x"})
        await graph.request("GET", NUMBER)
    assert told == [
        "POST {id}/messages",
        "GET {id}/call_permissions",
        "GET debug_token",
        "GET {id}",
    ]


async def test_what_was_not_sent_is_no_attempt(scripted: ScriptedGraph) -> None:
    told: list[str] = []
    async with GraphClient(
        token=TOKEN, url=scripted.url, on_attempt=lambda action, *_: told.append(action)
    ) as graph:
        with pytest.raises(GraphUnreachableError):
            await graph.accept(NUMBER, CALL, SDP, deadline=soon(-1))
    assert told == []
