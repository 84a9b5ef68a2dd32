from __future__ import annotations

from itertools import groupby

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


def runs_of_loss(conditions: NetworkConditions, count: int) -> list[int]:
    lost = [not plan for plan in plans(Network(conditions, seed=4), count)]
    return [len(list(run)) for was_lost, run in groupby(lost) if was_lost]


@pytest.mark.parametrize("ratio", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_bursts_have_the_length_asked_for_and_the_loss_its_share(loss: float, ratio: float) -> None:
    runs = runs_of_loss(NetworkConditions(loss=loss, burst_ratio=ratio), 100_000)
    assert sum(runs) / 100_000 == pytest.approx(loss, rel=0.1)
    assert sum(runs) / len(runs) == pytest.approx(ratio / (1 - loss), rel=0.1)


def test_bursts_come_again_with_the_seed_and_leave_the_other_fates_alone() -> None:
    bad = NetworkConditions(loss=0.1, jitter=0.03, burst_ratio=4)
    bursts = plans(Network(bad, seed=7))
    assert bursts == plans(Network(bad, seed=7))
    spread = plans(Network(NetworkConditions(loss=0.1, jitter=0.03), seed=7))
    both = [(a, b) for a, b in zip(bursts, spread, strict=True) if a and b]
    assert len(both) > 1500
    assert all(a == b for a, b in both)


def test_each_direction_has_its_own_bursts() -> None:
    network = Network(NetworkConditions(loss=0.5, burst_ratio=10), seed=1)
    both = [(network.plan(Way.TO_BUSINESS), network.plan(Way.TO_PHONE)) for _ in range(500)]
    there = [plan for plan, _ in both]
    assert there == plans(Network(NetworkConditions(loss=0.5, burst_ratio=10), seed=1), 500)


def test_total_loss_is_total_from_the_first_packet_on() -> None:
    assert plans(Network(NetworkConditions(loss=1.0, burst_ratio=5)), 50) == [[]] * 50


def test_conditions_change_and_the_line_goes_down_while_in_use() -> None:
    network = Network()
    assert network.plan() == [0.0]
    network.down = True
    assert network.plan() == []
    network.down = False
    network.conditions = NetworkConditions(loss=1.0)
    assert plans(network, 50) == [[]] * 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.1},
        {"reorder": -0.1},
        {"duplicate": 2},
        {"delay": -1},
        {"jitter": -1},
        {"burst_ratio": 0.9},
    ],
)
def test_impossible_conditions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NetworkConditions(**wrong)
