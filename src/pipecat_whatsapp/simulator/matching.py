"""Finds a recorded sound in what a phone heard.

What was heard has been through Opus, perhaps at another level, with packets missing and two clocks
that are not quite alike, so that no two samples are the same. What lasts is how loud each part of
the spectrum is from moment to moment: that is compared. Another sentence of the same voice has the
same spectrum on the whole, but not from moment to moment.

The sound is looked for in pieces of a quarter of a second, one behind the other. A busy machine may
speak with longer pauses, so between two pieces there may be more time.

A machine that is busier still halts in the middle of words, and makes up for it in the next pause.
So where a sound is not found, it is looked for once more in the moments of sound alone, as if there
had been no pauses: neither those of the voice nor those of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipecat_whatsapp.simulator.picture import HOP, WINDOW, Numbers, moments_of_sound, picture
from pipecat_whatsapp.simulator.sound import RATE, SOUND_LEVEL

# Measured with the sounds of the demo and of the examples, all of one voice, through `OpusEncoder`
# and `Recording`. How alike a sound is to itself, and to the rest of what the voice says:
#
#                                                         itself         the rest
#   whole sounds, 10 % of packets lost and 12 dB quieter  0.80 or more   0.68 or less
#   whole sounds without pauses, 3 % lost, of a machine
#   that halts once a second, for 80 to 300 ms            0.71 or more   0.69 or less
#   pieces of 0.8 s, 10 % lost                            0.90 or more   0.65 or less in 95 of 100
#   pieces of 0.5 s, 5 % lost                             0.80 or more   0.76 or less in 95 of 100
#   pieces of 0.3 s, 2 % lost                             0.84 or more   0.81 or less in 95 of 100
#
# Pieces that are more alike than that are mostly words that two sounds have in common.
THRESHOLD = 0.73
"""Likeness from which on two sounds of a second or more are the same."""

SHORT_THRESHOLD = 0.83
"""The same for sounds of no length; in between, it is in between."""

PIECE_THRESHOLD = 0.35
"""Likeness that the first piece and the last one must have, and one of any two.

So all was said, but for a last syllable perhaps: a fifth that is missing is noticed.
"""

_PIECE = 25  # Moments of 10 ms; about so many.
_DRIFT = 2  # Moments that a piece may come early or late, at no cost.
_EARLY, _LATE = 10, 80  # Moments that it may at a cost: a pause was shorter, or longer.
_SHIFT_COST = 0.15  # Of the likeness that an average piece can have.
_STEADY = 2.0  # Variation for each moment below which nothing happens; that of speech is over 9.
_EDGE = RATE // 10
_NOWHERE = -9.0  # Less than any likeness.


@dataclass(frozen=True)
class Match:
    """Where a sound was found.

    Parameters:
        at: Where it begins, seconds since the beginning of what was heard.
        score: How alike the two are, 0 to 1.
        end: Where it ends, in the same seconds.
    """

    at: float
    score: float
    end: float


def find(heard: bytes, wanted: bytes) -> Match | None:
    """Find the first place where a sound was heard, from its beginning to its end.

    Silence around the sound that is wanted does not count.

    Args:
        heard: What was heard, PCM as `sound` has it.
        wanted: What is looked for, likewise.

    Returns:
        None where it was not heard.

    Raises:
        ValueError: Nothing but silence is wanted.
    """
    sound = _without_silence(_samples(wanted))
    pattern, lead = _pattern(sound)
    # Silence around, so that a sound that fills all that was heard has a place too.
    recording = picture(np.pad(_samples(heard), WINDOW + lead))
    threshold = float(np.interp(len(sound) / RATE, [0.0, 1.0], [SHORT_THRESHOLD, THRESHOLD]))
    everything = np.arange(recording.shape[1]), np.arange(pattern.shape[1])
    sounds = _with_edges(moments_of_sound(recording)), moments_of_sound(pattern)
    # A steady tone is told by the silence around it.
    for there, wanted_there in [everything] if lead else [everything, sounds]:
        place = _place(recording[:, there], pattern[:, wanted_there], threshold)
        if place is not None:
            first, last = int(there[place.first]), int(there[place.last])
            begin, end = max(0, first * HOP - WINDOW), last * HOP - 2 * lead
            return Match(begin / RATE, place.score, end / RATE)
    return None


def length_of(wanted: bytes) -> float:
    """How long a sound is without the silence around it, s.

    Raises:
        ValueError: It is all silence.
    """
    return len(_without_silence(_samples(wanted))) / RATE


def _with_edges(moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Some more at both ends, as a sound at an end may have lost some."""
    return np.pad(moments, _EARLY, mode="edge") if moments.size else moments


@dataclass(frozen=True)
class _Place:
    """Where a pattern lies: its first moment and its last one, and how alike the two are."""

    first: int
    last: int
    score: float


