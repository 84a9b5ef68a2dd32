"""The files that Meta keeps: recordings, voicemail, transcripts, and what a business uploads."""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from pipecat_whatsapp.simulator.rules import RefusalError

URL_LIFETIME = 300
"""Seconds that a download address works (Meta: media)."""

FILE_LIFETIME = 7 * 24 * 3600
"""Seconds that Meta keeps what it made of a call (Meta: call recording)."""

DOWNLOAD_PATH = "/whatsapp_business/attachments/"

ANNOUNCEMENT = "call_voicemail_announcement"
"""The use case of what a caller hears on voicemail."""


@dataclass(frozen=True)
class MediaFile:
    """A file as webhooks name it.

    Parameters:
        id: Id for the Media API.
        sha256: Digest, base64.
        mime_type: Its type.
        url: A download address that works for five minutes, with a token.
    """

    id: str
    sha256: str
    mime_type: str
    url: str = field(repr=False)


@dataclass(frozen=True)
class _Stored:
    data: bytes
    mime_type: str
    expires_at: float


class MediaStore:
    """Keeps files, and gives each as many download addresses as are asked for.

    Args:
        host: Where the addresses point to, such as "http://127.0.0.1:8000".
        clock: Unix seconds.

    Attributes:
        announcements: The ids of the files that can greet callers on voicemail.
    """

    def __init__(self, host: Callable[[], str], clock: Callable[[], float] = time.time) -> None:
        self.announcements: set[str] = set()
        self._host = host
        self._clock = clock
        self._stored: dict[str, _Stored] = {}
        self._urls: dict[str, tuple[str, float]] = {}

    def put(self, data: bytes, mime_type: str) -> MediaFile:
        """Keep what Meta made of a call, for 7 days."""
        media_id = self._keep(_Stored(data, mime_type, self._clock() + FILE_LIFETIME))
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return MediaFile(media_id, digest, mime_type, self._new_url(media_id))

    def upload(self, data: bytes, mime_type: str, use_case: str | None) -> str:
        """Keep a file of the business, for as long as the simulation lasts.

        Args:
            data: The file.
            mime_type: What the business says it is.
            use_case: What for; only `ANNOUNCEMENT` is known, which must be Opus in Ogg.

        Returns:
            Its id.

        Raises:
            RefusalError: It is empty, or not fit for its use.
        """
        if not data:
            raise RefusalError("The file is empty")
        if use_case not in (None, ANNOUNCEMENT):
            raise RefusalError(f"There is no use case {use_case}")
        is_ogg = mime_type.startswith("audio/ogg") and data.startswith(b"OggS")
        if use_case == ANNOUNCEMENT and not is_ogg:
            raise RefusalError("An announcement must be audio/ogg with Opus")
        media_id = self._keep(_Stored(data, mime_type, math.inf))
        if use_case == ANNOUNCEMENT:
            self.announcements.add(media_id)
        return media_id

    def __contains__(self, media_id: str) -> bool:
        stored = self._stored.get(media_id)
        return stored is not None and self._clock() < stored.expires_at

    def get(self, media_id: str) -> tuple[bytes, str]:
        """A file and its type.

        Raises:
            RefusalError: There is none of this id, or none any more.
        """
        if media_id not in self:
            raise RefusalError("There is no such file", subcode=33)
        stored = self._stored[media_id]
        return stored.data, stored.mime_type

    def describe(self, media_id: str) -> dict[str, object]:
        """What `GET /<MEDIA_ID>` answers (Meta: media); its digest, unlike a webhook's, is hex."""
        data, mime_type = self.get(media_id)
        return {
            "messaging_product": "whatsapp",
            "url": self._new_url(media_id),
            "mime_type": mime_type,
            "sha256": hashlib.sha256(data).hexdigest(),
            "file_size": len(data),
            "id": media_id,
        }

    def download(self, query: Mapping[str, str]) -> tuple[bytes, str]:
        """The file behind a download address, and its type.

        Args:
            query: The query of the address.

        Raises:
            RefusalError: HTTP 404: there never was such an address, or it works no longer.
        """
        media_id, expires_at = self._urls.get(query.get("hash", ""), ("", 0.0))
        if media_id != query.get("mid") or expires_at <= self._clock():
            raise RefusalError("The address is unknown or has expired", status=404)
        return self.get(media_id)

    def _keep(self, stored: _Stored) -> str:
        media_id = str(secrets.randbelow(9 * 10**15) + 10**15)
        self._stored[media_id] = stored
        return media_id

    def _new_url(self, media_id: str) -> str:
        key, expires_at = secrets.token_urlsafe(24), self._clock() + URL_LIFETIME
        self._urls[key] = media_id, expires_at
        query = urlencode({"mid": media_id, "ext": int(expires_at), "hash": key})
        return f"{self._host()}{DOWNLOAD_PATH}?{query}"
