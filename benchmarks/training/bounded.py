"""One training from the log to the packages, told to keep within a bound, or told of none (0).

`outofcore` runs it in a group of processes whose memory the kernel limits, and without a limit.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from perch.pipeline.evaluate import evaluate
from perch.pipeline.ingest import Ingested, ingest
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.streaming import prepare_streaming, validate_log
from perch.pipeline.train import fit
from perch.workload.package import write_package
from perch.workload.schema import CLICK_LOG

KINDS = ("logistic", "lightgbm")
_AHEAD_S = 10 * 365 * 86_400
"""The simulated market may be ahead of the clock."""


def main(data: str, folder: str, memory_bytes: str) -> None:
    """Train both kinds of model on the log `data` within a bound; what was measured goes into `folder/took.json`."""
    into, seconds = Path(folder), {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - start, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {name:<20} {seconds[name]:8.1f} s   peak {peak:6.0f} MiB resident", flush=True)

    settings = PipelineSettings(memory_bytes=int(memory_bytes) or None)
    with stage("ingest"):
        log = _found(into / "log.parquet") or ingest(Source(data, "parquet"), into)
    if settings.memory_bytes is not None:  # else all of it would be held
        with stage("validate"):
            validate_log(log, settings, now_s=time.time() + _AHEAD_S)
    with stage("features"):
        prepared = prepare_streaming(log, settings, scratch=into)
    facts = {"seconds": seconds, "rows": log.rows, "evaluated_rows": len(prepared.evaluation), "kinds": {}}
    for kind in KINDS:
        with stage(f"train {kind}"):
            scorer = fit(prepared, kind, settings)
        with stage(f"evaluate {kind}"):
            evaluation = evaluate(scorer, prepared, settings)
        write_package(into / kind, scorer, score_histogram=evaluation.score_histogram)
        facts["kinds"][kind] = {
            "learnt_rows": len(prepared.inputs[kind].clicked),
            "keep_rate": prepared.inputs[kind].keep_rate,
        }
    (into / "took.json").write_text(json.dumps(facts, indent=1))


def _found(path: Path) -> Ingested | None:
    """A log that was ingested before."""
    return Ingested(path, CLICK_LOG, pq.read_metadata(path).num_rows, "") if path.exists() else None


if __name__ == "__main__":
    main(*sys.argv[1:])
