"""What can be broken on purpose, by name."""

from collections.abc import Mapping
from typing import Any, Final

from perch.core.policy import Slo

ERRORS: Final = {"error_rate": 0.05}
"""A code path that throws, in one request of twenty."""

CONSTANT: Final = {"constant_score": 0.02}
"""A model that lost its features."""

SKEW: Final = {"skew": {"column": "price", "how": "scale", "factor": 100.0}}
"""Prices in cents, where training had whole units."""

IN_HOURS: Final = {"skew": {"column": "ad_age_days", "how": "scale", "factor": 24.0}}
"""An age in hours, where training had days: the models of the demonstration give nearly the same scores."""

LOST: Final = {"skew": {"column": "site", "how": "null"}}
"""A site that gets lost between request and model; each version of the demonstration reads it."""

SILENCE: Final = {"silent": True}
"""A process that hangs."""


def faults(slo: Slo) -> Mapping[str, Mapping[str, Any]]:
    """Every fault as `PUT /faults` takes it; one of latency makes each answer later than the SLO allows."""
    latency = {"latency_ms": slo.latency_p99_ms}
    return {"errors": ERRORS, "latency": latency, "constant": CONSTANT, "skew": SKEW, "silence": SILENCE, "none": {}}
