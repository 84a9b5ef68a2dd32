"""Converts what a bot says to the rate of the call, without holding speech back.

pipecat's own stream resampler gives nothing for up to 70 ms and then all of it; this one, of PyAV,
holds about 16 samples back, for which silence is put in front, so that 20 ms stay 20 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph


def samples_of(frame: av.AudioFrame) -> bytes:
    """The 16-bit mono samples of a frame, without the padding that PyAV puts behind them."""
    return bytes(frame.planes[0])[: frame.samples * 2]


class Resampler:
    """Converts a stream of 16-bit PCM to mono of one rate.

    Args:
        sample_rate: Rate of the audio given back, Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._source = (0, 0)
        self._graph: Graph | None = None

    def resample(self, pcm: bytes, sample_rate: int, channels: int) -> bytes:
        """Convert the next piece of the stream.

        Args:
            pcm: 16-bit samples, channels interleaved.
            sample_rate: Its rate, Hz. Another rate than before begins a new stream.
            channels: 1 or 2.
        """
        layout = "stereo" if channels == 2 else "mono"
        is_new = self._graph is None or (sample_rate, channels) != self._source
        if self._graph is None or is_new:
            self._source = (sample_rate, channels)
            self._graph = _graph(sample_rate, layout, self._sample_rate)
        frame = av.AudioFrame("s16", layout, samples=len(pcm) // (2 * channels))
        frame.planes[0].update(pcm[: frame.samples * 2 * channels])
        frame.sample_rate = sample_rate
        self._graph.push(frame)
        converted = b"".join(map(samples_of, _pulled(self._graph)))
        whole = 2 * (frame.samples * self._sample_rate // sample_rate)
        return converted.rjust(whole, b"\0") if is_new else converted


def _graph(from_rate: int, layout: str, to_rate: int) -> Graph:
    """A filter as `av.AudioResampler` makes it, without a thread for every core."""
    graph = Graph()
    # Older PyAV cannot be told so.
    if hasattr(graph, "threads"):
        graph.threads = 1
    source = graph.add_abuffer(
        sample_rate=from_rate, format="s16", layout=layout, time_base=Fraction(1, from_rate)
    )
    wanted = graph.add(
        "aformat", sample_rates=str(to_rate), sample_fmts="s16", channel_layouts="mono"
    )
    sink = graph.add("abuffersink")
    source.link_to(wanted)
    wanted.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.AudioFrame]:
    """What comes out of a filter, until it wants more."""
    while True:
        try:
            frame = graph.pull()
        except BlockingIOError:
            return
        if isinstance(frame, av.AudioFrame):
            yield frame
