"""The log of a simulated market as a file: what is trained on where nobody has named a log."""

from pathlib import Path

from perch.world.market import Market


def write_log(folder: Path) -> Path:
    """Write 14 days of the default market into `folder`, which is created when it does not exist; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "market.parquet"
    Market().log().to_parquet(log)
    return log
