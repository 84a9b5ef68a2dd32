"""Letters between processes: who may write, and what becomes of each."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from conftest import until
from deployment import Deployment, Join, brisk, join
from pipecat_whatsapp.calls import post as module
from pipecat_whatsapp.calls.directory import CallDirectory, Delivery, Letter, Standing
from pipecat_whatsapp.calls.letters import Forwarded, HangUp, Message, seal
from pipecat_whatsapp.calls.memory import Board, MemoryDirectory
from pipecat_whatsapp.calls.post import Post
from pipecat_whatsapp.config import WhatsAppConfig
from pipecat_whatsapp.errors import DirectoryError
from pipecat_whatsapp.simulator.graph import Account
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp

__all__ = ["brisk", "join"]

SECRET = Account().app_secret

T = TypeVar("T")


def config(*app_secrets: str) -> WhatsAppConfig:
    return WhatsAppConfig(
        token="EAA-token",
        phone_number_ids=frozenset({"111"}),
        app_secrets=app_secrets or (SECRET,),
        verification_token="verify",
    )


class Reader:
    """Keeps what it reads, and may be unable to."""

    def __init__(self, *app_secrets: str) -> None:
        self.config = config(*app_secrets)
        self.read_so_far: list[Message] = []

    async def read(self, message: Message) -> None:
        if message == HangUp("wacid.BROKEN"):
            raise RuntimeError("a bug of ours")
        self.read_so_far.append(message)


async def asking(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


def signed(content: str) -> str:
    digest = hmac.digest(SECRET.encode(), content.encode(), "sha256").hex()
    return f"sha256={digest} {content}"


# Who may write


@pytest.mark.usefixtures("brisk")
async def test_letters_of_strangers_do_no_harm(
    whatsapp: WhatsApp, phone: Phone, join: Join | None, warnings: list[str]
) -> None:
    board = Board()
    joins = join or (lambda node: MemoryDirectory(node, board))
    stranger = joins("stranger")
    async with Deployment(whatsapp, joins) as deployment:
        member = await deployment.add()
        call = await phone.dial()
        await call.answered()
        await deployment.acquainted()
        content = json.dumps({"invented_tomorrow": call.id})
        for letter in (
            seal(HangUp(call.id), "a guess"),
            json.dumps({"hang_up": call.id}),
            "",
            "sha256=nonsense",
            signed(content),
            signed("no JSON"),
            signed("[]"),
        ):
            assert await stranger.send(member.node, letter)
        assert await stranger.send(member.node, seal(Forwarded(b"{}"), SECRET))
        assert (
            await stranger.deliver(call.id, None, "unsigned", otherwise=Delivery.PARKED)
            is Delivery.SENT
        )
        await until(lambda: member.line.asked["done"] >= 1 and len(warnings) >= 5)
        await deployment.acquainted()
        assert member.calls == [call.id]
        assert all("not signed with our app secret" in line for line in warnings)
        assert await stranger.send(member.node, seal(HangUp(call.id), SECRET))
        assert await call.ended() == "terminated"
    await stranger.close()


@pytest.mark.parametrize("writes_first", ["old", "new"])
async def test_letters_are_read_while_the_secret_changes(writes_first: str) -> None:
    board = Board()
    old, new = Reader("old"), Reader("new", "old")
    if writes_first == "new":
        old, new = new, old
    directory = MemoryDirectory("b", board)
    await directory.beat(Standing(), {})
    a, b = Post(MemoryDirectory("a", board), asking, old), Post(directory, asking, new)
    assert await a.send("b", HangUp("wacid.A"))
    reading = asyncio.create_task(b.run())
    await until(lambda: new.read_so_far == [HangUp("wacid.A")])
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


# What becomes of letters


async def test_a_letter_that_cannot_be_served_stops_no_other(warnings: list[str]) -> None:
    reader = Reader()
    post = Post(MemoryDirectory(), asking, reader)
    letters = [HangUp("wacid.A"), HangUp("wacid.BROKEN"), HangUp("wacid.B")]
    await post.open(seal(letter, SECRET) for letter in letters)
    assert reader.read_so_far == [HangUp("wacid.A"), HangUp("wacid.B")]
    assert len(warnings) == 1


async def test_a_letter_counts_as_read_when_it_was_served() -> None:
    board = Board()
    reading, may_go_on = asyncio.Event(), asyncio.Event()

    class Slow(Reader):
        async def read(self, message: Message) -> None:
            reading.set()
            await may_go_on.wait()

    directory = MemoryDirectory("a", board)
    board.post("a", seal(HangUp("wacid.A"), SECRET))
    running = asyncio.create_task(Post(directory, asking, Slow()).run())
    await reading.wait()
    assert len(board.member("a").inbox) == 1
    may_go_on.set()
    await until(lambda: not board.member("a").inbox)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_outage_ends_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)

    class Away(MemoryDirectory):
        failures = 2

        async def receive(self) -> list[Letter]:
            if self.failures:
                self.failures -= 1
                raise DirectoryError("It is away.")
            return await super().receive()

    board, reader = Board(), Reader()
    running = asyncio.create_task(Post(Away("a", board), asking, reader).run())
    board.post("a", seal(HangUp("wacid.A"), SECRET))
    await until(lambda: reader.read_so_far == [HangUp("wacid.A")])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_cannot_be_written_to_gets_nothing() -> None:
    class Away(MemoryDirectory):
        async def send(self, node: str, text: str) -> bool:
            raise DirectoryError("It is away.")

    assert not await Post(MemoryDirectory(), asking, Reader()).send("nobody", HangUp("wacid.A"))
    with pytest.raises(DirectoryError):
        await Post(Away(), asking, Reader()).send("b", HangUp("wacid.A"))


async def test_what_was_not_read_goes_to_others() -> None:
    board = Board()
    directories: list[CallDirectory] = [MemoryDirectory(node, board) for node in ("a", "b", "c")]
    for directory in directories:
        await directory.beat(Standing(), {})
    board.post("a", "one")
    board.post("a", "two")
    await directories[1].leave()
    await Post(directories[0], asking, Reader()).leave(["b", "c"])
    assert [letter.text for letter in board.member("c").inbox.values()] == ["one", "two"]


async def test_who_cannot_leave_goes_all_the_same() -> None:
    class Away(MemoryDirectory):
        async def leave(self) -> list[Letter]:
            raise DirectoryError("It is away.")

    await Post(Away(), asking, Reader()).leave(["b"])
