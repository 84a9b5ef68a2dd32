from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from pipecat_whatsapp.simulator.media import ANNOUNCEMENT, DOWNLOAD_PATH, MediaStore
from simulated_account import WEEK, Clock, refused

OGG = b"OggS and so on"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MediaStore:
    return MediaStore(lambda: "http://media.test", clock)


def query(url: object) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(str(url)).query).items()}


def test_a_file_as_webhooks_name_it(store: MediaStore) -> None:
    file = store.put(OGG, "audio/ogg; codecs=opus")
    assert file.id.isdigit()
    assert base64.b64decode(file.sha256) == hashlib.sha256(OGG).digest()
    assert file.mime_type == "audio/ogg; codecs=opus"
    assert file.url.startswith(f"http://media.test{DOWNLOAD_PATH}?mid={file.id}&")
    assert file.url not in repr(file)
    assert file.id in store


def test_a_file_as_the_media_api_describes_it(store: MediaStore) -> None:
    file = store.put(OGG, "audio/ogg")
    described = store.describe(file.id)
    assert described["sha256"] == hashlib.sha256(OGG).hexdigest()
    assert described["file_size"] == len(OGG)
    assert described["id"] == file.id
    assert described["url"] != file.url


def test_an_address_works_for_five_minutes(store: MediaStore, clock: Clock) -> None:
    file = store.put(OGG, "audio/ogg")
    clock.advance(299)
    assert store.download(query(file.url)) == (OGG, "audio/ogg")
    fresh = store.describe(file.id)["url"]
    clock.advance(1)
    assert refused(lambda: store.download(query(file.url))).status == 404
    assert store.download(query(fresh)) == (OGG, "audio/ogg")


def test_an_address_of_another_file(store: MediaStore) -> None:
    one, other = store.put(OGG, "audio/ogg"), store.put(b"other", "audio/ogg")
    mixed = query(one.url) | {"mid": other.id}
    assert refused(lambda: store.download(mixed)).status == 404
    assert refused(lambda: store.download({})).status == 404


def test_what_meta_makes_is_kept_for_seven_days(store: MediaStore, clock: Clock) -> None:
    file = store.put(OGG, "audio/ogg")
    uploaded = store.upload(OGG, "audio/ogg", ANNOUNCEMENT)
    clock.advance(WEEK - 1)
    last_address = store.describe(file.id)["url"]
    assert store.download(query(last_address)) == (OGG, "audio/ogg")
    clock.advance(1)
    assert file.id not in store
    assert refused(lambda: store.describe(file.id)).subcode == 33
    assert refused(lambda: store.download(query(last_address))).subcode == 33
    assert store.get(uploaded) == (OGG, "audio/ogg")


def test_no_such_file(store: MediaStore) -> None:
    assert refused(lambda: store.describe("1")).subcode == 33
    assert "1" not in store


def test_uploads(store: MediaStore) -> None:
    plain = store.upload(b"\x89PNG", "image/png", None)
    announcement = store.upload(OGG, "audio/ogg; codecs=opus", ANNOUNCEMENT)
    assert store.get(plain) == (b"\x89PNG", "image/png")
    assert store.announcements == {announcement}


@pytest.mark.parametrize(
    ("data", "mime_type", "use_case"),
    [
        (b"", "audio/ogg", None),
        (OGG, "audio/ogg", "greeting"),
        (OGG, "audio/mpeg", ANNOUNCEMENT),
        (b"ID3", "audio/ogg", ANNOUNCEMENT),
    ],
)
def test_uploads_that_are_refused(
    store: MediaStore, data: bytes, mime_type: str, use_case: str | None
) -> None:
    refused(lambda: store.upload(data, mime_type, use_case))
    assert store.announcements == set()
