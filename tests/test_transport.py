"""The transport in real pipelines, over real calls."""

from __future__ import annotations

import asyncio

import pytest
from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InputDTMFFrame,
    MetricsFrame,
    OutputDTMFFrame,
    StartFrame,
)
from pipecat.pipeline.worker import PipelineWorker

from bots import Ears, Echo, PipelineBot, PlainBot, says
from conftest import Reports, until
from pipecat_whatsapp.calls import session, watchdog
from pipecat_whatsapp.calls.call import CallReport
from pipecat_whatsapp.calls.law import Signal
from pipecat_whatsapp.calls.outcome import Cause
from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.media.quality import CallQuality, QualityMeter
from pipecat_whatsapp.simulator.graph import SimulatedMeta
from pipecat_whatsapp.simulator.network import Network, NetworkConditions
from pipecat_whatsapp.simulator.phone import Phone
from pipecat_whatsapp.simulator.pytest_plugin import WhatsApp
from pipecat_whatsapp.transport import (
    METRICS_EVERY,
    CallQualityMetricsData,
    WhatsAppParams,
    WhatsAppTransport,
)
from recordings import chirp, heard, heard_whole


async def test_both_hear_each_other(whatsapp: WhatsApp, phone: Phone) -> None:
    question = chirp(1.0)
    await whatsapp.serve(PipelineBot(Echo))
    call = await phone.dial()
    await call.answered()
    await call.say(question)
    await heard_whole(question, lambda: call.recording.pcm)
    assert len(call.recording.ssrcs) == 1


