"""Who lives, who is dead, and who gets the next call; time is moved by hand."""

from __future__ import annotations

import pytest

from pipecat_whatsapp.calls.directory import Peer, Standing
from pipecat_whatsapp.calls.neighbours import (
    BALANCE,
    BEAT_SECONDS,
    DEAD_SECONDS,
    FRESH_SECONDS,
    Neighbours,
)

FREE = Standing(room=10)
FULL = Standing(room=0)


class Town:
    """Processes that beat, and one of them, "me", that looks at the others.

    Args:
        others: How the others stand.
    """

    def __init__(self, **others: Standing) -> None:
        self.now = 1_000.0
        self.standings = {"me": FREE, **others}
        self.beats = dict.fromkeys(self.standings, 1)
        self.silent: set[str] = set()
        self.neighbours = Neighbours("me")
        self.look()

    def look(self) -> None:
        peers = [Peer(name, self.beats[name], told) for name, told in self.standings.items()]
        self.neighbours.see(peers, self.now)

    def wait(self, seconds: float, *, looking: bool = True) -> None:
        """Let all but the silent ones beat."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + BEAT_SECONDS, end)
            for name in self.standings.keys() - self.silent:
                self.beats[name] += 1
            if looking:
                self.look()

    @property
    def dead(self) -> list[str]:
        return [peer.name for peer in self.neighbours.dead(self.now)]

    def place(self, own: Standing = FULL, region: str | None = None) -> str | None:
        return self.neighbours.place(own, region, self.now)

    def places(self, own: Standing = FULL, region: str | None = None) -> set[str | None]:
        """Where many calls would go of which each is the only one."""
        return {self.place(own, region) for _ in range(200)}


def test_who_beats_is_never_dead() -> None:
    town = Town(a=FREE, b=FULL)
    town.wait(10 * DEAD_SECONDS)
    assert town.dead == []


def test_who_is_silent_for_long_is_dead() -> None:
    town = Town(a=FREE, b=FREE)
    town.silent = {"a"}
    town.wait(DEAD_SECONDS - 1)
    assert town.dead == []
    town.wait(1)
    assert town.dead == ["a"]


def test_who_beats_again_is_alive_again() -> None:
    town = Town(a=FREE)
    town.silent = {"a"}
    town.wait(DEAD_SECONDS)
    assert town.dead == ["a"]
    town.silent = set()
    town.wait(BEAT_SECONDS)
    assert town.dead == []
    assert town.place() == "a"


def test_a_process_does_not_judge_itself() -> None:
    town = Town(a=FREE)
    town.silent = {"me", "a"}
    town.wait(2 * DEAD_SECONDS)
    assert town.dead == ["a"]
    assert town.neighbours.names() == ["a"]


@pytest.mark.parametrize("away", [FRESH_SECONDS, DEAD_SECONDS, 3600.0])
def test_who_was_away_judges_nobody(away: float) -> None:
    town = Town(a=FREE)
    town.silent = {"a"}
    town.wait(DEAD_SECONDS - 1)
    town.wait(away, looking=False)
    assert town.dead == []
    town.look()
    assert town.dead == []


def test_who_was_away_judges_again_after_a_while() -> None:
    town = Town(a=FREE, b=FREE)
    town.silent = {"a"}
    town.wait(3600, looking=False)
    town.look()
    town.wait(DEAD_SECONDS - 1)
    assert town.dead == []
    town.wait(1)
    assert town.dead == ["a"]


def test_a_look_that_comes_a_little_late_postpones_nothing() -> None:
    town = Town(a=FREE)
    town.silent = {"a"}
    for _ in range(5):
        town.wait(2 * BEAT_SECONDS, looking=False)
        town.look()
    assert town.dead == ["a"]


def test_a_newcomer_counts_from_when_it_was_first_seen() -> None:
    town = Town()
    town.wait(100)
    town.standings["a"], town.beats["a"] = FREE, 7
    town.silent = {"a"}
    town.look()
    assert town.place() == "a"
    town.wait(DEAD_SECONDS - 1)
    assert town.dead == []
    town.wait(1)
    assert town.dead == ["a"]


def test_beats_that_begin_anew_are_signs_of_life() -> None:
    """A directory that lost its memory counts from one again."""
    town = Town(a=FREE)
    town.wait(100)
    town.beats = dict.fromkeys(town.beats, 0)
    town.wait(DEAD_SECONDS)
    assert town.dead == []
    assert town.place() == "a"


def test_who_left_is_neither_dead_nor_there() -> None:
    town = Town(a=FREE)
    town.silent = {"a"}
    town.wait(DEAD_SECONDS)
    del town.standings["a"]
    town.look()
    assert town.dead == []
    assert town.neighbours.named("a") is None
    assert town.place() is None


def test_a_process_that_was_forgotten_is_gone() -> None:
    town = Town(a=FREE)
    peer = town.neighbours.named("a")
    assert peer is not None
    assert peer.standing == FREE
    town.neighbours.forget("a")
    town.neighbours.forget("a")
    town.neighbours.handed("a")
    assert town.neighbours.named("a") is None
    assert town.neighbours.names() == []
    assert town.place() is None


def test_who_was_not_heard_of_for_a_moment_gets_no_call() -> None:
    town = Town(a=FREE)
    town.silent = {"a"}
    town.wait(FRESH_SECONDS - 1)
    assert town.place() == "a"
    town.wait(1)
    assert town.place() is None
    assert not town.neighbours.with_room("", town.now)


def test_nobody_gets_a_call_from_who_has_not_looked_for_a_moment() -> None:
    town = Town(a=FREE)
    town.wait(FRESH_SECONDS, looking=False)
    assert town.place() is None


def test_a_call_stays_where_it_came_when_nobody_is_there() -> None:
    town = Town()
    assert town.place(FREE) is None
    assert town.place(FULL) is None


def test_a_full_process_hands_a_call_to_one_with_room() -> None:
    assert Town(a=FULL, b=FREE).places() == {"b"}


def test_no_limit_is_room() -> None:
    town = Town(a=Standing(calls=1000, room=None))
    assert town.place(FULL) == "a"
    assert town.place(Standing(calls=1000, room=None)) is None
    assert town.place(Standing(calls=1000 + BALANCE, room=None)) == "a"


def test_nobody_has_room_but_oneself() -> None:
    assert Town(a=FULL).place(Standing(calls=50, room=1)) is None


@pytest.mark.parametrize(
    ("own", "place"), [(7, None), (7 + BALANCE - 1, None), (7 + BALANCE, "a"), (100, "a")]
)
def test_a_call_moves_to_who_is_much_less_busy(own: int, place: str | None) -> None:
    town = Town(a=Standing(calls=7, room=1), b=Standing(calls=8, room=50))
    assert town.places(Standing(calls=own, room=5)) == {place}


def test_the_least_busy_one_gets_the_call() -> None:
    town = Town(a=Standing(calls=3, room=1), b=Standing(calls=1, room=1), c=FULL)
    assert town.places() == {"b"}


def test_each_of_several_that_are_alike_is_chosen_sometimes() -> None:
    town = Town(a=FREE, b=FREE, c=FREE, d=Standing(calls=1, room=9))
    assert town.places() == {"a", "b", "c"}


def test_handed_calls_count_until_the_next_beat() -> None:
    town = Town(a=Standing(room=2), b=Standing(calls=5, room=5))
    town.neighbours.handed("a")
    assert town.place() == "a"
    town.neighbours.handed("a")
    assert town.place() == "b"
    # It was looked at again, but has not told anything new.
    town.silent = {"a"}
    town.wait(BEAT_SECONDS)
    assert town.place() == "b"
    town.silent = set()
    town.wait(BEAT_SECONDS)
    assert town.place() == "a"


def test_many_calls_at_once_are_spread() -> None:
    town = Town(a=Standing(room=None), b=Standing(room=None), c=Standing(room=None))
    taken = {"a": 0, "b": 0, "c": 0}
    for _ in range(30):
        place = town.place()
        assert place is not None
        town.neighbours.handed(place)
        taken[place] += 1
    assert taken == {"a": 10, "b": 10, "c": 10}


def eu(calls: int = 0, room: int | None = 10) -> Standing:
    return Standing(calls=calls, room=room, region="eu")


def us(calls: int = 0, room: int | None = 10) -> Standing:
    return Standing(calls=calls, room=room, region="us")


@pytest.mark.parametrize(
    ("own", "region", "place"),
    [
        # Here, and there is room here.
        (eu(calls=1), "eu", None),
        (eu(calls=1), None, None),
        (eu(calls=1), "", None),
        # However much less busy the other region is.
        (eu(calls=6), "eu", None),
        (eu(calls=7), "eu", "europe"),
        (eu(room=0), "eu", "europe"),
        (eu(room=0), None, "europe"),
        # Elsewhere, however busy it is there.
        (eu(), "us", "america"),
        (us(), "eu", "europe"),
        (eu(room=0), "us", "america"),
        # Where nobody is: near by.
        (eu(), "asia", None),
        (eu(calls=50), "asia", None),
        (eu(room=0), "asia", "america"),
    ],
)
def test_the_region_comes_before_the_balance(
    own: Standing, region: str | None, place: str | None
) -> None:
    town = Town(europe=eu(calls=5), america=us(calls=2))
    assert town.places(own, region) == {place}


def test_room_comes_before_the_region() -> None:
    town = Town(europe=eu(room=0), america=us())
    assert town.place(eu(room=0), "eu") == "america"
    assert town.place(us(), "eu") is None
    town = Town(europe=eu(), america=us(room=0))
    assert town.place(eu(), "us") is None
    assert town.place(us(room=0), "us") == "europe"


def test_without_regions_all_are_near() -> None:
    assert Town(a=FREE).place(FULL, None) == "a"
    assert Town(a=FREE).place(Standing(calls=2, room=5), None) == "a"


@pytest.mark.parametrize(
    ("other", "has_room"),
    [
        (Standing(room=1, host="one"), True),
        (Standing(room=None, host="one"), True),
        (Standing(room=0, host="one"), False),
        (Standing(room=1, host="two"), False),
    ],
)
def test_a_neighbour_with_room_is_one_on_the_same_machine(other: Standing, has_room: bool) -> None:
    assert Town(a=other).neighbours.with_room("one", 1_000.0) is has_room


@pytest.mark.parametrize("clock", [-1e9, 0.0, 1e9])
def test_only_what_has_passed_counts_not_what_the_clock_shows(clock: float) -> None:
    neighbours = Neighbours("me")
    for second in range(int(DEAD_SECONDS) + 1):
        neighbours.see([Peer("a", 1, FREE), Peer("b", second, FREE)], clock + second)
    assert [peer.name for peer in neighbours.dead(clock + DEAD_SECONDS)] == ["a"]
