"""What a load test measured, and whether it kept the promise to the users."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perch.core.policy import Slo

MIN_ACHIEVED = 0.95
"""A run that sent less than this share of the wanted requests measured something else than what was asked."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One run. Latencies are of answered requests, in milliseconds; `nan` when none was answered."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    error_rate: float
    """Failed requests among all; 1 when there were none at all."""

    rps: float
    """Requests finished per second."""

    target_rps: float
    requests: int
    passed: bool
    sentence: str
    """Why it passed or not, with the numbers."""


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); `nan` without values."""
    return ascending[math.ceil(share * len(ascending)) - 1] if ascending else math.nan


def judge(latencies_ms: Sequence[float], failed: int, *, elapsed_s: float, target_rps: float, slo: Slo) -> LoadResult:
    """Hold a run against the SLO.

    Args:
        latencies_ms: One for each answered request, from the time it was due to its answer; in any order.
        failed: Requests that were not answered, or with an error.
        elapsed_s: How long requests were sent.
        target_rps: Requests per second that were wanted.
        slo: What users were promised.
    """
    ascending = sorted(latencies_ms)
    requests = len(ascending) + failed
    p50, p95, p99 = (percentile(ascending, share) for share in (0.5, 0.95, 0.99))
    error_rate, rps = failed / requests if requests else 1.0, requests / elapsed_s
    held = {
        f"{failed:,} requests failed": error_rate <= slo.error_rate,
        "p99 is above its limit": p99 <= slo.latency_p99_ms,
        f"only {rps / target_rps:.0%} of the wanted rate was achieved": rps >= MIN_ACHIEVED * target_rps,
    }
    if not ascending:
        held = {"every request failed" if failed else "no request was sent": False}
    breaches = [breach for breach, kept in held.items() if not kept]
    verdict = "failed: " + "; ".join(breaches) if breaches else "passed"
    sentence = (
        f"{requests:,} requests at {rps:.1f}/s of {target_rps:g}/s wanted, p99 {p99:.1f} ms of "
        f"{slo.latency_p99_ms:g} ms allowed, {error_rate:.2%} errors of {slo.error_rate:.2%} allowed: {verdict}."
    )
    return LoadResult(p50, p95, p99, error_rate, rps, target_rps, requests, not breaches, sentence)
