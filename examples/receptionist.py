"""A receptionist: routes calls, keeps business hours, hands over, and makes up for missed calls.

    pip install "pipecat-whatsapp[runner]" "pipecat-ai[deepgram,openai,cartesia]"
    python examples/receptionist.py -t whatsapp --colleague "+49 155 50003333"

- A call button or a link with the payload "sales" or "support" leads to that desk
  (`pipecat-whatsapp link --payload sales`); every other call goes to the front desk.
- Outside business hours a call is declined, and the caller gets a message.
- When all lines are busy, the caller gets a button to call again.
- What the bot cannot settle is handed over: a message tells the colleague, who has written to the
  number within the last 24 hours, and the caller is asked whether we may call back.

It needs DEEPGRAM_API_KEY, OPENAI_API_KEY and CARTESIA_API_KEY, in the environment or in .env.
Without a WhatsApp account, during business hours:
`pipecat-whatsapp simulate examples/receptionist.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from dotenv import load_dotenv
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.services.llm_service import FunctionCallParams
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import (
    Bot,
    Call,
    Cause,
    Contact,
    WebhookAdapter,
    WhatsAppError,
    WhatsAppParams,
    WhatsAppRunnerArguments,
    WhatsAppTransport,
)
from pipecat_whatsapp.runner import create_transport, main
from pipecat_whatsapp.screening import BusinessHours, Hours, Weekday, during, route, screen
from pipecat_whatsapp.tools import CallTools

load_dotenv(override=True)

KEYS = ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY")
if missing := [key for key in KEYS if not os.environ.get(key)]:
    sys.exit(f"The receptionist needs {', '.join(missing)} in the environment or in .env.")

# After the keys, so that a missing one is told before a missing package.
from pipecat.services.cartesia.tts import CartesiaTTSService  # noqa: E402
from pipecat.services.deepgram.stt import DeepgramSTTService  # noqa: E402
from pipecat.services.openai.llm import OpenAILLMService  # noqa: E402

Tool = Callable[..., Awaitable[None]]

MAX_CALLS = 5

OFFICE = [Hours("09:00", "12:00"), Hours("13:00", "17:30")]
HOURS = BusinessHours("Europe/Berlin", dict.fromkeys(list(Weekday)[:5], OFFICE))

INSTRUCTION = (
    "You are the receptionist of The Book Shop, on the phone. Answer in one or two short, friendly "
    "sentences; what you write is spoken aloud, so use plain words. {task} What you cannot settle "
    "you hand over to a colleague. Before you end the call, make sure that nothing is left open."
)
GREETING = "Greet the caller, say that you are an AI assistant, and ask how you can help."

DESKS = {
    "sales": "You help with orders: titles, prices and delivery times.",
    "support": "You help with orders that went wrong: returns, damages and refunds.",
}
FRONT_DESK = "You find out what the caller wants."

VOICE = "71a7ad14-091c-4e8e-a314-022ece01c121"  # Cartesia's British Reading Lady


class Reception:
    """What all desks have in common: the adapter, and the colleague."""

    def __init__(self) -> None:
        self._colleague: Contact | None = None

    async def open(self, adapter: WebhookAdapter) -> None:
        """Run once, before the first call."""
        adapter.configure(max_calls=MAX_CALLS)
        arguments: Any = adapter.cli_args
        if arguments.colleague is not None:
            self._colleague = adapter.contact(arguments.colleague)

    def desk(self, task: str) -> Bot:
        """A bot with a task of its own."""

        async def bot(runner_args: WhatsAppRunnerArguments) -> None:
            transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
            assert isinstance(transport, WhatsAppTransport)  # noqa: S101 - no other is served
            await converse(transport, runner_args, task, self.tools(transport))

        return bot

    def tools(self, transport: WhatsAppTransport) -> list[Tool]:
        """What the language model may do."""
        tools = CallTools(transport)
        usual: list[Tool] = [tools.end_call, tools.send_message]
        if self._colleague is None:
            return usual
        return [*usual, HandOver(self._colleague, transport.contact).hand_over]


class HandOver:
    """Lets the language model hand a caller over to a colleague."""

    def __init__(self, colleague: Contact, caller: Contact) -> None:
        self._colleague = colleague
        self._caller = caller

    async def hand_over(self, params: FunctionCallParams, summary: str) -> None:
        """Hand the caller over to a colleague, who gets a message and calls back.

        Args:
            summary: Who the caller is and what they want, in two or three sentences.
        """
        user = self._caller.user
        who = f"+{user.phone}" if user.phone else user.name or "unknown"
        try:
            await self._colleague.send_text(f"Please call back {who}. {summary}")
            await self._caller.request_call_permission("May a colleague call you back?")
        except WhatsAppError as error:
            logger.warning("{}", error)
            await params.result_callback({"status": "failed", "reason": str(error)})
        else:
            await params.result_callback({"status": "a colleague will call back"})


async def converse(
    transport: WhatsAppTransport,
    runner_args: WhatsAppRunnerArguments,
    task: str,
    tools: list[Tool],
) -> None:
    """Hold one conversation."""
    stt = DeepgramSTTService(api_key=os.environ["DEEPGRAM_API_KEY"])
    llm = OpenAILLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        settings=OpenAILLMService.Settings(system_instruction=INSTRUCTION.format(task=task)),
    )
    tts = CartesiaTTSService(
        api_key=os.environ["CARTESIA_API_KEY"],
        settings=CartesiaTTSService.Settings(voice=VOICE),
    )
    context = LLMContext(tools=[*tools])
    user, assistant = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), stt, user, llm, tts, transport.output(), assistant]),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
        processor_unusable_policy=ProcessorUnusablePolicy.END,
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: BaseTransport, client: object) -> None:
        context.add_message({"role": "developer", "content": GREETING})
        await worker.queue_frame(LLMRunFrame())

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()


async def on_missed_call(call: Call, contact: Contact) -> None:
    """A call, answered or not, lets us write to the caller for 24 hours."""
    if call.cause is Cause.BUSY:
        await contact.send_call_button(
            "Sorry, all our lines are busy. Try again in ten minutes?",
            display_text="Call again",
            payload=call.cta_payload or call.deeplink_payload,
        )
    elif call.cause is Cause.REJECTED:
        await contact.send_text("We are at the phone on weekdays from 9 to 12 and 13 to 17:30.")


def parser() -> argparse.ArgumentParser:
    """The command line; pipecat's runner adds its own arguments."""
    parser = argparse.ArgumentParser(description="Answers the phone of a shop.")
    parser.add_argument("--colleague", metavar="NUMBER", help="who gets what the bot cannot settle")
    return parser


reception = Reception()
to_desk = route(
    lambda call: call.cta_payload or call.deeplink_payload,
    {name: reception.desk(task) for name, task in DESKS.items()},
)

if __name__ == "__main__":
    main(
        parser(),
        bot=reception.desk(FRONT_DESK),
        on_start=reception.open,
        on_incoming_call=screen(during(HOURS), to_desk),
        on_missed_call=on_missed_call,
    )
