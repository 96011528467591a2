"""What a run leaves behind: every stage, model, rollout and the load test, as plain data for the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of the run."""

    name: str
    seconds: float
    rows: int = 0
    """Rows it worked through; 0 when it is not about rows."""

    @property
    def rows_per_s(self) -> float | None:
        """Rows worked through per second; `None` when it is not about rows."""
        return self.rows / self.seconds if self.rows and self.seconds else None


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One version that was trained."""

    version: int
    role: str
    kind: str
    metrics: Mapping[str, float]
    gate: str
    """The gate's reason, in a sentence."""


@dataclass(frozen=True, slots=True)
class WeightPoint:
    """Where the traffic went from a time on, in shares of 0 to 1."""

    t_s: float
    """Seconds since the rollout started."""

    baseline: float
    stable: float
    canary: float
    mirror: float


@dataclass(frozen=True, slots=True)
class EvidencePoint:
    """What was known at a time."""

    t_s: float
    """Seconds since the rollout started."""

    e_value: float
    verdict: str


@dataclass(frozen=True, slots=True)
class StoryLine:
    """Something that happened, in a sentence."""

    t_s: float
    """Seconds since the rollout started."""

    sentence: str


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One rollout, from its start to its end."""

    name: str
    title: str
    """What was tried, for a reader who knows nothing of it."""

    version: int
    """The version that was released."""

    expected: str
    """The decision that a good engine comes to: `promote`, `roll_back` or `fall_back`."""

    decision: str
    """The decision that it came to."""

    reason: str
    """Its last sentence, with the numbers that decided."""

    seconds: float
    canary_requests: int
    bad_responses: int
    """Responses of the canary that a client saw and that were failed, too slow or wrong."""

    lost_requests: int
    """Requests without any answer, counted at the client."""

    weights: tuple[WeightPoint, ...]
    e_value: float
    """The strongest evidence of harm that there was; 1 means none."""

    evidence: tuple[EvidencePoint, ...] = ()
    events: tuple[StoryLine, ...] = ()
    promoted_at_s: float | None = None

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it should."""
        return self.decision == self.expected


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """The load test: latencies in milliseconds of answered requests, and the SLO they were held against."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    error_rate: float
    rps: float
    target_rps: float
    requests: int
    passed: bool
    sentence: str
    slo_p99_ms: float


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run."""

    name: str
    started: str
    """Date and time, ISO 8601."""

    seconds: float

    stages: tuple[StageRecord, ...] = ()
    models: tuple[ModelRecord, ...] = ()
    rollouts: tuple[RolloutRecord, ...] = ()
    load: LoadRecord | None = None
    requests: int = 0
    """Requests of users in the whole run."""

    lost_requests: int = 0
    """Of those, the ones that nothing answered, within a rollout or between two."""

    machine: Mapping[str, str] = field(default_factory=dict)
    """What it ran on: Python, CPUs, versions."""

    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures."""
