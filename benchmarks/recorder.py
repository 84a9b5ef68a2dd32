"""What the pipeline hears, written down: a WAV file, and a JSON file with the arrivals."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from pipecat_whatsapp.simulator.sound import write_wav


class Recorder(FrameProcessor):
    """Writes a call's audio when the call is over: `1.wav` and `1.json` for the first call.

    The JSON file holds the monotonic time at which each frame came, s, and its samples.

    Args:
        folder: Where to write.
    """

    _calls = 0

    def __init__(self, folder: str) -> None:
        super().__init__()
        Recorder._calls += 1
        self._path = Path(folder, str(Recorder._calls))
        self._rate = 0
        self._pcm = bytearray()
        self._arrivals: list[tuple[float, int]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Keep audio, and pass on everything else."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._rate = frame.sample_rate
            self._pcm += frame.audio
            self._arrivals.append((time.monotonic(), len(frame.audio) // 2))
        else:
            await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """Write what was heard."""
        await super().cleanup()
        write_wav(self._path.with_suffix(".wav"), bytes(self._pcm), self._rate)
        # In one step, since its being there says that all is written.
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps({"rate": self._rate, "arrivals": self._arrivals}))
        draft.rename(self._path.with_suffix(".json"))
