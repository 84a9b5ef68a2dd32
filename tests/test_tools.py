"""The tools of a call, called by a language model in a real pipeline, over real calls."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService

from bots import RATE, run_worker
from conftest import Reports, until
from pipecat_whatsapp.calls.bot import WhatsAppRunnerArguments
from pipecat_whatsapp.calls.outcome import Cause, Outcome
from pipecat_whatsapp.runner import create_transport
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.tools import CallTools
from pipecat_whatsapp.transport import WhatsAppParams, WhatsAppTransport
from recordings import ALIKE, PACKET, chirp, similarity

FAREWELL = chirp(1.0)


class Model(LLMService):
    """A language model that calls one function when it is first asked, and then is silent."""

    def __init__(self, function: str, arguments: dict[str, str]) -> None:
        super().__init__()
        self.asked = 0
        self._function = function
        self._arguments = arguments

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self.asked += 1
        if self.asked == 1:
            call = FunctionCallFromLLM(self._function, "call-1", self._arguments, frame.context)
            await self.run_function_calls([call])


class Voice(FrameProcessor):
    """Speaks whatever it is given as one and the same sound."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSSpeakFrame):
            self.said.append(frame.text)
            frame = OutputAudioRawFrame(FAREWELL, RATE, 1)
        await self.push_frame(frame, direction)


class Agent:
    """A bot whose model calls one of the tools as soon as the caller can hear."""

    def __init__(self, function: str, **arguments: str) -> None:
        self.model = Model(function, arguments)
        self.voice = Voice()
        self.context = LLMContext()

    async def __call__(self, runner_args: WhatsAppRunnerArguments) -> None:
        transport = await create_transport(runner_args, {"whatsapp": WhatsAppParams})
        assert isinstance(transport, WhatsAppTransport)
        self.context = LLMContext(tools=[*CallTools(transport).all()])
        aggregators = LLMContextAggregatorPair(self.context)
        pipeline = Pipeline(
            [
                transport.input(),
                aggregators.user(),
                self.model,
                self.voice,
                transport.output(),
                aggregators.assistant(),
            ]
        )
        params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
        worker = PipelineWorker(pipeline, params=params)

        async def on_connected(_: object, __: object) -> None:
            await worker.queue_frame(LLMRunFrame())

        transport.add_event_handler("on_client_connected", on_connected)
        await run_worker(worker)

    async def told(self) -> Any:
        """What the model was told of the function, when it is asked again."""
        await until(lambda: self.model.asked == 2)
        return json.loads(self.results[0])

    @property
    def results(self) -> list[str]:
        """What the context says of the functions that were called."""
        messages: list[Any] = self.context.get_messages()
        return [message["content"] for message in messages if message["role"] == "tool"]


async def test_the_model_is_shown_what_each_tool_does(whatsapp: WhatsApp, phone: Phone) -> None:
    agent = Agent("send_message", text="hello")
    await whatsapp.serve(agent)
    await (await phone.dial()).answered()
    await agent.told()
    schemas = {tool.name: tool for tool in agent.context.tools.standard_tools}  # type: ignore[union-attr]
    shown = {name: list(schema.properties) for name, schema in schemas.items()}
    assert shown == {
        "end_call": ["farewell"],
        "send_message": ["text"],
        "press_keys": ["keys"],
        "request_callback": ["question"],
    }
    for schema in schemas.values():
        assert schema.description
        assert schema.required == list(schema.properties)
        assert all(known["type"] == "string" for known in schema.properties.values())
        assert all(known["description"] for known in schema.properties.values())


async def test_the_farewell_is_heard_and_then_the_call_ends(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    agent = Agent("end_call", farewell="Goodbye!")
    await whatsapp.serve(agent, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    assert await call.ended() == "terminated"
    assert agent.voice.said == ["Goodbye!"]
    assert similarity(call.recording.pcm, FAREWELL) > ALIKE
    end = FAREWELL[-RATE // 10 * 2 :]
    assert similarity(call.recording.pcm, end, piece=PACKET) > ALIKE, "to its end"
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    assert agent.model.asked == 1, "after the farewell there is nobody to answer to"


async def test_a_call_of_ours_is_ended_likewise(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    whatsapp.meta.permissions.grant(phone.user)
    served = await whatsapp.serve(Agent("end_call", farewell="Bye!"), on_call_ended=reports)
    calling = asyncio.create_task(served.call(phone.user))
    call = await phone.rings()
    await call.pick_up()
    assert (await calling).outcome is Outcome.ANSWERED
    assert await call.ended() == "terminated"
    assert similarity(call.recording.pcm, FAREWELL) > ALIKE
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP


async def test_a_message_reaches_the_caller_during_the_call(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    agent = Agent("send_message", text="https://example.com/ticket/7")
    served = await whatsapp.serve(agent)
    await (await phone.dial()).answered()
    assert (await phone.message()).text == "https://example.com/ticket/7"
    assert await agent.told() == {"status": "sent"}
    assert len(served.calls) == 1


async def test_keys_reach_the_other_end(whatsapp: WhatsApp, phone: Phone) -> None:
    agent = Agent("press_keys", keys="1*0#")
    await whatsapp.serve(agent)
    call = await phone.dial()
    await call.answered()
    await call.until(lambda recording: recording.keys == "1*0#")
    assert await agent.told() == {"status": "done"}


@pytest.mark.parametrize("keys", ["", "12x", "A", "1 2"])
async def test_keys_that_no_phone_has_are_told_to_the_model(
    whatsapp: WhatsApp, phone: Phone, keys: str
) -> None:
    agent = Agent("press_keys", keys=keys)
    await whatsapp.serve(agent)
    call = await phone.dial()
    await call.answered()
    told = await agent.told()
    assert told["status"] == "failed"
    assert "key" in told["reason"]
    await call.until(lambda recording: recording.received > 5)
    assert call.recording.keys == ""


async def test_the_caller_is_asked_for_a_call_back(whatsapp: WhatsApp, phone: Phone) -> None:
    agent = Agent("request_callback", question="May we call back at nine?")
    await whatsapp.serve(agent)
    await (await phone.dial()).answered()
    assert (await phone.permission_prompt()).text == "May we call back at nine?"
    assert await agent.told() == {"status": "sent"}


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        ("send_message", {"text": "hello"}, 131026),
        ("request_callback", {"question": "May we?"}, 138009),
    ],
)
async def test_what_meta_refuses_is_told_to_the_model(
    whatsapp: WhatsApp, phone: Phone, function: str, arguments: dict[str, str], code: int
) -> None:
    whatsapp.meta.faults.fail["messages"] = [(400, code)]
    agent = Agent(function, **arguments)
    served = await whatsapp.serve(agent)
    await (await phone.dial()).answered()
    told = await agent.told()
    assert told["status"] == "failed"
    assert str(code) in told["reason"]
    assert phone.messages == []
    assert len(served.calls) == 1, "the call goes on"


async def test_a_message_that_is_too_long_is_told_to_the_model(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    agent = Agent("send_message", text="x" * 4097)
    await whatsapp.serve(agent)
    await (await phone.dial()).answered()
    told = await agent.told()
    assert told["status"] == "failed"
    assert "4096" in told["reason"]
