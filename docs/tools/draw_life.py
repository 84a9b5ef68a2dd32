"""Draws the life of a call as two pictures, row by row from the table that is its law.

`make docs` runs it. The pictures are kept beside the page, which is read without the site, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

from pipecat_whatsapp.calls.law import (
    INBOUND_PREPARATIONS,
    OUTBOUND_PREPARATIONS,
    TABLE,
    Action,
    Signal,
    State,
)

FOLDER = Path(__file__).parent.parent

BOX_LEFT, BOX_RIGHT = 270, 440
BAR_LEFT, BAR_RIGHT = 830, 874
WIDTH = 890
TOP = 56
ROW = 30
"""Height of one way to the end."""
GAP = 54
"""Height between two states."""
LANE, LANES_APART = 30, 110
"""How far from the states those lines run that pass others by, and from each other."""

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.state { font-weight: 600; text-anchor: middle; }
.left { text-anchor: end; }
.box { fill: #e6f4ea; stroke: #1a7f37; }
.end { fill: #eceff1; stroke: #57606a; }
.line { fill: none; stroke: #57606a; marker-end: url(#tip); }
#tip path { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .box { fill: #12361f; stroke: #3fb950; }
  .end { fill: #2d333b; stroke: #9198a1; }
  .line { stroke: #9198a1; }
  #tip path { fill: #9198a1; }
}"""


@dataclass(frozen=True)
class Life:
    """One of the two lives that a call can have.

    Parameters:
        name: What the picture's file is called after.
        title: What the picture shows.
        beginning: What the call begins with.
        states: The states that it goes through, from the top to the bottom, but for the end.
        preparations: What "prepared" stands for.
    """

    name: str
    title: str
    beginning: str
    states: tuple[State, ...]
    preparations: frozenset[Signal]

    @property
    def path(self) -> Path:
        """Where the picture is kept."""
        return FOLDER / f"life-of-a-call-{self.name}.svg"


LIVES = (
    Life(
        name="inbound",
        title="A user calls us",
        beginning="Meta's connect webhook",
        states=(State.RINGING, State.CONNECTING, State.ACCEPTING, State.ACTIVE, State.WITHDRAWN),
        preparations=INBOUND_PREPARATIONS,
    ),
    Life(
        name="outbound",
        title="We call a user",
        beginning="adapter.call()",
        states=(
            State.OFFERING,
            State.DIALLING,
            State.CALLING,
            State.ALERTING,
            State.PICKED_UP,
            State.ACTIVE,
            State.WITHDRAWN,
        ),
        preparations=OUTBOUND_PREPARATIONS,
    ),
)


@dataclass(frozen=True)
class Way:
    """One or more rows of the table: from a state to a state, with the same actions.

    Parameters:
        source: Where it begins.
        target: Where it leads.
        words: What must happen, and what is then done.
    """

    source: State
    target: State
    words: str


def ways(life: Life) -> list[Way]:
    """The rows of the table that begin in the states of a life."""
    rows: dict[tuple[State, State, tuple[Action, ...]], list[Signal]] = {}
    for (state, signal), (target, actions) in TABLE.items():
        if state in life.states:
            rows.setdefault((state, target, actions), []).append(signal)
    return [
        Way(source, target, _words(life, signals, actions))
        for (source, target, actions), signals in rows.items()
    ]


def draw(life: Life) -> str:
    """The picture of a life."""
    found = ways(life)
    tops = dict(zip(life.states, _tops(life, found), strict=True))
    heights = {state: _height(state, found) for state in life.states}
    bottom = tops[life.states[-1]] + heights[life.states[-1]]
    parts = [
        *_beginning(life),
        *_end(bottom),
        *(part for state in life.states for part in _state(state, tops, heights, found)),
        *_exits(tops, found),
        *_steps(life, tops, heights, found),
        *_detours(life, tops, heights, found),
    ]
    size = f'viewBox="0 0 {WIDTH} {bottom + 16}" width="{WIDTH}" height="{bottom + 16}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(life.title)}: the states of a call</title>",
            f"<style>{STYLE}</style>",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto"><path d="M0 0 8 4 0 8z"/></marker>',
            *parts,
            "</svg>\n",
        ]
    )


def _words(life: Life, signals: Sequence[Signal], actions: Sequence[Action]) -> str:
    happened = [_name(life, signal) for signal in signals]
    done = [str(action.value) for action in actions]
    return ": ".join(", ".join(words) for words in (happened, done) if words)


