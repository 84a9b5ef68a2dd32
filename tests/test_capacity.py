from __future__ import annotations

import asyncio
import time

import pytest

from pipecat_whatsapp.calls.capacity import SAMPLES, LagMeter, watch_lag


def test_a_loop_that_nobody_measured_is_not_late() -> None:
    assert LagMeter().mean == 0.0


def test_the_mean_is_of_the_last_samples_only() -> None:
    meter = LagMeter()
    for _ in range(SAMPLES):
        meter.add(0.5)
    assert meter.mean == pytest.approx(0.5)
    for _ in range(SAMPLES // 2):
        meter.add(0.0)
    assert meter.mean == pytest.approx(0.25)
    for _ in range(SAMPLES // 2):
        meter.add(0.0)
    assert meter.mean == 0.0


async def test_a_stalled_loop_is_found_late() -> None:
    meter, samples = LagMeter(), asyncio.Queue[float]()
    watching = asyncio.create_task(watch_lag(meter, samples.put_nowait))
    try:
        await samples.get()
        time.sleep(0.5)  # noqa: ASYNC251 - to stall the loop is the point
        # The sample that was due meanwhile may be any of the next.
        lateness = [await asyncio.wait_for(samples.get(), 30) for _ in range(2)]
        # The stall began at most one interval before the sample was due.
        assert max(lateness) >= 0.3
        assert meter.mean > 0
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    assert watching.cancelled()
