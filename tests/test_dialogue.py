from __future__ import annotations

import io

import pytest

from pipecat_whatsapp.commands.dialogue import Dialogue
from pipecat_whatsapp.errors import ConfigError


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_one_of_several_is_chosen_by_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "0\nthree\n3\n2\n")
    assert Dialogue().choose("number", "--number", [("one", "A"), ("two", "B")]) == "B"
    shown = capsys.readouterr().out
    assert "1  one" in shown
    assert "2  two" in shown


def test_the_only_one_is_chosen_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "")
    assert Dialogue().choose("number", "--number", [("one", "A")]) == "A"


def test_a_choice_that_nobody_makes_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "")
    with pytest.raises(ConfigError, match="give --number"):
        Dialogue().choose("number", "--number", [("one", "A"), ("two", "B")])


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_consent_nothing_goes_on(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, answer)
    with pytest.raises(ConfigError, match="--yes") as caught:
        Dialogue().demand("Replace it?")
    # Other steps may have changed much before.
    assert "Nothing was changed" not in str(caught.value)


def test_consent_is_given_at_the_terminal_or_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "y\n")
    Dialogue().demand("Replace it?")
    typed(monkeypatch, "")
    Dialogue(agrees=True).demand("Replace it?")