def _name(life: Life, signal: Signal) -> str:
    if signal is not Signal.PREPARED:
        return str(signal.value)
    return " + ".join(each.value for each in Signal if each in life.preparations)


def _height(state: State, found: Sequence[Way]) -> int:
    exits = sum(way.source is state and way.target is State.ENDED for way in found)
    loops = sum(way.source is state and way.target is state for way in found)
    return max(exits * ROW, 30 + 18 * loops) + 12


def _tops(life: Life, found: Sequence[Way]) -> Iterator[int]:
    top = TOP
    for state in life.states:
        yield top
        top += _height(state, found) + GAP


def _beginning(life: Life) -> Iterator[str]:
    middle = (BOX_LEFT + BOX_RIGHT) // 2
    yield _line(f"M{middle} 14V{TOP - 2}")
    yield _text(middle + 10, 30, life.beginning)


def _end(bottom: int) -> Iterator[str]:
    x, y = (BAR_LEFT + BAR_RIGHT) // 2, (TOP + bottom) // 2
    yield (
        f'<rect class="end" x="{BAR_LEFT}" y="{TOP}" width="{BAR_RIGHT - BAR_LEFT}" '
        f'height="{bottom - TOP}" rx="6"/>'
    )
    yield (
        f'<text class="state" x="{x}" y="{y}" transform="rotate(90 {x} {y})" dy="4">'
        f"{State.ENDED.value}</text>"
    )


def _state(
    state: State, tops: dict[State, int], heights: dict[State, int], found: Sequence[Way]
) -> Iterator[str]:
    """A state's box, with what happens to a call without leading it out of the state."""
    yield (
        f'<rect class="box" x="{BOX_LEFT}" y="{tops[state]}" width="{BOX_RIGHT - BOX_LEFT}" '
        f'height="{heights[state]}" rx="6"/>'
    )
    loops = [way.words for way in found if way.source is state and way.target is state]
    middle = (BOX_LEFT + BOX_RIGHT) // 2
    y = tops[state] + heights[state] // 2 + 5 - 9 * len(loops)
    yield _text(middle, y, state.value, "state")
    for number, words in enumerate(loops, 1):
        yield f'<g style="text-anchor: middle">{_text(middle, y + 18 * number, words)}</g>'


def _exits(tops: dict[State, int], found: Sequence[Way]) -> Iterator[str]:
    """The ways to the end, to the right."""
    number: dict[State, int] = {}
    for way in found:
        if way.target is State.ENDED:
            number[way.source] = number.get(way.source, 0) + 1
            y = tops[way.source] + ROW * number[way.source]
            yield _line(f"M{BOX_RIGHT} {y}H{BAR_LEFT - 1}")
            yield _text(BOX_RIGHT + 12, y - 6, way.words)


def _steps(
    life: Life, tops: dict[State, int], heights: dict[State, int], found: Sequence[Way]
) -> Iterator[str]:
    """The ways from a state to the one below it."""
    middle = (BOX_LEFT + BOX_RIGHT) // 2
    for way in found:
        if _distance(life, way) == 1:
            top = tops[way.source] + heights[way.source]
            yield _line(f"M{middle} {top}V{tops[way.target] - 2}")
            yield _text(middle + 10, top + GAP // 2 + 4, way.words)


def _detours(
    life: Life, tops: dict[State, int], heights: dict[State, int], found: Sequence[Way]
) -> Iterator[str]:
    """The ways past other states, to the left; the longest is the outermost."""
    passing = [way for way in found if _distance(life, way) > 1]
    for number, way in enumerate(sorted(passing, key=partial(_distance, life))):
        x = BOX_LEFT - LANE - LANES_APART * number
        start = tops[way.source] + heights[way.source] // 2
        stop = tops[way.target] + heights[way.target] // 2
        yield _line(f"M{BOX_LEFT} {start}H{x}V{stop}H{BOX_LEFT - 2}")
        yield _text(x - 8, (start + stop) // 2, way.words, "left")


def _distance(life: Life, way: Way) -> int:
    """How many states further down a way leads; 0 for the end."""
    if way.target is State.ENDED:
        return 0
    return life.states.index(way.target) - life.states.index(way.source)


def _line(path: str) -> str:
    return f'<path class="line" d="{path}"/>'


def _text(x: int, y: int, words: str, kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x}" y="{y}">{escape(words)}</text>'


if __name__ == "__main__":
    for each in LIVES:
        each.path.write_text(draw(each), encoding="utf-8")
