"""How bit rate and in-band FEC follow the loss that the far end reports. Pure."""

from __future__ import annotations

MIN_BITRATE = 19_000
"""Bit/s. Below it libopus gives in-band FEC up, just when it is needed most."""

FEC_FROM = 0.02
"""Loss from which in-band FEC gains more than the bits that it takes from a 20 kbit/s stream."""

MIN_EXPECTED_LOSS = 0.1
"""With less expected, libopus adds no FEC to a 20 kbit/s stream."""

_RECOVERY = 0.9  # Per report, of what is expected beyond what is seen.


class RateControl:
    """Chooses what the encoder is told.

    Loss up to 2 % is taken for bad luck, above 10 % for congestion; the bit rate grows and shrinks
    as in Google's loss-based congestion control (draft-ietf-rmcat-gcc-02 section 6).

    Args:
        max_bitrate: The most to code with, bit/s.
        min_loss: What is expected before, and whatever, the far end reports, 0 to 1.

    Attributes:
        bitrate: What to code with, bit/s.
    """

    def __init__(self, max_bitrate: int, *, min_loss: float = 0.0) -> None:
        self.bitrate = max_bitrate
        self._max_bitrate = max_bitrate
        self._fec = True
        self._min_loss = self._loss = min_loss

    @property
    def expected_loss(self) -> float:
        """Share of packets to protect against, 0 to 1; 0 without FEC."""
        wanted = self._fec and self._loss >= FEC_FROM
        return max(self._loss, MIN_EXPECTED_LOSS) if wanted else 0.0

    def agree(self, max_bitrate: int | None, *, fec: bool) -> None:
        """Keep to what the far end has asked for.

        Args:
            max_bitrate: The most that it wants, bit/s; None when it has not said.
            fec: Whether it makes use of in-band FEC.
        """
        self._max_bitrate = min(self._max_bitrate, max_bitrate or self._max_bitrate)
        self.bitrate = min(self.bitrate, self._max_bitrate)
        self._fec = fec

    def update(self, loss: float) -> None:
        """Take a report: the share of packets lost since the one before, 0 to 1."""
        self._loss = max(loss, self._loss * _RECOVERY, self._min_loss)
        if loss > 0.1:
            self.bitrate = int(self.bitrate * (1 - 0.5 * loss))
        elif loss < 0.02:
            self.bitrate = int(self.bitrate * 1.05)
        self.bitrate = min(max(self.bitrate, MIN_BITRATE), self._max_bitrate)
