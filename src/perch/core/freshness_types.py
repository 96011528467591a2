"""The words of freshness as plain data: what was seen, what is remembered, what is decided.

All of it goes to JSON and back without loss, see `perch.core.codec`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perch.core.decay import Decay, Matured
from perch.core.drift import Drift, Histogram

_NOTHING_MATURED, _NO_DECAY, _NO_DRIFT = Matured(), Decay(), Drift()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    name: str
    succeeded: bool
    """False for a run that broke, and for one whose candidates were refused."""

    began_s: float
    ended_s: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """What somebody outside says of the service. An alert that goes on firing is the same one."""

    number: str
    """The same for the same alert as long as it fires; another one when it begins anew."""

    sentence: str
    firing: bool = True


@dataclass(frozen=True, slots=True)
class Signals:
    """What was seen since the last look."""

    version: int
    """The champion."""

    trained_s: float | None = None
    """When its data was read, in seconds since the epoch; `None`: nobody wrote it down."""

    impressions: int = 0
    """Requests that the service answered."""

    matured: Matured = _NOTHING_MATURED
    """Of the champion's live requests, those whose labels became final."""

    scores: Histogram = ()
    """The champion's live scores by bin; empty: they were not counted."""

    loss_per_hour: float | None = None
    """Clicks in a thousand impressions that an hour of age costs, by the last backtest."""

    alerts: tuple[Alert, ...] = ()
    wish: bool = False
    """Whether a person asked for a run."""

    override: bool = False
    """Whether the person insists, whatever the cool-down."""

    in_progress: str | None = None
    """Name of the run, or of the rollout, that is in progress."""

    ended: Ended | None = None
    """The last run that ended, whoever started it."""


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered between two looks."""

    seen_s: float | None = None
    version: int | None = None
    fresh_s: float = 0.0
    """Since when the champion ages, in seconds since the epoch."""

    impressions: int = 0
    watched_s: float = 0.0
    """Impressions since then, and the time over which they were counted."""

    lost_clicks: float = 0.0
    """What staleness has cost since then."""

    loss_per_hour: float | None = None
    """As measured last; `None`: never."""

    run: int = 0
    """Number of the last run that was started."""

    run_s: float | None = None
    reason: str = ""
    is_starting: bool = False
    """The run was decided on, and nobody has confirmed that it was started."""

    ended: Ended | None = None
    failures: int = 0
    """Runs in a row that did not succeed."""

    tokens: float | None = None
    """Runs that may be started now; `None`: as many as a day has."""

    alerts: Mapping[str, str] = field(default_factory=dict)
    """Sentences of the alerts that fire and that no run has answered, by number."""

    answered: tuple[str, ...] = ()
    """Numbers of alerts that a run has answered."""

    decay: Decay = _NO_DECAY
    drift: Drift = _NO_DRIFT
    sentence: str = "Nobody has looked yet."
    """What was decided last."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done."""

    start: bool
    run: int
    """Number of the run to be started, or of the last one."""

    sentence: str
    """Why now; or what is waited for, and until when."""

    due_s: float
    """When the next run is due by age alone, in seconds since the epoch."""
