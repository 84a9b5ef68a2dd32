"""Files that Meta keeps: fetched once they are announced, and only from Meta."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest
from aiohttp import web

from pipecat_whatsapp.errors import (
    GraphRequestError,
    GraphUnreachableError,
    InvalidRequestError,
    MediaError,
    TokenError,
)
from pipecat_whatsapp.meta.events import CallMediaAvailable, User, Voicemail
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.media import VOICEMAIL_ANNOUNCEMENT
from scripted_graph import NUMBER, TOKEN, ScriptedGraph, answer, error, file, hang_up
from scripted_graph import Step as ScriptedStep

OGG = b"OggS" + bytes(range(256)) * 300
DIGEST = base64.b64encode(hashlib.sha256(OGG).digest()).decode()
MEDIA_ID = "300000000000003"
PATH = "/whatsapp_business/attachments/?mid=3&hash=a%2Fb"


def recording(scripted: ScriptedGraph, **changes: Any) -> CallMediaAvailable:
    told = {"media_id": MEDIA_ID, "url": scripted.url + PATH, "sha256": DIGEST}
    return CallMediaAvailable(call_id="wacid.A", kind="recording", **told | changes)


def described(scripted: ScriptedGraph, **changes: Any) -> ScriptedStep:
    return answer({"id": MEDIA_ID, "url": scripted.url + "/fresh", **changes})


async def test_a_recording_is_downloaded_with_the_token(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [file(OGG)]
    assert await graph.media.download(recording(scripted)) == OGG
    assert scripted.heard == [("GET", PATH, TOKEN, None)]


async def test_a_voicemail_without_an_address_is_asked_for_by_id(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    voicemail = Voicemail(call_id="wacid.A", user=User(), media_id=MEDIA_ID, sha256=DIGEST)
    scripted.steps = [described(scripted), file(OGG)]
    assert await graph.media.download(voicemail) == OGG
    assert [path for _, path, _, _ in scripted.heard] == [f"/v25.0/{MEDIA_ID}", "/fresh"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_an_expired_address_is_renewed(
    scripted: ScriptedGraph, graph: GraphClient, status: int
) -> None:
    scripted.steps = [answer("gone", status), described(scripted), file(OGG)]
    assert await graph.media.download(recording(scripted)) == OGG
    assert len(scripted.heard) == 3


async def test_a_file_that_meta_no_longer_keeps_is_refused(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer("gone", 404), error(400, 100, "No such object")]
    with pytest.raises(InvalidRequestError, match="No such object"):
        await graph.media.download(recording(scripted))


async def test_without_an_id_an_expired_address_is_the_end(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer("gone", 404)]
    with pytest.raises(GraphRequestError, match="404"):
        await graph.media.download(recording(scripted, media_id=None))
    assert len(scripted.heard) == 1


async def test_a_token_that_is_refused_is_told_as_such(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [error(401, 190)]
    with pytest.raises(TokenError):
        await graph.media.download(recording(scripted))


@pytest.mark.parametrize("sha256", [None, DIGEST, hashlib.sha256(OGG).hexdigest().upper()])
async def test_the_digest_may_be_missing_base64_or_hex(
    scripted: ScriptedGraph, graph: GraphClient, sha256: str | None
) -> None:
    scripted.steps = [file(OGG)]
    assert await graph.media.download(recording(scripted, sha256=sha256)) == OGG


@pytest.mark.parametrize("sha256", [DIGEST[:-4], "not base64", "nö", "0" * 64, "c2hhMjU2"])
async def test_another_file_than_the_announced_one_is_not_taken(
    scripted: ScriptedGraph, graph: GraphClient, sha256: str
) -> None:
    scripted.steps = [file(OGG)]
    with pytest.raises(MediaError, match="SHA-256"):
        await graph.media.download(recording(scripted, sha256=sha256))


async def test_a_changed_file_is_not_taken(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [file(OGG[:-1])]
    with pytest.raises(MediaError, match="SHA-256"):
        await graph.media.download(recording(scripted))


async def test_the_size_is_bounded(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [file(OGG)]
    with pytest.raises(MediaError, match="larger than 100 bytes"):
        await graph.media.download(recording(scripted), max_bytes=100)
    assert await graph.media.download(recording(scripted), max_bytes=len(OGG)) == OGG


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/file",
        "http://lookaside.fbsbx.com/file",
        "https://fbsbx.com.example.com/file",
        "https://lookasidefbsbx.com/file",
        "https://lookaside.fbsbx.com@example.com/file",
        "https://example.com\\.fbsbx.com/file",
        "https://[::1",
        "file:///etc/passwd",
        "/relative",
        "",
    ],
)
async def test_the_token_goes_to_nobody_but_meta(
    scripted: ScriptedGraph, graph: GraphClient, url: str
) -> None:
    with pytest.raises(MediaError, match="not one of Meta's"):
        await graph.media.download(recording(scripted, url=url))
    assert scripted.heard == []


async def test_another_port_of_the_graphs_host_is_not_meta(
    scripted: ScriptedGraph, graph: GraphClient, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/file"
    with pytest.raises(MediaError, match="not one of Meta's"):
        await graph.media.download(recording(scripted, url=url))


async def test_a_new_address_is_checked_like_the_first(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [described(scripted, url="https://example.com/file")]
    with pytest.raises(MediaError, match="not one of Meta's"):
        await graph.media.download(recording(scripted, url=None))


async def test_a_redirect_is_not_followed(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [answer("", 302, Location="/elsewhere")]
    with pytest.raises(GraphRequestError, match="302"):
        await graph.media.download(recording(scripted, media_id=None))
    assert len(scripted.heard) == 1


@pytest.mark.parametrize("media_id", [None, "../app", ""])
async def test_a_file_without_address_and_usable_id_is_not_asked_for(
    scripted: ScriptedGraph, graph: GraphClient, media_id: str | None
) -> None:
    with pytest.raises(MediaError, match="neither an address nor an id"):
        await graph.media.download(recording(scripted, url=None, media_id=media_id))
    assert scripted.heard == []


async def test_a_broken_connection_is_no_file(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [hang_up]
    with pytest.raises(GraphUnreachableError):
        await graph.media.download(recording(scripted))


async def test_a_transcript_is_read(scripted: ScriptedGraph, graph: GraphClient) -> None:
    document = json.dumps({"transcript": {"text": "Hello", "segments": []}}).encode()
    scripted.steps = [file(document)]
    transcript = await graph.media.transcript(recording(scripted, sha256=None))
    assert transcript.text == "Hello"


# Uploads


async def test_an_announcement_is_uploaded_as_a_form(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"id": MEDIA_ID})]
    uploaded = await graph.media.upload(NUMBER, OGG, "audio/ogg", use_case=VOICEMAIL_ANNOUNCEMENT)
    assert uploaded == MEDIA_ID
    ((method, path, token, body),) = scripted.heard
    assert (method, path, token) == ("POST", f"/v25.0/{NUMBER}/media", TOKEN)
    assert body == {
        "messaging_product": "whatsapp",
        "type": "audio/ogg",
        "use_case": "call_voicemail_announcement",
        "file": ("file", "audio/ogg", OGG),
    }


async def test_other_files_need_no_use_case(scripted: ScriptedGraph, graph: GraphClient) -> None:
    scripted.steps = [answer({"id": MEDIA_ID})]
    await graph.media.upload(NUMBER, b"%PDF", "application/pdf")
    assert "use_case" not in scripted.bodies[0]


@pytest.mark.parametrize(
    ("data", "mime_type", "words"),
    [
        (b"", "audio/ogg", "empty"),
        (bytes(16 * 1024 * 1024 + 1), "audio/ogg", "are the most"),
        (b"RIFF", "audio/ogg", "not an Ogg file"),
        (OGG, "audio/wav", "not an Ogg file"),
    ],
)
async def test_what_meta_would_refuse_is_not_uploaded(
    scripted: ScriptedGraph, graph: GraphClient, data: bytes, mime_type: str, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        await graph.media.upload(NUMBER, data, mime_type, use_case=VOICEMAIL_ANNOUNCEMENT)
    assert scripted.heard == []


async def test_an_upload_without_an_id_is_not_taken_for_done(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"success": True})]
    with pytest.raises(GraphUnreachableError):
        await graph.media.upload(NUMBER, OGG, "audio/ogg")


async def test_an_upload_gets_more_time_than_a_request(scripted: ScriptedGraph) -> None:
    async def take(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.json_response({"id": MEDIA_ID})

    scripted.steps = [take]
    async with GraphClient(token=TOKEN, url=scripted.url, request_timeout=0.01) as graph:
        assert await graph.media.upload(NUMBER, OGG, "audio/ogg") == MEDIA_ID
