from __future__ import annotations

import pytest

from pipecat_whatsapp.media.effort import BUSY, IDLE, EffortControl


class Machine:
    """A thread whose load is set by hand."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.busy = 0.0

    def run(self, control: EffortControl, share: float, seconds: int) -> None:
        for _ in range(seconds):
            self.wall += 1.0
            self.busy += share
            control.update()


def new_control(max_complexity: int = 9) -> tuple[EffortControl, Machine]:
    machine = Machine()
    control = EffortControl(max_complexity, wall=lambda: machine.wall, busy=lambda: machine.busy)
    return control, machine


def test_an_idle_machine_codes_as_well_as_it_may() -> None:
    control, machine = new_control()
    machine.run(control, 0.1, 10)
    assert control.complexity == 9


def test_a_busy_one_spends_less_step_by_step() -> None:
    control, machine = new_control()
    seen = []
    for _ in range(4):
        machine.run(control, BUSY + 0.1, 1)
        seen.append(control.complexity)
    assert seen == [5, 1, 1, 1]


def test_in_between_nothing_changes() -> None:
    control, machine = new_control()
    machine.run(control, BUSY + 0.1, 1)
    machine.run(control, (BUSY + IDLE) / 2, 20)
    assert control.complexity == 5


def test_it_recovers_when_calls_end() -> None:
    control, machine = new_control()
    machine.run(control, 1.0, 5)
    machine.run(control, IDLE - 0.1, 5)
    assert control.complexity == 9


@pytest.mark.parametrize("most", range(11))
def test_it_never_exceeds_what_was_asked_for(most: int) -> None:
    control, machine = new_control(most)
    assert control.complexity == most
    for share in (1.0, 0.0, 1.0, 0.0, 0.0, 0.0):
        machine.run(control, share, 1)
        assert control.complexity <= most
    assert control.complexity == most
