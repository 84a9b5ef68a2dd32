"""What Meta demands of a number's calling settings: pure checks."""

from __future__ import annotations

import re
from collections.abc import Collection, Container
from typing import Any

from pipecat_whatsapp.simulator.payloads import Json
from pipecat_whatsapp.simulator.rules import RefusalError

STATUSES = ("ENABLED", "DISABLED")
MAX_TIMEOUT_SECONDS = 30

_COUNTRY = re.compile(r"[A-Z]{2}")
_HOST = re.compile(r"(?=.*[A-Za-z])([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+")


def demand(condition: bool, details: str, code: int = 100) -> None:
    """Refuse what does not meet a condition.

    Raises:
        RefusalError: It does not.
    """
    if not condition:
        raise RefusalError(details, code=code)


def check_keys(name: str, given: Json, allowed: Collection[str]) -> None:
    """Check that an object holds nothing that Meta does not know."""
    unknown = sorted(given.keys() - set(allowed))
    demand(not unknown, f"{name} does not know {', '.join(unknown)}")


def check_status(name: str, value: object) -> None:
    """Check a word that is spelt in capitals: Meta takes no other case."""
    check_word(name, value, STATUSES)


def check_word(name: str, value: object, words: Collection[str]) -> None:
    """Check a word out of Meta's vocabulary."""
    demand(isinstance(value, str) and value in words, f"{name} must be {' or '.join(words)}")


def an_object(name: str, value: object) -> Json:
    """The value, if it is a JSON object."""
    demand(isinstance(value, dict), f"{name} must be an object")
    return dict(value) if isinstance(value, dict) else {}


def objects(name: str, value: object) -> list[Json]:
    """The value, if it is a list of JSON objects; nothing at all counts as an empty one."""
    given = [] if value is None else value
    fine = isinstance(given, list) and all(isinstance(one, dict) for one in given)
    demand(fine, f"{name} must be a list of objects")
    return list(given) if isinstance(given, list) else []


def check_icons(icons: Json) -> None:
    """Check `call_icons`."""
    check_keys("call_icons", icons, {"restrict_to_user_countries"})
    countries = icons.get("restrict_to_user_countries")
    fine = isinstance(countries, list) and all(
        isinstance(country, str) and _COUNTRY.fullmatch(country) for country in countries
    )
    demand(fine, "restrict_to_user_countries must be a list of two-letter country codes")


def check_audio(audio: Json) -> None:
    """Check `audio`."""
    check_keys("audio", audio, {"additional_codecs"})
    codecs = audio.get("additional_codecs")
    fine = isinstance(codecs, list) and all(codec in ("PCMA", "PCMU") for codec in codecs)
    demand(fine, "additional_codecs may hold PCMA and PCMU")


def check_sip(sip: Json) -> None:
    """Check `sip`."""
    check_keys("sip", sip, {"status", "webhook_delivery", "servers"})
    check_status("sip.status", sip.get("status", "DISABLED"))
    check_status("sip.webhook_delivery", sip.get("webhook_delivery", "DISABLED"))
    servers = objects("sip.servers", sip.get("servers"))
    demand(len(servers) <= 1, "A number has one SIP server")
    for server in servers:
        _check_server(server)


def check_voicemail(voicemail: Json, announcements: Container[str]) -> None:
    """Check `voicemail`.

    Args:
        voicemail: What was sent.
        announcements: The ids of the announcements that were uploaded.
    """
    check_keys("voicemail", voicemail, {"status", "triggers", "audio"})
    check_status("voicemail.status", voicemail.get("status"))
    triggers = voicemail.get("triggers", [])
    fine = isinstance(triggers, list) and all(word in ("REJECT", "TIMEOUT") for word in triggers)
    demand(fine, "voicemail.triggers may hold REJECT and TIMEOUT")
    audio = an_object("voicemail.audio", voicemail.get("audio", {}))
    check_keys("voicemail.audio", audio, {"default"})
    default = an_object("voicemail.audio.default", audio.get("default", {}))
    check_keys("voicemail.audio.default", default, {"announcement_media_id", "timeout_seconds"})
    if "announcement_media_id" in default:
        known = str(default["announcement_media_id"]) in announcements
        demand(known, "announcement_media_id is not that of an uploaded announcement")
    timeout = default.get("timeout_seconds", 0)
    in_bounds = is_whole(timeout) and 0 <= timeout <= MAX_TIMEOUT_SECONDS
    demand(in_bounds, f"timeout_seconds must be 0 to {MAX_TIMEOUT_SECONDS}")
    if voicemail["status"] == "ENABLED":
        demand(bool(triggers), "voicemail.triggers is missing")
        demand("announcement_media_id" in default, "announcement_media_id is missing")


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_server(server: Json) -> None:
    check_keys("sip.servers", server, {"hostname", "port", "request_uri_user_params"})
    host, port = server.get("hostname"), server.get("port", 5061)
    named = isinstance(host, str) and _HOST.fullmatch(host) is not None
    demand(named, "hostname must be the name of a host, not its address")
    demand(is_whole(port) and 0 < port < 65536, "port must be 1 to 65535")
    parameters = an_object("request_uri_user_params", server.get("request_uri_user_params", {}))
    texts = all(isinstance(value, str) for value in parameters.values())
    demand(texts, "request_uri_user_params must hold texts")
