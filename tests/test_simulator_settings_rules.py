from __future__ import annotations

from typing import Any

import pytest

from pipecat_whatsapp.simulator import settings_rules as rules
from simulated_account import refused

VOICEMAIL = {
    "status": "ENABLED",
    "triggers": ["REJECT", "TIMEOUT"],
    "audio": {"default": {"announcement_media_id": 7, "timeout_seconds": 20}},
}


def voicemail(**changes: Any) -> dict[str, Any]:
    """Voicemail with other values; those for `default` under its own name."""
    default = {**VOICEMAIL["audio"]["default"], **changes.pop("default", {})}  # type: ignore[index]
    kept = {name: value for name, value in default.items() if value is not None}
    return {**VOICEMAIL, "audio": {"default": kept}, **changes}


def test_what_meta_takes() -> None:
    rules.check_icons({"restrict_to_user_countries": []})
    rules.check_icons({"restrict_to_user_countries": ["DE", "BR"]})
    rules.check_audio({"additional_codecs": []})
    rules.check_audio({"additional_codecs": ["PCMA", "PCMU"]})
    rules.check_sip({"status": "DISABLED", "servers": []})
    server = {"hostname": "sip.example.com", "port": 5061, "request_uri_user_params": {"k": "v"}}
    rules.check_sip({"status": "ENABLED", "webhook_delivery": "ENABLED", "servers": [server]})
    rules.check_voicemail({"status": "DISABLED"}, [])
    rules.check_voicemail(voicemail(), ["7"])
    rules.check_voicemail(voicemail(default={"timeout_seconds": None}), ["7"])


@pytest.mark.parametrize("icons", [{}, {"restrict_to_user_countries": "DE"}, {"other": []}])
def test_icons(icons: dict[str, Any]) -> None:
    refused(lambda: rules.check_icons(icons))
    refused(lambda: rules.check_icons({"restrict_to_user_countries": ["de"]}))
    refused(lambda: rules.check_icons({"restrict_to_user_countries": ["DEU"]}))


@pytest.mark.parametrize(
    "codecs", [None, "PCMA", ["pcma"], ["OPUS"], ["PCMA", 8]], ids=lambda codecs: str(codecs)
)
def test_audio(codecs: object) -> None:
    assert (
        "PCMA and PCMU" in refused(lambda: rules.check_audio({"additional_codecs": codecs})).details
    )


@pytest.mark.parametrize(
    ("sip", "details"),
    [
        ({"status": "On"}, "sip.status"),
        ({"webhook_delivery": True}, "webhook_delivery"),
        ({"server": []}, "does not know server"),
        ({"servers": {}}, "list of objects"),
        ({"servers": [{"hostname": "a.example"}, {"hostname": "b.example"}]}, "one SIP server"),
        ({"servers": [{}]}, "hostname"),
        ({"servers": [{"hostname": "203.0.113.7"}]}, "not its address"),
        ({"servers": [{"hostname": "sip.example.com", "port": 0}]}, "port"),
        ({"servers": [{"hostname": "sip.example.com", "port": "5061"}]}, "port"),
        (
            {"servers": [{"hostname": "sip.example.com", "request_uri_user_params": {"k": 1}}]},
            "must hold texts",
        ),
        (
            {"servers": [{"hostname": "sip.example.com", "sip_user_password": "x"}]},
            "does not know sip_user_password",
        ),
    ],
)
def test_sip(sip: dict[str, Any], details: str) -> None:
    assert details in refused(lambda: rules.check_sip(sip)).details


@pytest.mark.parametrize(
    ("given", "details"),
    [
        ({}, "voicemail.status"),
        ({"status": "ENABLED"}, "triggers is missing"),
        (voicemail(triggers=[]), "triggers is missing"),
        (voicemail(triggers=["BUSY"]), "REJECT and TIMEOUT"),
        (voicemail(default={"announcement_media_id": None}), "announcement_media_id is missing"),
        (voicemail(default={"announcement_media_id": 8}), "not that of an uploaded"),
        (voicemail(default={"timeout_seconds": 31}), "0 to 30"),
        (voicemail(default={"timeout_seconds": -1}), "0 to 30"),
        (voicemail(default={"timeout_seconds": "20"}), "0 to 30"),
        (voicemail(audio=[]), "voicemail.audio must be an object"),
        (voicemail(greeting="Hi"), "does not know greeting"),
    ],
)
def test_voicemail(given: dict[str, Any], details: str) -> None:
    assert details in refused(lambda: rules.check_voicemail(given, ["7"])).details
