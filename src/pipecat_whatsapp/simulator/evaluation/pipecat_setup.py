"""What pipecat runs for each pipeline of an evaluated bot: named in `PIPECAT_SETUP_FILES`."""

from __future__ import annotations

from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from pipecat_whatsapp.simulator.evaluation.inside import attach


async def setup_pipeline_worker(worker: PipelineWorker) -> None:
    """Look into the pipeline, if it is that of an evaluated call."""
    attach(worker)


async def setup_worker_runner(_: WorkerRunner) -> None:
    """Nothing; pipecat warns of a setup file without this function."""
