"""The models of the demonstration: a baseline, a challenger, and retrained challengers for the further releases."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from perch.adapters.registry.port import ModelRegistry
from perch.pipeline.run import TrainedModel, challenge, train
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.ui.record import StageRecord
from perch.world.market import Market

Step = Callable[[str, int], AbstractContextManager[None]]

IMPRESSIONS = 300_000
DAYS = 14


@dataclass(frozen=True, slots=True)
class Trained:
    """What was trained, and how long each step took."""

    models: tuple[TrainedModel, ...]
    """The baseline first, then the challengers in the order of their release."""

    stages: tuple[StageRecord, ...]


def train_models(
    market: Market,
    registry: ModelRegistry,
    model: str,
    folder: Path,
    *,
    challengers: int,
    seed: int,
    step: Step,
    progress: Callable[[str, str], None],
) -> Trained:
    """Make a click log, train on it, and retrain until there are as many challengers as releases."""
    log = folder / "clicks.parquet"
    with step("data", IMPRESSIONS):
        market.log(days=DAYS, impressions=IMPRESSIONS).to_parquet(log)
    # The log's clicks come after half a simulated hour, the live ones after two real seconds: the declaration's window
    # of a minute fits the latter, the pipeline's default of four hours the former.
    settings = PipelineSettings(seed=seed)
    with step("pipeline", IMPRESSIONS):
        source = Source(log, "parquet")
        first = train(source, registry=registry, model=model, workdir=folder, settings=settings, progress=progress)
    retrained = []
    with step("retraining", 0):
        for extra in range(1, challengers):
            again = replace(settings, seed=seed + extra)
            retrained.append(
                challenge(
                    first.prepared, registry=registry, model=model, workdir=folder, settings=again, progress=progress
                )
            )
    stages = tuple(StageRecord(f"pipeline: {stage.name}", stage.seconds, stage.rows) for stage in first.stages)
    return Trained((first.baseline, first.challenger, *retrained), stages)
