"""Files that Meta keeps: recordings, transcripts, voicemail, announcements."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Protocol

from pipecat_whatsapp.errors import GraphRequestError, MediaError
from pipecat_whatsapp.meta.answers import unreadable
from pipecat_whatsapp.meta.checks import checked_id, invalid
from pipecat_whatsapp.meta.events import Raw
from pipecat_whatsapp.meta.graph_requests import SendRequest
from pipecat_whatsapp.meta.reading import token
from pipecat_whatsapp.meta.request import Upload
from pipecat_whatsapp.meta.transcript import Transcript, parse_transcript

VOICEMAIL_ANNOUNCEMENT = "call_voicemail_announcement"
"""The use case of what a caller hears before they speak on voicemail: Ogg Opus, under 60 s."""

MAX_DOWNLOAD_BYTES = 100 * 1024 * 1024
MAX_TRANSCRIPT_BYTES = 16 * 1024 * 1024
MAX_UPLOAD_BYTES = 16 * 1024 * 1024
MAX_URL_CHARS = 4096
TRANSFER_SECONDS = 120.0
"""How long a file may take, either way."""

_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]+")


class MediaFile(Protocol):
    """What names a file: `CallMediaAvailable` and `Voicemail` do."""

    @property
    def media_id(self) -> str | None:
        """Id for the Media API."""

    @property
    def url(self) -> str | None:
        """Download address, valid for five minutes."""

    @property
    def sha256(self) -> str | None:
        """Digest of the file, base64."""


class Download(Protocol):
    """`GraphHttp.download`."""

    async def __call__(self, url: str, *, max_bytes: int, seconds: float) -> bytes:
        """Download a file from Meta."""


class MediaApi:
    """Downloads and uploads files.

    Args:
        request: Sends a request.
        download: Downloads a file from one of Meta's hosts.
    """

    def __init__(self, request: SendRequest, download: Download) -> None:
        self._request = request
        self._download = download

    async def download(self, media: MediaFile, *, max_bytes: int = MAX_DOWNLOAD_BYTES) -> bytes:
        """Download a recording, a transcript or a voicemail, also when its address has expired.

        Source: Meta, Cloud API, media; call recording.

        Args:
            media: The event that told of the file.
            max_bytes: The largest file to take.

        Raises:
            MediaError: The file is too large, not on Meta's hosts, or not the one announced.
            GraphRequestError: Meta refused; it keeps recordings for seven days.
            GraphUnreachableError: The file did not come.
        """
        file = await self._current(media, max_bytes)
        _check_digest(file, media.sha256)
        return file

    async def transcript(self, media: MediaFile) -> Transcript:
        """Download and read the transcript of a call.

        Source: Meta, call transcription.

        Args:
            media: The event that told of it.

        Raises:
            MediaError: It is not a transcript, or as with `download`.
            GraphRequestError: Meta refused; it keeps transcripts for seven days.
            GraphUnreachableError: It did not come.
        """
        return parse_transcript(await self.download(media, max_bytes=MAX_TRANSCRIPT_BYTES))

    async def upload(
        self, phone_number_id: str, data: bytes, mime_type: str, *, use_case: str | None = None
    ) -> str:
        """Upload a file, such as a voicemail announcement.

        Source: Meta, Cloud API, media; call settings, voicemail.

        Args:
            phone_number_id: The business number that will use it.
            data: The file, 16 MiB at most.
            mime_type: What it is, such as "audio/ogg".
            use_case: What it is for, such as `VOICEMAIL_ANNOUNCEMENT`.

        Returns:
            Its id.

        Raises:
            InvalidRequestError: The file is empty, too large, or no Ogg as an announcement must be.
            GraphRequestError: Meta refused.
            GraphUnreachableError: No answer came; the file may have arrived.
        """
        _check_upload(data, mime_type, use_case)
        fields = {"messaging_product": "whatsapp", "type": mime_type}
        if use_case is not None:
            fields["use_case"] = use_case
        answer = await self._request(
            "POST",
            f"{checked_id('phone number id', phone_number_id)}/media",
            upload=Upload(fields, data, mime_type, TRANSFER_SECONDS),
        )
        if (media_id := token(answer, "id")) is None:
            raise unreadable("an upload")
        return media_id

    async def _current(self, media: MediaFile, max_bytes: int) -> bytes:
        """The file from the address that was told, or else from a new one."""
        if media.url is not None:
            try:
                return await self._download(
                    media.url, max_bytes=max_bytes, seconds=TRANSFER_SECONDS
                )
            except GraphRequestError:
                if media.media_id is None:
                    raise
        url = await self._new_url(media.media_id)
        return await self._download(url, max_bytes=max_bytes, seconds=TRANSFER_SECONDS)

    async def _new_url(self, media_id: str | None) -> str:
        if media_id is None or not _MEDIA_ID.fullmatch(media_id):
            raise MediaError(
                "The file was not downloaded, because Meta told neither an address nor an id that "
                "can be used: look at the event's raw data."
            )
        answer: Raw = await self._request("GET", media_id, retry=True)
        url = token(answer, "url", MAX_URL_CHARS)
        if url is None:
            raise unreadable("the question for a file")
        return url


def _check_digest(file: bytes, announced: str | None) -> None:
    """Compare a file with its digest, which is base64 in webhooks and hex in the Media API."""
    if announced is None:
        return
    digest = hashlib.sha256(file)
    if announced.lower() == digest.hexdigest():
        return
    try:
        expected = base64.b64decode(announced, validate=True)
    except ValueError:
        expected = b""
    if not hmac.compare_digest(expected, digest.digest()):
        raise MediaError(
            f"The file was not taken, because its {len(file)} bytes are not those that Meta "
            "announced (the SHA-256 differs): download it again."
        )


def _check_upload(data: bytes, mime_type: str, use_case: str | None) -> None:
    if not data:
        raise invalid("the file is empty", "send one that holds something")
    if len(data) > MAX_UPLOAD_BYTES:
        raise invalid(f"the file has {len(data)} bytes", f"{MAX_UPLOAD_BYTES} are the most")
    is_ogg = mime_type.startswith("audio/ogg") and data.startswith(b"OggS")
    if use_case == VOICEMAIL_ANNOUNCEMENT and not is_ogg:
        raise invalid("the announcement is not an Ogg file", "encode it as Opus in Ogg, audio/ogg")
