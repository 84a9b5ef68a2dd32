"""Converts what a bot says to the rate of the call, without holding speech back.

pipecat's own stream resampler gives nothing for up to 70 ms and then all of it; this one, of PyAV,
holds about 16 samples back, for which silence is put in front, so that 20 ms stay 20 ms.
"""

from __future__ import annotations

import av


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
        self._resampler = av.AudioResampler("s16", "mono", sample_rate)

    def resample(self, pcm: bytes, sample_rate: int, channels: int) -> bytes:
        """Convert the next piece of the stream.

        Args:
            pcm: 16-bit samples, channels interleaved.
            sample_rate: Its rate, Hz. Another rate than before begins a new stream.
            channels: 1 or 2.
        """
        is_new = (sample_rate, channels) != self._source
        if is_new:
            self._source = (sample_rate, channels)
            self._resampler = av.AudioResampler("s16", "mono", self._sample_rate)
        layout = "stereo" if channels == 2 else "mono"
        frame = av.AudioFrame("s16", layout, samples=len(pcm) // (2 * channels))
        frame.planes[0].update(pcm[: frame.samples * 2 * channels])
        frame.sample_rate = sample_rate
        converted = b"".join(map(samples_of, self._resampler.resample(frame)))
        whole = 2 * (frame.samples * self._sample_rate // sample_rate)
        return converted.rjust(whole, b"\0") if is_new else converted
