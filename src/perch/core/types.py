"""The words of a rollout as frozen, serialisable types: what is counted, what is known, what is decided.

Everything here is plain data. An `Observation` holds the counts of one tick, a `Decision` what is to be done about
them; the state between the two is `perch.core.state.State`. All of it goes to JSON and back without loss, because
the ledger must replay to the same decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from operator import add, sub
from typing import Self


class Arm(StrEnum):
    """The running replicas of one version, as the traffic sees them."""

    BASELINE = "baseline"
    """The simple, proven version that is always warm."""

    STABLE = "stable"
    """The champion: the version that a rollback returns to."""

    CANARY = "canary"
    """The challenger, with live traffic."""

    SHADOW = "shadow"
    """The challenger, with mirrored traffic whose answers nobody sees. Never has a weight of its own."""


class Phase(StrEnum):
    """Where a rollout stands."""

    SHADOW = "shadow"
    """The canary answers copies of requests; nobody sees its answers."""

    RAMP = "ramp"
    """The canary's weight grows as gross harm is excluded."""

    GUARD = "guard"
    """Promoted: the canary carries the traffic, the old champion stays warm and the alarm is armed."""

    CONFIRM = "confirm"
    """The guard's alarm rang: most traffic is on the safe side while it is tested who is to blame."""

    DONE = "done"
    """The rollout has ended; `State.outcome` says how."""


class Verdict(IntEnum):
    """What the evidence says, ordered from best to worst; several are merged by `max`."""

    HEALTHY = 0
    UNDECIDED = 1
    NO_DATA = 2
    ERROR = 3
    HARM = 4


class Action(StrEnum):
    """What is done about it."""

    HOLD = "hold"
    """Nothing changes."""

    RAMP = "ramp"
    """The weights change and the rollout goes on; also when the guard's alarm takes traffic away for a while."""

    PROMOTE = "promote"
    """The canary takes over the traffic, with the guard armed."""

    ROLL_BACK = "roll_back"
    """The end: all traffic back to the champion."""

    FALL_BACK = "fall_back"
    """The end: all traffic to the baseline."""


class Command(StrEnum):
    """What a person asked for. It is part of the observation, so that a replay knows of it."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    """Promote now; where the policy waits for approval and the proof stands, this is the approval."""

    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Grid:
    """The fixed edges of the histograms that every serving process counts in.

    `n` edges make `n + 1` bins; bin `i` holds values `edges[i-1] < v <= edges[i]`, the last one all above.
    """

    latency_ms: tuple[float, ...]
    """Upper edges of the latency bins, in milliseconds, ascending. Each SLO limit is one of them."""

    score_logit: tuple[float, ...]
    """Upper edges of the score bins, in log-odds of the predicted probability, ascending."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one arm counted, over one tick or in total. Counts of the same grid can be added and subtracted."""

    requests: int
    """Requests that the arm took on in this time, whatever became of them."""

    failed: int
    """Of those, the ones that ended in an error of the server's (5xx, invalid output, timeout)."""

    latency: tuple[int, ...]
    """Answered requests by latency bin, without the failed ones; `len(grid.latency_ms) + 1` numbers."""

    scores: tuple[int, ...]
    """Requests by the bin of their score (one score for a request); `len(grid.score_logit) + 1` numbers."""

    @classmethod
    def none(cls, grid: Grid) -> Self:
        """Counts of an arm that did nothing."""
        return cls(0, 0, (0,) * (len(grid.latency_ms) + 1), (0,) * (len(grid.score_logit) + 1))

    @property
    def answered(self) -> int:
        """Requests that got a valid answer."""
        return sum(self.latency)

    @property
    def finished(self) -> int:
        """Requests that came to an end, good or bad. Requests refused by the caller's fault are not among them."""
        return self.failed + self.answered

    def fits(self, grid: Grid) -> bool:
        """Whether these counts were taken on `grid`."""
        return len(self.latency) == len(grid.latency_ms) + 1 and len(self.scores) == len(grid.score_logit) + 1

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.requests + other.requests,
            self.failed + other.failed,
            tuple(map(add, self.latency, other.latency)),
            tuple(map(add, self.scores, other.scores)),
        )

    def __sub__(self, other: Self) -> Self:
        return type(self)(
            self.requests - other.requests,
            self.failed - other.failed,
            tuple(map(sub, self.latency, other.latency)),
            tuple(map(sub, self.scores, other.scores)),
        )


@dataclass(frozen=True, slots=True)
class Cohort:
    """Clicks that arrived in one tick for requests that were answered under one and the same split."""

    share: float
    """The canary's share of the requests that it and the stable arm answered then, 0 to 1: really received."""

    canary: int
    """Clicks on the canary's answers."""

    stable: int
    """Clicks on the stable arm's answers."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Labels that arrived in one tick."""

    cohorts: tuple[Cohort, ...] = ()
    """Clicks, by the split in force when their requests were answered."""

    paired: tuple[float, ...] = ()
    """Requests that both versions scored and whose outcome is known, by the difference of their losses (canary minus
    stable), on the points of `perch.core.paired.POINTS`; empty: none."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an external judge says of one window of requests."""

    p_value: float
    """Of "both arms are asked the same", 0 to 1."""

    finding: str = ""
    """What differs most in this window, in words that end a sentence."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One tick: what each arm counted since the last one."""

    tick: int
    """Number of the tick, strictly ascending within a rollout."""

    now_s: float
    """End of the tick, in seconds since the epoch."""

    arms: Mapping[Arm, Counts | None]
    """Counts of each deployed arm. `None`: its source did not answer. An arm that is not deployed is absent."""

    command: Command | None = None
    """What a person asked for since the last tick."""

    outcomes: Outcomes | None = None
    """Labels that arrived; `None` where nobody collects them."""

    judgements: tuple[Judgement, ...] = ()
    """Of an external judge, one for each window that was judged since the last tick: see `perch.core.judge`."""

    pods: Mapping[Arm, Mapping[str, Counts]] = field(default_factory=dict)
    """What each pod of an arm counted, where an arm has several. They add up to the arm's counts."""

    canary_is_down: bool = False
    """Whether nothing runs that could answer as the challenger: its process has ended, or no pod of it is ready."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the live traffic, which add up to 1, and the share of all live requests that is mirrored."""

    baseline: float = 0.0
    stable: float = 1.0
    canary: float = 0.0
    mirror: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done after a tick, and why."""

    action: Action
    weights: Weights
    """Where the traffic goes from now on, also when the action is to hold."""

    phase: Phase
    """The phase after this decision."""

    verdict: Verdict
    sentence: str
    """One sentence for a person, with the numbers that decided."""

    e_value: float
    """Merged evidence that the canary harms; 1 means none, a rollback needs `1 / policy.alpha`. Of a fallback: the
    strongest evidence that any arm harms."""

    harm_bound: float | None
    """Upper bound on the canary's bad share minus the stable arm's (0 to 1); `None` before any request."""

    eject: tuple[str, ...] = ()
    """Pods that are to be taken out of their arm: they are worse than its others, and their version is not to blame."""
