from __future__ import annotations

import pytest

from pipecat_whatsapp.doctor import variables
from pipecat_whatsapp.doctor.finding import Verdict
from pipecat_whatsapp.simulator.graph import Account
from whatsapp_world import variables as healthy

META = {**healthy(Account(), ""), "WHATSAPP_GRAPH_URL": ""}


def test_everything_that_a_bot_needs_is_there() -> None:
    (found,) = variables.examine_variables(META)
    assert found.verdict is Verdict.OK


def test_every_missing_variable_has_a_line() -> None:
    found = variables.examine_variables({"WHATSAPP_TOKEN": " "})
    assert [finding.name for finding in found] == list(variables.SOURCES)
    assert all(finding.verdict is Verdict.BROKEN and finding.cure for finding in found)


def test_a_variable_that_cannot_be_used_is_broken_without_its_value() -> None:
    (found,) = variables.examine_variables({**META, "WHATSAPP_PHONE_NUMBER_ID": "+49 151 234"})
    assert found.verdict is Verdict.BROKEN
    assert found.cure
    assert "151" not in found.what + found.cure


def test_what_is_installed_here_is_supported() -> None:
    found = variables.examine_versions()
    assert [finding.name for finding in found] == ["Python", "pipecat-ai", "aiortc"]
    assert all(finding.verdict is Verdict.OK for finding in found)


def test_a_version_that_is_not_supported_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0.99")
    _, pipecat, aiortc = variables.examine_versions()
    assert pipecat.verdict is aiortc.verdict is Verdict.BROKEN
    assert "install pipecat-ai" in pipecat.cure