def _place(recording: Numbers, pattern: Numbers, threshold: float) -> _Place | None:
    """The first place in a recording where all of a pattern is."""
    if recording.shape[1] < pattern.shape[1]:
        return None
    chain = _Chain(recording, pattern)
    for end in _peaks(chain.scores, threshold, reach=pattern.shape[1] // 2):
        if chain.is_whole(end):
            first, last = chain.span(end)
            return _Place(first, last, min(1.0, float(chain.scores[end])))
    return None


class _Chain:
    """A pattern in pieces, and how well they lie in a recording, one behind the other.

    Args:
        recording: The picture of what was heard.
        pattern: The picture of what is looked for.

    Attributes:
        scores: For each place of the last piece, the likeness of the best chain that ends there.
    """

    def __init__(self, recording: Numbers, pattern: Numbers) -> None:
        moments = pattern.shape[1]
        self._count = max(1, round(moments / _PIECE))
        self._length = -(-moments // self._count)
        starts = np.linspace(0, moments - self._length, self._count)
        self._starts = starts.round().astype(int).tolist()
        pieces = np.stack([pattern[:, start : start + self._length] for start in self._starts])
        pieces = pieces - pieces.mean(axis=2, keepdims=True)
        variations = (pieces**2).sum(axis=(1, 2))
        self._weights = variations / variations.sum()
        self._likeness = _likeness(recording, pieces, variations)
        self._before: list[npt.NDArray[np.int64]] = []
        self.scores = self._walk()

    def places(self, end: int) -> list[int]:
        """The places of all pieces, where the last one is at a place."""
        places = [end]
        for before in reversed(self._before):
            places.append(int(before[places[-1]]))
        return places[::-1]

    def span(self, end: int) -> tuple[int, int]:
        """The first and the last moment of the pattern whose last piece is at a place."""
        return self.places(end)[0], end + self._length - 1

    def is_whole(self, end: int) -> bool:
        """Whether nothing is missing of the pattern whose last piece is at a place.

        A pause in the middle of a piece spoils it, but not the one behind it too. A piece in which
        next to nothing happens says nothing.
        """
        likeness = self._likeness[np.arange(self._count), self.places(end)]
        good = (likeness >= PIECE_THRESHOLD) | (self._weights < 1 / (4 * self._count))
        return bool(good[0] and good[-1] and (good[1:] | good[:-1]).all())

    def _walk(self) -> Numbers:
        """Lay one piece behind the other, as well as it goes."""
        best: Numbers = self._weights[0] * self._likeness[0]
        everywhere = np.arange(len(best))
        shifts = np.arange(_LATE, -_EARLY - 1, -1)
        costs = np.where(np.abs(shifts) > _DRIFT, _SHIFT_COST / self._count, 0.0)
        for piece in range(1, self._count):
            step = self._starts[piece] - self._starts[piece - 1]
            padded = np.pad(best, (step + _LATE, _EARLY), constant_values=_NOWHERE)
            windows = np.lib.stride_tricks.sliding_window_view(padded, len(shifts))
            choices = windows[: len(best)] - costs
            chosen = choices.argmax(axis=1)
            best = choices[everywhere, chosen] + self._weights[piece] * self._likeness[piece]
            self._before.append(everywhere - step - shifts[chosen])
        return best


def _samples(pcm: bytes) -> Numbers:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], np.int16).astype(np.float64)


def _without_silence(samples: Numbers) -> Numbers:
    (loud,) = np.nonzero(np.abs(samples) > SOUND_LEVEL)
    if not loud.size:
        raise ValueError("There is no sound to look for: it is all silence.")
    return samples[loud[0] : loud[-1] + 1]


def _pattern(sound: Numbers) -> tuple[Numbers, int]:
    """The picture of a sound, and how many samples of silence it has in front.

    All that a steady tone has are its beginning and its end, against silence.
    """
    pattern = picture(sound)
    variation = ((pattern - pattern.mean(axis=1, keepdims=True)) ** 2).sum()
    if variation < _STEADY * pattern.shape[1]:
        return picture(np.pad(sound, _EDGE)), _EDGE
    return pattern, 0


def _peaks(scores: Numbers, threshold: float, reach: int) -> Iterator[int]:
    """The best place of each stretch in which there are good ones, the first one first."""
    (good,) = np.nonzero(scores >= threshold)
    while good.size:
        first = int(good[0])
        yield first + int(np.argmax(scores[first : first + reach + 1]))
        good = good[good > first + reach]


def _likeness(recording: Numbers, pieces: Numbers, variations: Numbers) -> Numbers:
    """How alike each piece and the recording are at each place: their correlation.

    Args:
        recording: Rows by moments.
        pieces: Pieces by rows by moments; the mean of each row is 0.
        variations: How much happens in each piece: what it differs from its means, squared.
    """
    count, _, length = pieces.shape
    places = recording.shape[1] - length + 1
    products = np.zeros((places, count))
    for moment in range(length):
        products += recording[:, moment : moment + places].T @ pieces[:, :, moment].T
    sums, squares = _sums(recording, length), _sums(recording**2, length)
    there = (squares - sums**2 / length).sum(axis=0)
    # Where little happens, as in silence, noise would look like anything.
    least = variations.mean() / 4
    scale = np.maximum(variations, least)[:, None] * np.maximum(there, least)
    likeness: Numbers = products.T / np.sqrt(scale)
    return likeness


def _sums(rows: Numbers, length: int) -> Numbers:
    """The sums of each row over each stretch of a length."""
    totals = np.pad(np.cumsum(rows, axis=1), ((0, 0), (1, 0)))
    return totals[:, length:] - totals[:, :-length]
