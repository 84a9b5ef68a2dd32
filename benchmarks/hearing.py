"""What became of speech on its way into a pipeline: holes, concealment, delay, intelligibility.

All sound is 16-bit mono at 16000 Hz. What was heard is compared with the *original*, which is what
a decoder gives that gets every packet in time, so that the codec itself is not held against
anyone; only PESQ and STOI compare with what was said, before the codec.

What was heard may be shifted, and parts may be cut out of it. So short windows of the original are
looked for in all that came between the moment of their departure and `LONGEST_DELAY` later.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import numpy as np
from pesq import PesqError, pesq
from pystoi import stoi
from sounds import PACKET_SECONDS, Floats, Samples, find

from pipecat_whatsapp.simulator.sound import RATE

SLOT = round(RATE * PACKET_SECONDS)
WINDOW = 4 * SLOT
HOP = 2 * SLOT
LONGEST_DELAY = 1.5

SPEECH_LEVEL = 300
"""RMS from which 20 ms of the original are speech: -41 dBFS."""

SILENCE_LEVEL = 30
"""Peak below which 20 ms heard are (near) digital silence: -61 dBFS."""

SURE = 0.8
"""Correlation from which a window of the original is taken to be found."""

ALIKE = 0.5
"""Correlation below which 20 ms heard are concealment, and not what was said."""

LOOK_AHEAD = round(0.0065 * RATE)
"""By how much an Opus encoder (VoIP) delays what was said."""


@dataclass(frozen=True)
class Heard:
    """What a pipeline got.

    Parameters:
        samples: The sound.
        times: When each sample came, monotonic s: its frame's arrival, and its place in it.
    """

    samples: Samples
    times: Floats

    @classmethod
    def read(cls, path: Path) -> Heard:
        """Read what `Recorder` wrote: a JSON file, with the WAV file beside it."""
        recorded = json.loads(path.read_text())
        if recorded["rate"] not in (0, RATE):
            raise ValueError(f"{path} was recorded at {recorded['rate']} Hz, not at {RATE}")
        with wave.open(str(path.with_suffix(".wav")), "rb") as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        times = [at + np.arange(count) / RATE for at, count in recorded["arrivals"]]
        return cls(samples, np.concatenate([np.zeros(0), *times]))


@dataclass(frozen=True)
class Spoken:
    """What was sent.

    Parameters:
        said: Before the codec.
        original: What a decoder gives that gets every packet.
        start: Where the speech begins in both, in samples.
        end: Where it ends.
        departed_at: When the first sample's packet was due to leave, monotonic s.
    """

    said: Samples
    original: Samples
    start: int
    end: int
    departed_at: float

    def time_of(self, sample: int) -> float:
        """When a sample was due to leave, with its place in its packet; monotonic s."""
        return self.departed_at + sample / RATE


@dataclass(frozen=True)
class Verdict:
    """How well speech was heard.

    Parameters:
        spoken: How much was said, s.
        heard: How much the pipeline got in the time in which it was said, s.
        holes: The length of each hole in speech, ms.
        concealed: Share of the speech that was made up, 0 to 1.
        delays: Time in the speech, s, and delay from departure to arrival, ms.
        pesq: PESQ wideband (ITU-T P.862.2), 1 to 4.6.
        stoi: STOI, 0 to 1.
    """

    spoken: float
    heard: float
    holes: list[float]
    concealed: float
    delays: list[tuple[float, float]]
    pesq: float
    stoi: float

    @property
    def delay(self) -> float:
        """The median delay, ms; NaN if nothing was found again."""
        return statistics.median(delay for _, delay in self.delays) if self.delays else math.nan

    @property
    def growth(self) -> float:
        """Median delay of the last third of the speech minus that of the first third, ms."""
        first = [delay for at, delay in self.delays if at < self.spoken / 3]
        last = [delay for at, delay in self.delays if at > self.spoken * 2 / 3]
        return statistics.median(last) - statistics.median(first) if first and last else math.nan


Offsets: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
"""By how many samples what was heard is behind the original, for each window found; by place."""


class Fate(Enum):
    """What became of 20 ms of the original."""

    HEARD = "heard"
    CONCEALED = "concealed"
    SILENT = "silent"
    CUT_OUT = "cut out"
    NO_SPEECH = "was no speech"


def judge(spoken: Spoken, heard: Heard) -> Verdict:
    """Compare what was heard with what was spoken."""
    places = _find_windows(spoken, heard)
    before, after = _offsets(spoken, places)
    sounds, fates = zip(
        *(
            _follow(spoken, heard, at, int(earlier), int(later))
            for at, earlier, later in zip(_slots(spoken), before, after, strict=True)
        ),
        strict=True,
    )
    aligned = np.concatenate(sounds)
    said = spoken.said[spoken.start - LOOK_AHEAD :][: len(aligned)]
    return Verdict(
        spoken=(spoken.end - spoken.start) / RATE,
        heard=_seconds_in_time(spoken, heard),
        holes=_holes(fates),
        concealed=fates.count(Fate.CONCEALED) / (len(fates) - fates.count(Fate.NO_SPEECH)),
        delays=[
            (
                (at - spoken.start) / RATE,
                1000 * (float(heard.times[place]) - spoken.time_of(at)),
            )
            for at, place in places.items()
        ],
        pesq=_pesq(said, aligned),
        stoi=float(stoi(said, aligned, RATE)) if aligned.any() else 0.0,
    )


def _find_windows(spoken: Spoken, heard: Heard) -> dict[int, int]:
    """Where windows of the original, by their place in it, were found in what was heard."""
    places: dict[int, int] = {}
    for at in range(spoken.start, spoken.end - WINDOW, HOP):
        window = spoken.original[at : at + WINDOW]
        if not all(_is_speech(window[i : i + SLOT]) for i in range(0, WINDOW, SLOT)):
            continue
        left = spoken.time_of(at)
        first, last = np.searchsorted(heard.times, (left - 0.005, left + LONGEST_DELAY))
        place, likeness = find(window, heard.samples[first : last + WINDOW])
        if likeness >= SURE:
            places[at] = int(first) + place
    return places


def _slots(spoken: Spoken) -> range:
    return range(spoken.start, spoken.end - SLOT + 1, SLOT)


def _offsets(spoken: Spoken, places: dict[int, int]) -> tuple[Offsets, Offsets]:
    """For each 20 ms the offset of the last window found, and of the next one."""
    known = np.array(list(places) or [0])
    offsets = np.array([place - at for at, place in places.items()] or [0])
    after = np.searchsorted(known, _slots(spoken))
    last = len(known) - 1
    return offsets[np.maximum(after - 1, 0)], offsets[np.minimum(after, last)]


def _follow(spoken: Spoken, heard: Heard, at: int, before: int, after: int) -> tuple[Samples, Fate]:
    """What was heard of 20 ms of the original, and what became of them."""
    original = spoken.original[at : at + SLOT]
    sounds = [_cut(heard, at + offset) for offset in (before, after)]
    sound, likeness = max(((s, find(original, s)[1]) for s in sounds), key=lambda pair: pair[1])
    fate = Fate.HEARD
    if likeness < ALIKE and before - after >= SLOT:
        # Later windows moved forward: something before them was cut out.
        sound, fate = np.zeros_like(original), Fate.CUT_OUT
    elif likeness < ALIKE:
        sound, fate = sounds[0], Fate.SILENT if _is_silent(sounds[0]) else Fate.CONCEALED
    return sound, fate if _is_speech(original) else Fate.NO_SPEECH


def _cut(heard: Heard, start: int) -> Samples:
    """20 ms of what was heard; silence where there was nothing."""
    sound = heard.samples[max(0, start) : max(0, start + SLOT)]
    return np.pad(sound, (0, SLOT - len(sound)))


def _holes(fates: Sequence[Fate]) -> list[float]:
    """The length of each run of silence and of missing sound, ms."""
    missing = (fate in (Fate.SILENT, Fate.CUT_OUT) for fate in fates)
    runs = ((gone, len(list(run))) for gone, run in itertools.groupby(missing))
    return [1000 * PACKET_SECONDS * length for gone, length in runs if gone]


def _seconds_in_time(spoken: Spoken, heard: Heard) -> float:
    """What came in the time of the speech, a little later as far as it was delayed."""
    shift = 0.2
    start, end = (spoken.time_of(sample) + shift for sample in (spoken.start, spoken.end))
    first, last = np.searchsorted(heard.times, (start, end))
    return float(last - first) / RATE


def _is_speech(samples: Samples) -> bool:
    return math.sqrt(float(np.mean(samples.astype(np.float64) ** 2))) >= SPEECH_LEVEL


def _pesq(said: Samples, heard: Samples) -> float:
    try:
        return float(pesq(RATE, said, heard, "wb"))
    except PesqError:
        # It found nothing that it could take for speech.
        return 1.0


def _is_silent(samples: Samples) -> bool:
    return bool(np.abs(samples.astype(np.int32)).max() < SILENCE_LEVEL)
