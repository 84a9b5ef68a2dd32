"""Parameters of a WhatsApp transport."""

from __future__ import annotations

from pipecat.transports.base_transport import TransportParams
from pydantic import Field

from pipecat_whatsapp.media.opus import DEFAULT_BITRATE, DEFAULT_COMPLEXITY


class WhatsAppParams(TransportParams):
    """Parameters of a WhatsApp transport; the defaults are right for a voice bot.

    Parameters:
        audio_in_enabled: Hear the caller.
        audio_out_enabled: Speak to the caller.
        audio_out_bitrate: The most that is sent, bit/s; WhatsApp asks for 20 kbit/s and gets no
            more than it asks for.
        audio_out_expected_loss: Share of packets, 0 to 1, to protect by in-band FEC before the far
            end has reported any loss; FEC costs quality on a good line.
        audio_out_complexity: Effort of the encoder, 0 (cheap) to 10 (best); less is spent while
            the calls of this process keep a core busy.
        audio_out_dtx: Send next to nothing while the bot is silent. WhatsApp takes a line without
            packets for a dead one, so packets still go out every 400 ms.
        audio_out_10ms_chunks: 20 ms, one packet of WhatsApp.
        audio_out_end_silence_secs: No silence at the end: the transport itself waits until the
            last word is out.
        audio_out_write_timeout_secs: Longer than a call may take to be accepted, or a phone may
            ring, since audio written before that is held until it can be heard. pipecat takes an
            output that does not write for so long for broken, for good.
        quality_threshold: Mean opinion score, 1 to 4.5, below which `on_quality_low` is called.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_out_bitrate: int = Field(default=DEFAULT_BITRATE, ge=6_000, le=510_000)
    audio_out_expected_loss: float = Field(default=0.0, ge=0.0, le=1.0)
    audio_out_complexity: int = Field(default=DEFAULT_COMPLEXITY, ge=0, le=10)
    audio_out_dtx: bool = False
    audio_out_10ms_chunks: int = 2
    audio_out_end_silence_secs: int = 0
    audio_out_write_timeout_secs: float = 180.0
    quality_threshold: float = 3.0
