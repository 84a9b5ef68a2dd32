"""Connects two calls, so that the people in them talk to each other: how a bot hands a caller over.

WhatsApp has no transfer, so the hand-over happens here: the bot calls a colleague on WhatsApp, and
when they have picked up, each hears the other instead of the bot::

    bridge = CallBridge()
    Pipeline([transport.input(), bridge.caller.ear, stt, ..., tts, bridge.caller.mouth,
              transport.output()])

    async def colleague(runner_args):  # the bot of the second call
        transport = await create_transport(runner_args, transport_params)
        await run(Pipeline([transport.input(), bridge.colleague.ear, bridge.colleague.mouth,
                            transport.output()]))

    result = await adapter.call("+49 155 50003333", bot=colleague)
    if result.outcome is Outcome.ANSWERED:
        bridge.open()
"""

from __future__ import annotations

from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

__all__ = ["BridgeEnd", "CallBridge"]


class CallBridge:
    """Two ends of a bridge, for the pipelines of two calls of this process. Shut at first.

    Parameters:
        caller: The end in the pipeline of the caller.
        colleague: The end in the pipeline of whoever the caller is handed over to.
        is_open: Whether the two hear each other.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.caller = BridgeEnd(self)
        self.colleague = BridgeEnd(self)
        self.caller.ear.other, self.colleague.ear.other = self.colleague.mouth, self.caller.mouth

    def open(self) -> None:
        """Let the two hear each other; the bots hear neither of them any more."""
        self.is_open = True

    def shut(self) -> None:
        """Give the two back to their bots."""
        self.is_open = False


class BridgeEnd:
    """One end of a bridge.

    Parameters:
        ear: The processor that belongs right behind the transport's input.
        mouth: The processor that belongs right before the transport's output.
    """

    def __init__(self, bridge: CallBridge) -> None:
        self.ear = _Ear(bridge)
        self.mouth = _Mouth()


class _Mouth(FrameProcessor):
    """Passes everything on, and says what comes over the bridge."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class _Ear(FrameProcessor):
    """Passes everything on, but what the user says goes over an open bridge."""

    def __init__(self, bridge: CallBridge) -> None:
        super().__init__()
        self.other: FrameProcessor | None = None
        self._bridge = bridge

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._bridge.is_open and isinstance(frame, InputAudioRawFrame) and self.other:
            speech = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
            await self.other.push_frame(speech)
        else:
            await self.push_frame(frame, direction)
