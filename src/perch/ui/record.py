"""What a run leaves behind, as plain data: the report is made of it, and `report.json` is it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of the run."""

    name: str
    seconds: float
    rows: int = 0
    """Rows that the stage worked on; 0 where rows mean nothing."""

    @property
    def rows_per_s(self) -> float | None:
        """Rows a second; `None` where rows mean nothing."""
        return self.rows / self.seconds if self.rows and self.seconds else None


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One registered version."""

    version: int
    role: str
    """Role at the end of the run; empty for none."""

    kind: str
    metrics: Mapping[str, float]
    gate: str
    """What the gate said, in a sentence; empty for the baseline."""


@dataclass(frozen=True, slots=True)
class WeightPoint:
    """Shares of the traffic from a moment on, 0 to 1."""

    t_s: float
    """Seconds since the rollout began."""

    baseline: float
    stable: float
    canary: float
    mirror: float


@dataclass(frozen=True, slots=True)
class EvidencePoint:
    """What was known at a moment."""

    t_s: float
    e_value: float
    verdict: str


@dataclass(frozen=True, slots=True)
class StoryLine:
    """Something that happened, in a sentence."""

    t_s: float
    sentence: str


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One rollout and its end."""

    name: str
    title: str
    """What was released, for a person."""

    version: int
    expected: str
    """How it was meant to end."""

    decision: str
    """How it ended: `promote`, `roll_back` or `fall_back`."""

    reason: str
    """Why, in a sentence."""

    seconds: float
    canary_requests: int
    """Requests of users that the canary answered."""

    bad_responses: int
    """Of those, the ones that failed, broke the SLO's latency, or were judged by wrong scores."""

    lost_requests: int
    """Requests of users that no version answered."""

    weights: tuple[WeightPoint, ...]
    e_value: float
    """Evidence of harm when it was decided."""

    evidence: tuple[EvidencePoint, ...]
    events: tuple[StoryLine, ...]


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """The load test against the SLO."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    slo_p99_ms: float
    error_rate: float
    rps: float
    target_rps: float
    requests: int
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run."""

    name: str
    started: str
    """When it began, ISO 8601."""

    seconds: float
    stages: tuple[StageRecord, ...]
    models: tuple[ModelRecord, ...]
    rollouts: tuple[RolloutRecord, ...]
    load: LoadRecord | None
    machine: Mapping[str, str] = field(default_factory=dict)
    """What it ran on."""

    notes: tuple[str, ...] = ()
    """What a reader should know before comparing figures."""
