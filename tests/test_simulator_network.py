from __future__ import annotations

import pytest

from pipecat_whatsapp.simulator.network import REORDER_DELAY, Network, NetworkConditions, Way


def plans(network: Network, count: int = 2000, way: Way = Way.TO_BUSINESS) -> list[list[float]]:
    return [network.plan(way) for _ in range(count)]


def test_a_perfect_line_passes_everything_at_once() -> None:
    assert plans(Network(), 100) == [[0.0]] * 100


def test_the_same_seed_gives_the_same_fates_and_another_one_others() -> None:
    bad = NetworkConditions(loss=0.1, delay=0.05, jitter=0.03, reorder=0.1, duplicate=0.1)
    assert plans(Network(bad, seed=7)) == plans(Network(bad, seed=7))
    assert plans(Network(bad, seed=7)) != plans(Network(bad, seed=8))


def test_the_two_directions_have_fates_of_their_own() -> None:
    network = Network(NetworkConditions(loss=0.5), seed=1)
    there = plans(network, 200, Way.TO_BUSINESS)
    assert there != plans(network, 200, Way.TO_PHONE)
    quiet = Network(NetworkConditions(loss=0.5), seed=1)
    plans(quiet, 50, Way.TO_PHONE)
    assert plans(quiet, 200, Way.TO_BUSINESS) == there


def test_shares_come_out_as_asked() -> None:
    conditions = NetworkConditions(loss=0.2, reorder=0.3, duplicate=0.4)
    arrived = [plan for plan in plans(Network(conditions), 10_000) if plan]
    assert 10_000 - len(arrived) == pytest.approx(2000, rel=0.1)
    assert sum(len(plan) == 2 for plan in arrived) == pytest.approx(3200, rel=0.1)
    assert sum(plan[0] == REORDER_DELAY for plan in arrived) == pytest.approx(2400, rel=0.1)


def test_delay_and_jitter_bound_the_arrival() -> None:
    delays = [d for plan in plans(Network(NetworkConditions(delay=0.1, jitter=0.04))) for d in plan]
    assert min(delays) == pytest.approx(0.1, abs=0.005)
    assert max(delays) == pytest.approx(0.14, abs=0.005)


def test_more_loss_loses_the_same_packets_and_more() -> None:
    little = plans(Network(NetworkConditions(loss=0.05), seed=3))
    much = plans(Network(NetworkConditions(loss=0.2), seed=3))
    assert all(not bad for good, bad in zip(little, much, strict=True) if not good)


def test_conditions_change_and_the_line_goes_down_while_in_use() -> None:
    network = Network()
    assert network.plan() == [0.0]
    network.down = True
    assert network.plan() == []
    network.down = False
    network.conditions = NetworkConditions(loss=1.0)
    assert plans(network, 50) == [[]] * 50


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.1}, {"reorder": -0.1}, {"duplicate": 2}, {"delay": -1}, {"jitter": -1}]
)
def test_impossible_conditions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NetworkConditions(**wrong)
