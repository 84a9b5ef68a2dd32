from __future__ import annotations

import asyncio

import pytest

from links import Link
from pipecat_whatsapp.errors import SdpError
from pipecat_whatsapp.media.answering import answer_offer
from pipecat_whatsapp.media.sdp import RemoteDescription, read_offer
from pipecat_whatsapp.simulator.rules import check_answer
from test_sdp import whatsapp_offer


async def test_the_answer_keeps_metas_rules(link: Link) -> None:
    await link.answer()
    check_answer(link.sdp, link.offer)
    assert " typ host" in link.sdp
    assert link.connection.remote == read_offer(link.offer)


async def test_an_offer_that_aiortc_cannot_take_is_an_sdp_error() -> None:
    sdp = whatsapp_offer().replace("a=setup:actpass", "a=candidate:broken")
    with pytest.raises(SdpError, match="cannot be read"):
        await answer_offer(RemoteDescription(sdp=sdp, opus_payload_type=111), lambda event: None)


async def test_a_cancelled_answer_leaves_no_socket() -> None:
    """Unclosed sockets would be warnings, and warnings are errors here."""
    task = asyncio.create_task(answer_offer(read_offer(whatsapp_offer()), lambda event: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_is_nothing_to_be_taken_in_a_users_call(link: Link) -> None:
    await link.answer()
    remote = link.connection.remote
    await link.connection.take_answer(link.sdp)
    assert link.connection.remote is remote
    await link.start()
