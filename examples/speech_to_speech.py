"""A voice agent whose one model hears and speaks: no speech-to-text, no text-to-speech.

    pip install "pipecat-whatsapp[runner]" "pipecat-ai[openai]"
    python examples/speech_to_speech.py -t whatsapp     a WhatsApp call
    python examples/speech_to_speech.py -t webrtc       a browser

It needs OPENAI_API_KEY, in the environment or in .env. What the caller says is sent to OpenAI as
sound, and the model itself knows when they have finished.

Without a WhatsApp account: `pipecat-whatsapp simulate examples/speech_to_speech.py`.
"""

from __future__ import annotations

import os
import sys

from dotenv import load_dotenv
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp import WhatsAppParams
from pipecat_whatsapp.runner import create_transport, main

load_dotenv(override=True)

if not os.environ.get("OPENAI_API_KEY"):
    sys.exit("The speech-to-speech agent needs OPENAI_API_KEY in the environment or in .env.")

# After the key, so that a missing one is told before a missing package.
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService  # noqa: E402

INSTRUCTION = (
    "You talk with somebody on the phone. Answer in one to three short, friendly sentences, in the "
    "language that the caller speaks."
)

GREETING = "Greet the caller, say that you are an AI assistant, and ask how you can help."

SAMPLE_RATE = 24_000  # The model's own, in and out: WhatsApp's Opus is decoded to it and from it.

# Functions, so that only the parameters of the chosen transport are made.
transport_params = {
    "whatsapp": lambda: WhatsAppParams(),
    "webrtc": lambda: TransportParams(audio_in_enabled=True, audio_out_enabled=True),
}


async def bot(runner_args: RunnerArguments) -> None:
    transport = await create_transport(runner_args, transport_params)
    llm = OpenAIRealtimeLLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        settings=OpenAIRealtimeLLMService.Settings(system_instruction=INSTRUCTION),
    )
    context = LLMContext()
    user, assistant = LLMContextAggregatorPair(context)
    worker = PipelineWorker(
        Pipeline([transport.input(), user, llm, transport.output(), assistant]),
        params=PipelineParams(
            audio_in_sample_rate=SAMPLE_RATE,
            audio_out_sample_rate=SAMPLE_RATE,
            enable_metrics=True,
            enable_usage_metrics=True,
        ),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
        processor_unusable_policy=ProcessorUnusablePolicy.END,
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: BaseTransport, client: object) -> None:
        context.add_message({"role": "developer", "content": GREETING})
        await worker.queue_frame(LLMRunFrame())

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport: BaseTransport, client: object) -> None:
        await runner.cancel()

    await runner.run()


if __name__ == "__main__":
    main()
