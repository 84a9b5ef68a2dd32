"""Opus, straight at the pipeline's rate: libopus codes 8 to 48 kHz itself, without a resampler.

PyAV's wheel, which aiortc needs anyway, carries libopus but opens neither its in-band FEC nor its
packet loss concealment. So libopus is called here by ctypes; where it cannot be found, PyAV's own
codecs serve (`opus_pyav.py`), without either.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import av
from loguru import logger

from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.opus_packet import MAX_PACKET_TICKS, RTP_CLOCK_RATE

SAMPLE_RATES = (8000, 12000, 16000, 24000, 48000)
"""The rates that Opus codes without resampling, Hz (RFC 6716 section 2)."""

MAX_PACKET_BYTES = 1275
"""The largest Opus frame (RFC 6716 section 3.4)."""

DEFAULT_BITRATE = 24_000
DEFAULT_COMPLEXITY = 9

# Names and numbers of opus_defines.h.
_APPLICATION_VOIP = 2048
_SET_BITRATE = 4002
_SET_MAX_BANDWIDTH = 4004
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_SET_DTX = 4016
_BANDWIDTHS = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104), (48000, 1105))


class Encoder(Protocol):
    """Codes 20 ms of mono at a time, 16-bit PCM."""

    def encode(self, pcm: bytes) -> bytes:
        """Code 20 ms as one packet. A packet of 1 or 2 bytes need not be sent (DTX)."""

    def adapt(self, *, bitrate: int, expected_loss: float) -> None:
        """Follow the network: bit/s, and the share of packets lost, 0 to 1."""

    def set_complexity(self, complexity: int) -> None:
        """Spend so much effort, 0 (cheap) to 10 (best)."""

    def set_max_playback_rate(self, sample_rate: int) -> None:
        """Code nothing above what the far end can play, Hz (RFC 7587 section 6.1)."""


class Decoder(Protocol):
    """Decodes to mono, 16-bit PCM."""

    def decode(self, packet: bytes) -> bytes:
        """Decode a packet.

        Raises:
            ValueError: It is not Opus.
        """

    def recover(self, next_packet: bytes, ticks: int) -> bytes:
        """Decode a lost packet from the one that follows it, as far as that one has FEC.

        Args:
            next_packet: The packet after the lost one.
            ticks: Length of the lost packet, in RTP clock units.
        """

    def conceal(self, ticks: int) -> bytes:
        """Make something up for a lost packet of that length, in RTP clock units."""


def create_encoder(
    sample_rate: int,
    *,
    bitrate: int = DEFAULT_BITRATE,
    complexity: int = DEFAULT_COMPLEXITY,
    expected_loss: float = 0.0,
    dtx: bool = False,
) -> Encoder:
    """Create an encoder for speech: VoIP mode, mono, 20 ms.

    Args:
        sample_rate: Rate of the audio given, Hz, one of `SAMPLE_RATES`.
        bitrate: Bit/s, on average.
        complexity: 0 (cheap) to 10 (best).
        expected_loss: Share of packets lost, 0 to 1; in-band FEC is added from 1 % on.
        dtx: Whether silence is coded as packets that need not be sent.

    Raises:
        ConfigError: Opus cannot code the sample rate.
    """
    check_sample_rate(sample_rate, "audio_out_sample_rate")
    library = find_library()
    if library is None:
        from pipecat_whatsapp.media.opus_pyav import PyAVEncoder

        return PyAVEncoder(sample_rate, bitrate=bitrate, complexity=complexity)
    encoder = _LibopusEncoder(library, sample_rate)
    encoder.set_complexity(complexity)
    encoder.control(_SET_DTX, int(dtx))
    encoder.adapt(bitrate=bitrate, expected_loss=expected_loss)
    return encoder


def create_decoder(sample_rate: int) -> Decoder:
    """Create a decoder.

    Args:
        sample_rate: Rate of the audio wanted, Hz, one of `SAMPLE_RATES`.

    Raises:
        ConfigError: Opus cannot decode to the sample rate.
    """
    check_sample_rate(sample_rate, "audio_in_sample_rate")
    library = find_library()
    if library is None:
        from pipecat_whatsapp.media.opus_pyav import PyAVDecoder

        return PyAVDecoder(sample_rate)
    return _LibopusDecoder(library, sample_rate)


def check_sample_rate(sample_rate: int, parameter: str) -> None:
    """Check that Opus can code at a rate.

    Args:
        sample_rate: Hz.
        parameter: The field of `WhatsAppParams` that sets it.

    Raises:
        ConfigError: It cannot.
    """
    if sample_rate not in SAMPLE_RATES:
        raise ConfigError(
            f"Opus cannot code audio at {sample_rate} Hz: set "
            f"WhatsAppParams({parameter}=...) to one of {SAMPLE_RATES}."
        )


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """Find libopus: in PyAV's wheel, else the system's. Warns once when there is none."""
    for path in _candidates():
        try:
            return _declare(ctypes.CDLL(path))
        except (OSError, AttributeError):
            continue
    logger.warning(
        "libopus was found neither in PyAV's wheel nor on this system, so lost packets can be "
        "neither recovered nor concealed: install it (Debian: libopus0, Homebrew: opus)."
    )
    return None


def _candidates() -> Iterator[str]:
    package = Path(av.__file__).parent
    # Where delvewheel and auditwheel, and delocate, put what a wheel needs.
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        for pattern in ("libopus[-.]*", "opus*.dll"):
            yield from map(str, sorted(folder.glob(pattern)))
    if system := ctypes.util.find_library("opus"):
        yield system


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    library.opus_strerror.restype = text
    for create in (library.opus_encoder_create, library.opus_decoder_create):
        create.restype = pointer
    library.opus_encoder_create.argtypes = [number, number, number, pointer]
    library.opus_decoder_create.argtypes = [number, number, pointer]
    library.opus_encoder_destroy.argtypes = library.opus_decoder_destroy.argtypes = [pointer]
    library.opus_encode.argtypes = [pointer, text, number, pointer, number]
    library.opus_decode.argtypes = [pointer, text, number, pointer, number, number]
    # Variadic: the value comes on top, which some platforms pass differently.
    library.opus_encoder_ctl.argtypes = [pointer, number]
    return library


def _bandwidth(max_playback_rate: int) -> int:
    return next((band for rate, band in _BANDWIDTHS if rate >= max_playback_rate), 1105)


def _check(library: ctypes.CDLL, code: int) -> None:
    """Raise a ValueError for what libopus answers when something is wrong."""
    if code < 0:
        raise ValueError(library.opus_strerror(code).decode())


class _LibopusEncoder:
    def __init__(self, library: ctypes.CDLL, sample_rate: int) -> None:
        self._library = library
        self._samples = sample_rate // 50
        self._packet = ctypes.create_string_buffer(MAX_PACKET_BYTES)
        error = ctypes.c_int()
        self._state = library.opus_encoder_create(
            sample_rate, 1, _APPLICATION_VOIP, ctypes.byref(error)
        )
        _check(library, error.value)
        weakref.finalize(self, library.opus_encoder_destroy, self._state)

    def control(self, request: int, value: int) -> None:
        code = self._library.opus_encoder_ctl(self._state, request, ctypes.c_int(value))
        _check(self._library, code)

    def set_complexity(self, complexity: int) -> None:
        self.control(_SET_COMPLEXITY, complexity)

    def set_max_playback_rate(self, sample_rate: int) -> None:
        self.control(_SET_MAX_BANDWIDTH, _bandwidth(sample_rate))

    def adapt(self, *, bitrate: int, expected_loss: float) -> None:
        percent = min(round(expected_loss * 100), 100)
        self.control(_SET_BITRATE, bitrate)
        self.control(_SET_PACKET_LOSS_PERC, percent)
        self.control(_SET_INBAND_FEC, int(percent > 0))

    def encode(self, pcm: bytes) -> bytes:
        if len(pcm) != self._samples * 2:
            raise ValueError(f"20 ms are {self._samples * 2} bytes, not {len(pcm)}")
        size = self._library.opus_encode(
            self._state, pcm, self._samples, self._packet, MAX_PACKET_BYTES
        )
        _check(self._library, size)
        return ctypes.string_at(self._packet, size)


class _LibopusDecoder:
    def __init__(self, library: ctypes.CDLL, sample_rate: int) -> None:
        self._library = library
        self._sample_rate = sample_rate
        self._room = sample_rate * MAX_PACKET_TICKS // RTP_CLOCK_RATE
        self._pcm = ctypes.create_string_buffer(self._room * 2)
        error = ctypes.c_int()
        self._state = library.opus_decoder_create(sample_rate, 1, ctypes.byref(error))
        _check(library, error.value)
        weakref.finalize(self, library.opus_decoder_destroy, self._state)

    def decode(self, packet: bytes) -> bytes:
        if not packet:
            # To libopus it would be a lost one.
            raise ValueError("an Opus packet has at least one byte")
        return self._decode(packet, self._room, fec=False)

    def recover(self, next_packet: bytes, ticks: int) -> bytes:
        return self._decode(next_packet, self._samples(ticks), fec=True)

    def conceal(self, ticks: int) -> bytes:
        return self._decode(None, self._samples(ticks), fec=False)

    def _samples(self, ticks: int) -> int:
        if not 0 < ticks <= MAX_PACKET_TICKS:
            # libopus would write beyond the buffer.
            raise ValueError(f"an Opus packet lasts up to {MAX_PACKET_TICKS} ticks, not {ticks}")
        return ticks * self._sample_rate // RTP_CLOCK_RATE

    def _decode(self, packet: bytes | None, samples: int, *, fec: bool) -> bytes:
        size = 0 if packet is None else len(packet)
        made: int = self._library.opus_decode(
            self._state, packet, size, self._pcm, samples, int(fec)
        )
        _check(self._library, made)
        return ctypes.string_at(self._pcm, made * 2)