async def test_events_come_in_order_and_once(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    ears = Ears()
    states: list[str] = []

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_state(_: object, state: str) -> None:
            states.append(state)

        transport.add_event_handler("on_call_state_updated", on_state)

    bot = PipelineBot(ears, prepare=prepare)
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await until(lambda: any(isinstance(f, ClientConnectedFrame) for f in ears.frames))
    kinds = [type(frame) for frame in ears.frames]
    assert kinds.index(StartFrame) < kinds.index(ClientConnectedFrame)
    assert bot.events == ["on_client_connected"]
    await call.hang_up()
    await reports.next()
    assert bot.events == ["on_client_connected", "on_client_disconnected"]
    assert kinds.count(ClientConnectedFrame) == 1
    assert states == ["accepting", "active", "ended"]


async def test_the_callers_hang_up_ends_a_pipeline_without_handlers(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    ears = Ears()

    bot = PipelineBot(ears)
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    await reports.next()
    assert bot.returned == 1
    assert any(isinstance(frame, EndFrame) for frame in ears.frames), "no cancellation"


async def test_the_usual_cancelling_handler_works_too(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_disconnected(_: object, __: object) -> None:
            await worker.cancel()

        transport.add_event_handler("on_client_disconnected", on_disconnected)

    bot = PipelineBot(prepare=prepare)
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await call.hang_up()
    assert (await reports.next()).cause is Cause.CALLER_HUNG_UP
    assert bot.returned == 1


@pytest.mark.parametrize("frame", [EndFrame, CancelFrame])
async def test_a_pipeline_that_ends_hangs_up_at_graph(
    whatsapp: WhatsApp, phone: Phone, reports: Reports, frame: type[Frame]
) -> None:
    bot = PipelineBot()
    await whatsapp.serve(bot, on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    await until(lambda: "on_client_connected" in bot.events)
    await bot.workers[0].queue_frame(frame())
    assert await call.ended() == "terminated"
    assert (await reports.next()).cause is Cause.BOT_HUNG_UP
    assert bot.events == ["on_client_connected", "on_before_disconnect"]
    await whatsapp.stop_serving()
    actions = [request.action for request in whatsapp.meta.requests]
    assert actions == ["pre_accept", "accept", "terminate"]


async def test_an_end_after_the_callers_hang_up_is_quick(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """A minute of queued speech does not keep a pipeline alive that nobody hears."""
    bot = PipelineBot(prepare=says(chirp(60.0)))
    await whatsapp.serve(bot, timing=Timing(bot_grace=3600), on_call_ended=reports)
    call = await phone.dial()
    await call.wait_sound()
    await call.hang_up()
    await reports.next()
    assert bot.returned == 1


async def test_an_error_is_told(whatsapp: WhatsApp, phone: Phone, reports: Reports) -> None:
    errors: list[str] = []

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_error(_: object, error: str) -> None:
            errors.append(error)

        transport.add_event_handler("on_error", on_error)

    whatsapp.meta.faults.fail["accept"] = [(400, 100)]
    await whatsapp.serve(PipelineBot(prepare=prepare), on_call_ended=reports)
    call = await phone.dial()
    assert await call.ended() == "rejected"
    await reports.next()
    assert len(errors) == 1
    assert errors[0].startswith("graph failed: ")


def test_parameters_alone_are_right_for_a_voice_bot() -> None:
    params = WhatsAppParams()
    assert params.audio_in_enabled
    assert params.audio_out_enabled
    assert params.audio_out_10ms_chunks == 2
    assert params.audio_out_end_silence_secs == 0


async def test_input_and_output_are_the_same_objects_each_time(
    whatsapp: WhatsApp, phone: Phone
) -> None:
    bot = PlainBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    (args,) = bot.started
    transport = WhatsAppTransport(args.webrtc_connection, args.call, args.contact)
    assert transport.input() is transport.input()
    assert transport.output() is transport.output()
    assert transport.get_client_id(args.webrtc_connection) == call.id
    assert transport.call.user.name == "Ada Example"


async def test_pipecat_has_nothing_to_complain_about(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    """No warning and no error in a usual call: no dangling task, no lost frame, no data channel."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    try:
        await whatsapp.serve(PipelineBot(Echo), on_call_ended=reports)
        call = await phone.dial()
        await call.answered()
        await call.say(chirp(0.5))
        await call.hang_up()
        await reports.next()
    finally:
        logger.remove(sink)
    assert lines == []


# Quality


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is reviewed twenty times a second."""
    monkeypatch.setattr(watchdog, "REVIEW_SECONDS", 0.05)


def measured(ears: Ears) -> list[CallQualityMetricsData]:
    return [
        data
        for frame in ears.frames
        if isinstance(frame, MetricsFrame)
        for data in frame.data
        if isinstance(data, CallQualityMetricsData)
    ]


@pytest.mark.usefixtures("brisk")
async def test_quality_flows_as_metrics_every_few_reviews(whatsapp: WhatsApp, phone: Phone) -> None:
    ears = Ears()
    await whatsapp.serve(PipelineBot(ears, metrics=True))
    call = await phone.dial()
    await call.answered()
    await until(lambda: len(measured(ears)) == 3)
    first, second, third = (data.value for data in measured(ears))
    assert first.packets_in < second.packets_in < third.packets_in
    # 50 packets a second, and a review every 50 ms or so.
    assert third.packets_in - second.packets_in > METRICS_EVERY
    assert measured(ears)[0].processor.startswith("WhatsAppInputTransport")


@pytest.mark.usefixtures("brisk")
async def test_a_pipeline_without_metrics_gets_none(whatsapp: WhatsApp, phone: Phone) -> None:
    ears = Ears()
    served = await whatsapp.serve(PipelineBot(ears))
    call = await phone.dial()
    await call.answered()
    await until(lambda: bool(served.calls) and served.calls[0].quality.packets_in > 50)
    assert measured(ears) == []


class Score(QualityMeter):
    """Finds what it is told to find."""

    def __init__(self, mos_lately: float | None) -> None:
        super().__init__(0.0)
        self._found = CallQuality(mos_lately=mos_lately)

    def assess(self, *_: object, **__: object) -> CallQuality:
        return self._found


async def test_a_fall_of_quality_is_told_once_and_again_after_relief(
    whatsapp: WhatsApp, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unwatched(*_: object) -> None:
        await asyncio.Event().wait()

    # A watch over the call finds scores of its own.
    monkeypatch.setattr(session, "watch", unwatched)
    bot = PlainBot()
    await whatsapp.serve(bot)
    call = await phone.dial()
    await call.answered()
    (args,) = bot.started
    transport = WhatsAppTransport(
        args.webrtc_connection, args.call, args.contact, WhatsAppParams(quality_threshold=3.0)
    )
    told: list[float | None] = []

    async def on_quality_low(_: object, quality: CallQuality) -> None:
        told.append(quality.mos_lately)

    transport.add_event_handler("on_quality_low", on_quality_low)
    for score in (None, 4.2, 3.0, 2.9, 2.5, None, 3.1, 2.8, 3.3, 2.7, 2.6):
        await args.webrtc_connection.review(Score(score))
    await until(lambda: len(told) >= 2)
    assert told == [2.9, 2.7]


@pytest.mark.usefixtures("brisk")
async def test_a_bad_line_is_told_to_the_bot(
    whatsapp: WhatsApp, phone: Phone, network: Network
) -> None:
    told: list[CallQuality] = []

    def prepare(transport: WhatsAppTransport, worker: PipelineWorker) -> None:
        async def on_quality_low(_: object, quality: CallQuality) -> None:
            told.append(quality)

        transport.add_event_handler("on_quality_low", on_quality_low)

    await whatsapp.serve(PipelineBot(prepare=prepare))
    call = await phone.dial()
    await call.answered()
    await call.say(chirp(0.5))
    assert told == []
    network.conditions = NetworkConditions(loss=0.5)
    await call.say(chirp(0.5))
    await until(lambda: bool(told))
    assert told[0].lost_in > 0
    assert told[0].concealed_ms > 0
    assert told[0].mos_lately is not None
    assert told[0].mos_lately < 3.0


async def test_the_report_tells_how_the_call_sounded_and_how_it_was_answered(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    await whatsapp.serve(PipelineBot(Echo), on_call_ended=reports)
    call = await phone.dial()
    await call.answered()
    question = chirp(0.5)
    await call.say(question)
    await heard_whole(question, lambda: call.recording.pcm)
    await call.hang_up()
    report = await reports.next()

    stages = report.stages
    assert 0 <= stages[Signal.ANSWERED] <= stages[Signal.PRE_ACCEPTED] <= stages[Signal.LINKED]
    assert stages[Signal.ANSWERED] <= stages[Signal.READY]
    assert max(stages[Signal.LINKED], stages[Signal.READY]) <= stages[Signal.ACCEPTED]

    quality = report.quality
    assert quality.first_audio_in is not None
    assert quality.first_audio_out is not None
    assert stages[Signal.ACCEPTED] <= quality.first_audio_out
    assert quality.first_audio_in <= quality.first_audio_out, "an echo"
    assert quality.packets_in >= 25
    assert quality.packets_out >= 25
    assert (quality.lost_in, quality.late_in, quality.duplicates_in) == (0, 0, 0)
    assert quality.mos is not None
    assert quality.mos > 4


async def test_a_call_that_was_not_answered_has_a_report_without_sound(
    whatsapp: WhatsApp, phone: Phone, reports: Reports
) -> None:
    whatsapp.meta.faults.fail["accept"] = [(400, 100)]
    await whatsapp.serve(PipelineBot(), on_call_ended=reports)
    call = await phone.dial()
    await call.ended()
    report = await reports.next()
    assert report.quality == CallQuality()
    assert Signal.ACCEPTED not in report.stages
    assert Signal.LINKED in report.stages


# Another event loop


def test_a_whole_call_on_uvloop() -> None:
    """Its timers are other objects, and its clock counts whole milliseconds."""
    uvloop = pytest.importorskip("uvloop")

    async def one_call() -> CallReport:
        ears, reports = Ears(), Reports()
        question, answer = chirp(1.0), chirp(1.0, low=2500, high=300)
        network = Network()
        async with SimulatedMeta() as meta:
            whatsapp = WhatsApp(meta)
            try:
                bot = PipelineBot(ears, Echo, prepare=says(answer))
                await whatsapp.serve(bot, on_call_ended=reports)
                phone = await whatsapp.phone(network=network)
                call = await phone.dial()
                await call.answered()
                await heard(answer, lambda: call.recording.pcm)
                await call.say(question)
                await heard(question, lambda: ears.pcm)
                # Now with timers for what is missing.
                network.conditions = NetworkConditions(loss=0.1, jitter=0.03)
                await call.say(question)
                await call.press("5")
                await until(lambda: any(isinstance(f, InputDTMFFrame) for f in ears.frames))
                await bot.workers[0].queue_frame(OutputDTMFFrame.from_string("6"))
                await call.until(lambda recording: recording.keys == "6")
                await call.hang_up()
                return await reports.next()
            finally:
                await whatsapp.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(one_call())
    assert (report.cause, report.answered) == (Cause.CALLER_HUNG_UP, True)
    assert report.quality.concealed_ms + report.quality.recovered_ms > 0
