"""A log ten times the memory: trained on where the kernel allows 512 MiB, and where nothing is limited.

Without a bound a log in parts gives the very models that one in memory gives, to the last bit (a unit test holds it).
That is what the bounded ones are compared with, so no machine is needed that holds the whole log. The log losses are
those of all rows of the evaluation window, read once more from the log.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.training.bounded import KINDS
from benchmarks.training.limited import run_limited

from perch.pipeline.features import clicks_in_window
from perch.pipeline.ingest import Ingested
from perch.pipeline.scan import chunks, windows
from perch.pipeline.settings import PipelineSettings
from perch.workload.metrics import log_losses
from perch.workload.package import load_package
from perch.workload.schema import CLICK_LOG
from perch.world.market import Market
from perch.world.settings import MarketSettings

IMPRESSIONS = 48_000_000
LIMIT_BYTES = 512 * 2**20
_IMPRESSIONS_PER_DAY = 800_000


def measure(impressions: int = IMPRESSIONS) -> dict[str, object]:
    """Make the log, train on it twice, and compare. Takes 10 GB of the folder for temporary files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = _write_log(folder / "raw.parquet", impressions)
        limited, free = folder / "limited", folder / "free"
        program = [sys.executable, "-m", "benchmarks.training.bounded", str(raw)]
        print(f"within {LIMIT_BYTES / 2**20:.0f} MiB:", flush=True)
        peak_bytes = run_limited([*program, str(limited), str(LIMIT_BYTES)], LIMIT_BYTES)
        print("without a limit, from the same ingested log:", flush=True)
        free.mkdir()
        (free / "log.parquet").hardlink_to(limited / "log.parquet")
        subprocess.run([*program, str(free), "0"], check=True)
        raw.unlink()
        return {
            "impressions": impressions,
            "limit_bytes": LIMIT_BYTES,
            "file_bytes": (limited / "log.parquet").stat().st_size,
            "frame_bytes": _frame_bytes(limited / "log.parquet"),
            "peak_group_bytes": peak_bytes,
            "limited": json.loads((limited / "took.json").read_text()),
            "free": json.loads((free / "took.json").read_text()),
            "log_loss": _compared(limited, free, impressions),
        }


def _write_log(path: Path, impressions: int) -> Path:
    days = max(14, impressions // _IMPRESSIONS_PER_DAY)
    writer = None
    for day in Market(0, MarketSettings(horizon_days=max(60, days))).days(days, impressions):
        table = pa.Table.from_pandas(day, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table.cast(writer.schema), row_group_size=100_000)
    if writer is not None:
        writer.close()
    return path


def _frame_bytes(path: Path) -> int:
    """What the log takes in memory as training would hold it: 8 bytes a number, 4 a category."""
    with pq.ParquetFile(path) as file:
        widths = [8 if pa.types.is_floating(field.type) else 4 for field in file.schema_arrow]
        return int(file.metadata.num_rows * sum(widths))


def _compared(limited: Path, free: Path, rows: int) -> dict[str, dict[str, float]]:
    """Log loss of each kind on the whole evaluation window, both ways, and how much more the bounded one's is."""
    log, settings = Ingested(free / "log.parquet", CLICK_LOG, rows, ""), PipelineSettings()
    window = windows(log, settings).evaluation
    scorers = {(kind, way): load_package(way / kind) for kind in KINDS for way in (limited, free)}
    sums = dict.fromkeys(scorers, 0.0)
    for frame in chunks(log, from_s=window.from_s, to_s=window.to_s):
        clicked = clicks_in_window(frame, log.schema, settings.attribution_window_s)
        for key, scorer in scorers.items():
            probability = scorer.predict(scorer.transform.transform_frame(frame).values)
            sums[key] += float(np.sum(log_losses(clicked, probability)))
    return {
        kind: {
            "rows": window.rows,
            "limited": sums[kind, limited] / window.rows,
            "free": sums[kind, free] / window.rows,
            "excess": sums[kind, limited] / sums[kind, free] - 1,
        }
        for kind in KINDS
    }
