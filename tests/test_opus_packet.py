from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_whatsapp.media.opus import SAMPLE_RATES, create_encoder, find_library
from pipecat_whatsapp.media.opus_packet import (
    FRAME_TICKS,
    MAX_PACKET_TICKS,
    RTP_CLOCK_RATE,
    has_fec,
    packet_ticks,
)
from test_opus import encode, speech

PACKETS = st.binary(max_size=300)

# RFC 6716, table 2: the length of a frame by configuration, in ms.
FRAME_MS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4


@pytest.mark.parametrize("config", range(32))
def test_the_length_of_every_configuration(config: int) -> None:
    frame = round(FRAME_MS[config] * 48)
    for code, count in ((0, 1), (1, 2), (2, 2)):
        assert packet_ticks(bytes([config << 3 | code, 1, 2])) == frame * count
    most = MAX_PACKET_TICKS // frame
    for count in range(1, most + 1):
        for flags in (0, 0b1000_0000, 0b0100_0000):
            assert packet_ticks(bytes([config << 3 | 0b11, flags | count])) == frame * count
    for count in (0, most + 1):
        with pytest.raises(ValueError, match="120 ms"):
            packet_ticks(bytes([config << 3 | 0b11, count]))


def test_the_stereo_flag_does_not_change_the_length() -> None:
    assert packet_ticks(b"\x4c\x00") == packet_ticks(b"\x48\x00") == FRAME_TICKS


@pytest.mark.parametrize("packet", [b"", b"\x4b"])
def test_a_packet_that_is_cut_off_has_no_length(packet: bytes) -> None:
    with pytest.raises(ValueError, match="Opus packet"):
        packet_ticks(packet)


@given(PACKETS)
def test_libopus_finds_the_same_length(packet: bytes) -> None:
    library = find_library()
    assert library is not None
    ticks = library.opus_packet_get_nb_samples(packet, len(packet), RTP_CLOCK_RATE)
    if ticks > 0:
        assert packet_ticks(packet) == ticks
    else:
        with pytest.raises(ValueError, match="Opus packet"):
            packet_ticks(packet)


def of_pyav(frame_duration: int, layout: str = "mono", bitrate: int = 32_000) -> list[bytes]:
    """Packets as other people's encoders make them."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.format, codec.layout = 16_000, av.AudioFormat("s16"), layout
    codec.bit_rate = bitrate
    codec.options = {
        "application": "voip",
        "frame_duration": str(frame_duration),
        "fec": "1",
        "packet_loss": "20",
    }
    channels = len(codec.layout.channels)
    pcm = np.repeat(np.frombuffer(speech(), np.int16), channels)[None, :]
    frame = av.AudioFrame.from_ndarray(pcm, "s16", layout)
    frame.sample_rate = 16_000
    fifo = av.AudioFifo()
    fifo.write(frame)
    packets = []
    while part := fifo.read(16 * frame_duration):
        packets += [bytes(packet) for packet in codec.encode(part)]
    return packets


def fec_by_libopus(packets: list[bytes]) -> list[bool]:
    library = find_library()
    if not hasattr(library, "opus_packet_has_lbrr"):
        pytest.skip("this libopus, older than 1.5, cannot be asked")
    assert library is not None
    return [library.opus_packet_has_lbrr(packet, len(packet)) == 1 for packet in packets]


@pytest.mark.parametrize("bitrate", [32_000, 96_000])
@pytest.mark.parametrize("frame_duration", [10, 20, 40, 60, 80, 120])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_libopus_finds_fec_in_the_same_packets(
    frame_duration: int, layout: str, bitrate: int
) -> None:
    packets = of_pyav(frame_duration, layout, bitrate)
    expected = fec_by_libopus(packets)
    assert len(packets) > 20
    assert [has_fec(packet) for packet in packets] == expected


def test_packets_of_many_frames_are_taken_for_packets_without_fec() -> None:
    packets = of_pyav(100)
    assert {packet[0] & 0b11 for packet in packets} == {3}
    assert not any(map(has_fec, packets))


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("bitrate", [12_000, 20_000, 64_000])
def test_libopus_finds_fec_in_the_same_packets_of_ours(rate: int, bitrate: int) -> None:
    for expected_loss, dtx in ((0.0, False), (0.1, True)):
        encoder = create_encoder(rate, bitrate=bitrate, expected_loss=expected_loss, dtx=dtx)
        packets = encode(encoder, speech(rate) + bytes(rate * 2), rate)
        assert [has_fec(packet) for packet in packets] == fec_by_libopus(packets)


@given(PACKETS)
def test_whatever_comes_has_fec_or_not(packet: bytes) -> None:
    assert has_fec(packet) in (True, False)
