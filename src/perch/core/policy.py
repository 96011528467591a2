"""What a rollout is allowed to risk, and what keeping a model fresh may cost: policies with their defaults.

The figures are argued in `docs/explanation/decisions.md` and `docs/how-to/keep-a-model-fresh.md`. Times are in seconds,
shares in 0 to 1.
"""

from dataclasses import dataclass, fields
from enum import StrEnum

_INTERVALS = {
    "alpha": (1e-9, 0.5),
    "beta": (1e-9, 0.5),
    "sample_ratio_alpha": (1e-9, 0.5),
    "tolerated_ratio": (1.0, 100.0),
    "tolerated_score_ratio": (1.0, 100.0),
    "exonerate_odds": (1.0, 1e9),
    "min_requests": (1, 10**9),
    "start_weight": (1e-4, 0.5),
    "max_weight": (1e-4, 0.5),
    "confirm_share": (0.5, 1.0),
    "guard_hold_back": (0.0, 0.25),
    "baseline_share": (0.0, 0.25),
    "margin": (1e-6, 1.0),
    "shadow_harm_bound": (1e-6, 1.0),
    "freeze_e_value": (1.0, 1e9),
    "harm_budget": (1e-3, 1e9),
    "ramp_interval_s": (0.1, 86_400.0),
    "latency_p99_ms": (0.1, 10_000.0),
    "error_rate": (1e-9, 1.0),
    "tolerated_loss": (0.0, 1.0),
    "tolerated_click_loss": (0.0, 0.9),
    "pod_alpha": (1e-9, 0.5),
    "warm_up_requests": (0, 10_000),
    "settling_s": (0.0, 300.0),
    "rollback_limit": (1, 1_000),
    "cool_down_s": (60.0, 2_592_000.0),
    "staleness_limit_s": (3_600.0, 31_536_000.0),
    "runs_per_day": (1, 100),
    "tolerated_decay": (1.0, 10.0),
    "decay_quiet_s": (3_600.0, 1e9),
    "drift_limit": (0.01, 100.0),
}
_UNBOUNDED = (0.0, 1e9)


def _check_intervals(settings: "Slo | Policy | FreshnessPolicy") -> None:
    for field in fields(settings):
        value = getattr(settings, field.name)
        low, high = _INTERVALS.get(field.name, _UNBOUNDED)
        if isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(f"{field.name} is {value:g}; it must lie between {low:g} and {high:g}")


@dataclass(frozen=True, slots=True)
class Slo:
    """What users were promised."""

    latency_p99_ms: float = 100.0
    """99 of 100 requests are answered within this time, in milliseconds."""

    error_rate: float = 0.01
    """At most this share of requests may fail."""

    negligible_latency_ms: float | None = None
    """Differences in latency below this do not matter to anybody and are not tested, in milliseconds.
    `None`: a tenth of `latency_p99_ms`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `ValueError`."""
        _check_intervals(self)
        if self.latency_floor_ms > self.latency_p99_ms:
            raise ValueError(
                f"negligible_latency_ms ({self.latency_floor_ms:g}) is above latency_p99_ms ({self.latency_p99_ms:g}): "
                "no breach of the SLO would ever be seen"
            )

    @property
    def latency_floor_ms(self) -> float:
        """The latency below which arms are not compared, in milliseconds."""
        return self.latency_p99_ms / 10 if self.negligible_latency_ms is None else self.negligible_latency_ms


