"""Functions that a language model may call during a WhatsApp call.

They are pipecat's direct functions, so a context takes them as they are::

    context = LLMContext(tools=CallTools(transport).all())
"""

# ruff: noqa: D417 - the docstrings are read by a model, and `params` is none of its business

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    EndFrame,
    FunctionCallResultProperties,
    OutputDTMFFrame,
    TTSSpeakFrame,
)

# At run time, too: pipecat reads the annotations of direct functions.
from pipecat.services.llm_service import FunctionCallParams

from pipecat_whatsapp.errors import GraphError
from pipecat_whatsapp.transport import WhatsAppTransport

__all__ = ["CallTools"]


class CallTools:
    """The tools of one call. Their docstrings are what the language model reads.

    Args:
        transport: The call's transport.
    """

    def __init__(self, transport: WhatsAppTransport) -> None:
        self._contact = transport.contact

    def all(self) -> list[Callable[..., Awaitable[None]]]:
        """All tools; leave out of the list what the bot shall not do."""
        return [self.end_call, self.send_message, self.press_keys, self.request_callback]

    async def end_call(self, params: FunctionCallParams, farewell: str) -> None:
        """End the phone call. Use it when the conversation is over, and not before.

        Args:
            farewell: The last sentence to say to the caller, who hears it before the call ends.
        """
        # The model must not answer: after the farewell there is nobody to answer to.
        await params.result_callback(
            {"status": "ending"}, properties=FunctionCallResultProperties(run_llm=False)
        )
        await params.pipeline_worker.queue_frames([TTSSpeakFrame(farewell), EndFrame()])

    async def send_message(self, params: FunctionCallParams, text: str) -> None:
        """Send the caller a WhatsApp message, such as a link, an address or a summary.

        Args:
            text: The message.
        """
        await _report(params, self._contact.send_text(text, preview_url=True))

    async def press_keys(self, params: FunctionCallParams, keys: str) -> None:
        """Press keys of the telephone, to work an automatic menu at the other end.

        Args:
            keys: One or more of the keys 0123456789*#, in the order to press them.
        """
        known = {entry.value for entry in KeypadEntry}
        if not keys or not set(keys) <= known:
            await params.result_callback({"status": "failed", "reason": "there is no such key"})
            return
        await params.llm.push_frame(OutputDTMFFrame.from_string(keys))
        await params.result_callback({"status": "done"})

    async def request_callback(self, params: FunctionCallParams, question: str) -> None:
        """Ask the caller by a WhatsApp message for permission to call them back later.

        Args:
            question: What the message says, such as why and when to call back.
        """
        await _report(params, self._contact.request_call_permission(question))


async def _report(params: FunctionCallParams, sending: Awaitable[str]) -> None:
    """Tell the model whether a message was sent."""
    result: dict[str, Any] = {"status": "sent"}
    try:
        await sending
    except GraphError as error:
        logger.warning("{}", error)
        result = {"status": "failed", "reason": str(error)}
    await params.result_callback(result)
