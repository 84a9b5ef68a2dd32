from __future__ import annotations

import pytest

from pipecat_whatsapp.calls.call import Call, CallReport
from pipecat_whatsapp.calls.observer import Observer, Observers
from pipecat_whatsapp.meta.events import Direction, User


class Notebook(Observer):
    def __init__(self) -> None:
        self.notes: list[tuple[object, ...]] = []

    def webhook(self, kind: str, result: str) -> None:
        self.notes.append(("webhook", kind, result))

    def graph_request(self, action: str, status: str, seconds: float) -> None:
        self.notes.append(("graph_request", action, status, seconds))

    def call_began(self, call: Call) -> None:
        self.notes.append(("call_began", call))

    def call_ended(self, report: CallReport) -> None:
        self.notes.append(("call_ended", report))

    def lag(self, seconds: float) -> None:
        self.notes.append(("lag", seconds))

    def capacity(self, max_calls: int | None) -> None:
        self.notes.append(("capacity", max_calls))


class Clumsy(Observer):
    def lag(self, seconds: float) -> None:
        raise OSError("no space left")


@pytest.fixture
def call() -> Call:
    return Call(call_id="c", phone_number_id="1", direction=Direction.INBOUND, user=User())


def tell_all(observer: Observer, call: Call) -> None:
    observer.webhook("connect", "served")
    observer.graph_request("accept", "200", 0.25)
    observer.call_began(call)
    observer.call_ended(call.report())
    observer.lag(0.003)
    observer.capacity(None)


def test_every_observer_is_told_everything(call: Call) -> None:
    first, second = Notebook(), Notebook()
    tell_all(Observers([first, Observers([second])]), call)
    assert first.notes == second.notes
    assert first.notes == [
        ("webhook", "connect", "served"),
        ("graph_request", "accept", "200", 0.25),
        ("call_began", call),
        ("call_ended", call.report()),
        ("lag", 0.003),
        ("capacity", None),
    ]


def test_what_an_observer_raises_harms_nobody(call: Call) -> None:
    notebook = Notebook()
    Observers([Clumsy(), notebook]).lag(0.1)
    assert notebook.notes == [("lag", 0.1)]


def test_an_observer_need_override_nothing(call: Call) -> None:
    tell_all(Observer(), call)