class Labels(StrEnum):
    """What becomes of outcomes (clicks) that arrive while a rollout runs."""

    IGNORED = "ignored"
    """No evidence is reserved for them."""

    WATCHED = "watched"
    """They may roll a canary back, before promotion and after it. Promotion does not wait for them."""

    REQUIRED = "required"
    """Promotion waits, too, for proof that the canary's outcomes are no worse."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a rollout weighs evidence, how fast it goes, and what it may cost."""

    alpha: float = 0.01
    """Bound on the probability that a canary as good as the champion is found to harm before promotion, all metrics and
    every look together. Each confirmation after an alarm of the guard, and the comparison of the champion with the
    baseline, has one of its own; so has the split of the traffic, `sample_ratio_alpha`, and each pod that is taken
    out, `pod_alpha`."""

    tolerated_ratio: float = 1.25
    """A canary may fail, or be slow, this many times as often as the champion before it counts as harm."""

    tolerated_score_ratio: float = 1.5
    """A score bin may be hit this many times as often (or as rarely) as the evaluation of both versions predicts
    before it counts as harm. Wider than `tolerated_ratio`, for the evaluation's rows are not quite the live ones: in
    the simulated market trees differ from what was predicted beside a logistic regression by up to 1.4, beside other
    trees by up to 1.1."""

    shadow: bool = True
    """Mirror requests to the canary before it gets live traffic. Only for models without side effects."""

    shadow_s: float = 60.0
    """Shortest shadow stage."""

    shadow_harm_bound: float = 0.01
    """The shadow stage ends when the canary's excess bad share is proven to be below this."""

    start_weight: float = 0.01
    """First share of live traffic for the canary."""

    max_weight: float = 0.5
    """Largest share before promotion. One half tells two arms apart fastest."""

    ramp_interval_s: float = 5.0
    """Shortest time between two raises of the weight: one reaction (scrape, decide, propagate)."""

    harm_budget: float = 2.0
    """Excess bad responses that one reaction time may be expected to cost, at the upper bound of harm.
    Above 2,000 requests in a reaction time it is 0.1 % of them."""

    freeze_e_value: float = 5.0
    """While the evidence of harm is above this, nothing is promoted and no weight is raised: what is above 10 % is
    taken back."""

    bake_s: float = 120.0
    """Shortest time with live traffic before promotion."""

    min_requests: int = 200
    """Live requests that each arm must have answered before promotion."""

    margin: float = 0.005
    """Promotion needs proof that the canary's share of errors, and of SLO violations, is at most this much above
    the champion's (or at most twice it, whichever is proven first)."""

    beta: float = 0.05
    """Error probability of the proof that promotion needs, and of the bounds that pace the ramp."""

    no_data_timeout_s: float = 1800.0
    """With no traffic at all for this long, the canary's weight is given back and the rollout ends undecided."""

    labels: Labels = Labels.IGNORED
    """Whether outcomes count, and whether promotion waits for them."""

    tolerated_loss: float = 0.005
    """Where both versions scored a request: the canary's log loss may be this share of the champion's higher before it
    counts as harm."""

    tolerated_click_loss: float = 0.05
    """A canary may earn this share of the champion's clicks less before it counts as harm."""

    external_judge: bool = False
    """Whether a judge from outside gets a part of the evidence: Evidently, which compares what the canary and the
    champion are asked, in a sample of the requests."""

    warm_up_requests: int = 0
    """Latency and scores are not weighed until the canary has finished this many requests, in the shadow stage or,
    without one, in live traffic: a cold process is slow once. Failures count from the first request on."""

    pod_alpha: float = 0.001
    """Error probability of the test that one pod of an arm is worse than the others; it is taken out, and its version
    not blamed. Only where the metrics tell pods apart."""

    settling_s: float = 2.0
    """Time until a change of the weights is in force everywhere; what is counted before tells nothing of the split."""

    sample_ratio_alpha: float = 0.002
    """Error probability of the test that the canary receives the share of requests that it was given."""

    require_approval: bool = False
    """Whether promotion waits, after its proof, until a person says so."""

    rollback_limit: int = 3
    """A service that was rolled back this many times within `rollback_window_s` takes no further release until that
    time has passed, or a person insists."""

    rollback_window_s: float = 3600.0
    """Time over which rollbacks are counted."""

    guard_s: float = 3600.0
    """How long a promoted version is watched, with the old champion kept warm."""

    guard_quiet_s: float = 604_800.0
    """Wanted mean time between false alarms of the guard."""

    guard_hold_back: float = 0.02
    """Share of the traffic that the old champion keeps during the guard."""

    baseline_share: float = 0.01
    """Share of the live traffic that keeps the baseline proven. 0 while the champion is the baseline."""

    confirm_share: float = 0.75
    """Share of the traffic taken to the safe side when the guard's alarm rings, until it is known who is to blame."""

    exonerate_odds: float = 20.0
    """Odds against a threefold harm at which the promoted version gets its traffic back."""

    def __hash__(self) -> int:
        return hash((self.alpha, self.tolerated_ratio, self.labels))  # not all fields: each tick asks for it

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `ValueError`."""
        _check_intervals(self)
        if self.start_weight > self.max_weight:
            raise ValueError(f"start_weight ({self.start_weight:g}) is above max_weight ({self.max_weight:g})")


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """When a model is trained anew. What staleness costs and what a run costs are both told in clicks."""

    automatic: bool = False
    """Whether runs are started by themselves; without it, they are only proposed, and a person starts them."""

    run_price_clicks: float = 10.0
    """What a run costs, with the rollout that follows it, in clicks. As soon as waiting has cost as many, a run is
    started: waiting less would pay for runs, waiting longer for staleness."""

    staleness_price: float = 0.01
    """Clicks in a thousand impressions that each hour of a model's age costs, as long as nobody has measured it:
    `perch freshness --backtest` does."""

    staleness_limit_s: float = 604_800.0
    """A model that is older than this is trained anew whatever it costs."""

    cool_down_s: float = 7_200.0
    """Shortest time between the starts of two runs. It doubles with each run in a row that fails or is refused, up to
    a day. Only a person may insist."""

    runs_per_day: int = 4
    """Runs that may be started in a day. Those that are not started are saved up, for one day at most."""

    tolerated_decay: float = 1.1
    """Clicks for each predicted click may become this many times more, or fewer, than they were when the version was
    new, before it counts as decay."""

    decay_quiet_s: float = 2_592_000.0
    """Wanted mean time between false alarms of decay."""

    drift_limit: float = 0.25
    """Population stability index of the scores, against those of the version's first hour, above which they have
    drifted."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `ValueError`."""
        _check_intervals(self)
