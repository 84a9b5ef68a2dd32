"""Calling settings over the Graph API."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from pipecat_whatsapp.errors import (
    CallingUnavailableError,
    GraphUnreachableError,
    InvalidRequestError,
)
from pipecat_whatsapp.meta.graph import GraphClient
from pipecat_whatsapp.meta.settings import (
    CallHours,
    CallingSettings,
    Holiday,
    OpeningSpan,
    SipServer,
    SipSettings,
    VoicemailSettings,
)
from scripted_graph import NUMBER, ScriptedGraph, answer, error, hang_up

HOURS = CallHours(
    status="ENABLED",
    timezone_id="Europe/Berlin",
    weekly_operating_hours=(OpeningSpan("MONDAY", time(9), time(17)),),
    holiday_schedule=(Holiday(date(2999, 12, 25), time(0), time(23, 59)),),
)
HOURS_BODY = {
    "status": "ENABLED",
    "timezone_id": "Europe/Berlin",
    "weekly_operating_hours": [
        {"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1700"}
    ],
    "holiday_schedule": [{"date": "2999-12-25", "start_time": "0000", "end_time": "2359"}],
}
SIP = SipSettings("ENABLED", servers=(SipServer("sip.example.com", 5061, {"k": "v"}),))
SIP_BODY = {
    "status": "ENABLED",
    "webhook_delivery": "DISABLED",
    "servers": [
        {"hostname": "sip.example.com", "port": 5061, "request_uri_user_params": {"k": "v"}}
    ],
}
VOICEMAIL = VoicemailSettings("ENABLED", ("REJECT", "TIMEOUT"), "938884519013664", 20)
VOICEMAIL_BODY = {
    "status": "ENABLED",
    "triggers": ["REJECT", "TIMEOUT"],
    "audio": {"default": {"announcement_media_id": 938884519013664, "timeout_seconds": 20}},
}

ALL: dict[str, Any] = {
    "status": "ENABLED",
    "call_icon_visibility": "DISABLE_ALL",
    "restrict_to_user_countries": ("DE", "BR"),
    "call_hours": HOURS,
    "callback_permission_status": "ENABLED",
    "srtp_key_exchange_protocol": "DTLS",
    "additional_codecs": ("PCMA", "PCMU"),
    "sip": SIP,
    "voicemail": VOICEMAIL,
}
ALL_BODY = {
    "status": "ENABLED",
    "call_icon_visibility": "DISABLE_ALL",
    "call_icons": {"restrict_to_user_countries": ["DE", "BR"]},
    "call_hours": HOURS_BODY,
    "callback_permission_status": "ENABLED",
    "srtp_key_exchange_protocol": "DTLS",
    "audio": {"additional_codecs": ["PCMA", "PCMU"]},
    "sip": SIP_BODY,
    "voicemail": VOICEMAIL_BODY,
}


async def test_all_settings_are_written_as_meta_documents_them(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    await graph.settings.write(NUMBER, **ALL)
    assert scripted.bodies == [{"calling": ALL_BODY}]
    assert scripted.heard[0][:2] == ("POST", f"/v25.0/{NUMBER}/settings")


@pytest.mark.parametrize("name", ALL)
async def test_what_is_not_given_is_not_sent(
    scripted: ScriptedGraph, graph: GraphClient, name: str
) -> None:
    await graph.settings.write(NUMBER, **{name: ALL[name]})
    (body,) = scripted.bodies
    ((key, value),) = body["calling"].items()
    assert ALL_BODY[key] == value


async def test_lists_can_be_emptied(scripted: ScriptedGraph, graph: GraphClient) -> None:
    await graph.settings.write(NUMBER, restrict_to_user_countries=(), additional_codecs=())
    assert scripted.bodies[0]["calling"] == {
        "call_icons": {"restrict_to_user_countries": []},
        "audio": {"additional_codecs": []},
    }


async def test_what_was_written_is_what_is_read(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"calling": ALL_BODY})]
    assert await graph.settings.read(NUMBER) == CallingSettings(**ALL)
    assert scripted.heard[0][:2] == ("GET", f"/v25.0/{NUMBER}/settings")


async def test_sip_passwords_come_only_when_asked_for_and_are_not_shown(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    server = {"hostname": "sip.example.com", "sip_user_password": "hush"}
    scripted.steps = [answer({"calling": {"sip": {"servers": [server]}}})]
    settings = await graph.settings.read(NUMBER, include_sip_credentials=True)
    assert scripted.heard[0][1].endswith("?include_sip_credentials=true")
    assert settings.sip.servers[0].sip_user_password == "hush"
    assert "hush" not in repr(settings)


async def test_a_number_that_was_never_set_up_has_metas_defaults(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer({"id": NUMBER})]
    settings = await graph.settings.read(NUMBER)
    assert settings == CallingSettings()
    assert (settings.status, settings.srtp_key_exchange_protocol) == ("DISABLED", "DTLS")


async def test_an_answer_that_is_none_tells_no_settings(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [answer("<html>")]
    with pytest.raises(GraphUnreachableError):
        await graph.settings.read(NUMBER)


async def test_no_change_is_not_sent(scripted: ScriptedGraph, graph: GraphClient) -> None:
    with pytest.raises(InvalidRequestError, match="no setting is changed"):
        await graph.settings.write(NUMBER)
    assert scripted.heard == []


async def test_settings_are_written_again_after_no_answer(
    scripted: ScriptedGraph, graph: GraphClient
) -> None:
    scripted.steps = [hang_up, answer({"success": True})]
    await graph.settings.write(NUMBER, status="ENABLED")
    assert len(scripted.heard) == 2


@pytest.mark.parametrize(("code", "words"), [(138015, "2000 users"), (138018, "`calls`")])
async def test_meta_says_why_calling_cannot_be_switched_on(
    scripted: ScriptedGraph, graph: GraphClient, code: int, words: str
) -> None:
    scripted.steps = [error(400, code)]
    with pytest.raises(CallingUnavailableError, match=words):
        await graph.settings.write(NUMBER, status="ENABLED")
