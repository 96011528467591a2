"""Rows a second of our training beside `lightgbm.train` on the same matrix with the same parameters.

Both take turns in one process, because a machine is seldom equally fast twice, and seconds are of the processor, which
others on the machine do not change: both use one thread.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import lightgbm as lgb
import numpy as np

from perch.pipeline.features import Prepared
from perch.pipeline.ingest import ingest
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.streaming import prepare_log, validate_log
from perch.pipeline.train import fit
from perch.workload.estimators.lightgbm import PARAMETERS, TREES
from perch.workload.package import write_package
from perch.world import Market

IMPRESSIONS = 1_000_000
_DAYS = 14
_ROUNDS = 5
_KIND = "lightgbm"
_SETTINGS = PipelineSettings()


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured; each figure is the median of the rounds."""

    log_rows: int
    learnt_rows: int
    stages: dict[str, float]
    """Rows of the log that a step takes in a second, by step."""

    fit_rows_per_s: float
    lightgbm_rows_per_s: float
    ratio: float
    """Of the two, round by round."""

    whole_rows_per_s: float
    """Rows of the log, from the Parquet file to the package."""


def measure(impressions: int = IMPRESSIONS) -> dict[str, object]:
    """Train on a simulated log again and again."""
    with tempfile.TemporaryDirectory() as name:
        folder, stages = Path(name), {}
        Market().log(_DAYS, impressions).to_parquet(folder / "raw.parquet")

        def timed(stage: str, step: Callable[[], object]) -> object:
            start = time.process_time()
            made = step()
            stages[stage] = time.process_time() - start
            return made

        log = timed("ingest", lambda: ingest(Source(folder / "raw.parquet", "parquet"), folder))
        timed("validate", lambda: validate_log(log, _SETTINGS, now_s=time.time()))
        prepared = timed("features", lambda: prepare_log(log, _SETTINGS, scratch=folder, kinds=[_KIND]))
        scorer = timed("fit", lambda: fit(prepared, _KIND, _SETTINGS))
        timed("package", lambda: write_package(folder / "package", scorer, score_histogram=()))
    rounds = [(_ours(prepared), _alone(prepared)) for _ in range(_ROUNDS)]
    learnt = len(prepared.inputs[_KIND].clicked)
    speed = Speed(
        log_rows=impressions,
        learnt_rows=learnt,
        stages={stage: impressions / seconds for stage, seconds in stages.items()},
        fit_rows_per_s=learnt / median(ours for ours, _ in rounds),
        lightgbm_rows_per_s=learnt / median(alone for _, alone in rounds),
        ratio=median(alone / ours for ours, alone in rounds),
        whole_rows_per_s=impressions / sum(stages.values()),
    )
    return asdict(speed)


def _ours(prepared: Prepared) -> float:
    start = time.process_time()
    fit(prepared, _KIND, _SETTINGS)
    return time.process_time() - start


def _alone(prepared: Prepared) -> float:
    matrix, clicked = prepared.inputs[_KIND].values, prepared.inputs[_KIND].clicked
    start = time.process_time()
    lgb.train({**PARAMETERS, "seed": 0}, lgb.Dataset(matrix, clicked.astype(np.float32)), num_boost_round=TREES)
    return time.process_time() - start
