"""What a real serving process took to answer requests to a packaged model.

`perch.serving.proof` measures it where the model will serve; the gates judge it where models are trained.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from perch.errors import ModelError


@dataclass(frozen=True, slots=True)
class LatencyProof:
    """Latencies of one client that sends each request after the answer to the last one, in milliseconds."""

    digest: str
    """The package that answered."""

    requests: int = 0
    """Requests sent after the warm-up."""

    failures: int = 0
    """Those of them that were not answered with status 200."""

    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    quiet_p99_ms: float = 0.0
    """The lowest p99 among five equal parts of the requests, one after the other. Whatever else runs on the machine
    adds to latency and never takes from it, so this is nearest to what the model itself takes."""

    peak_rss_bytes: int | None = None
    """Most memory that the process ever held; `None` where the system does not tell."""

    trouble: str | None = None
    """Why the package cannot be served; then nothing was measured. `None`: it can."""


_JSON = TypeAdapter(LatencyProof)


def to_json(proof: LatencyProof) -> str:
    """The proof as the file that one step leaves for another."""
    return _JSON.dump_json(proof, indent=2).decode() + "\n"


def read_proof(file: Path) -> LatencyProof:
    """Read a proof. Raises `ModelError` when the file holds none."""
    try:
        return _JSON.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{file} holds no proof of latency ({error}): run `python -m perch.serving.proof`") from error
