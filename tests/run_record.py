"""A record as a demonstration leaves it: one rollout for each end, drawn from a small simulated course."""

import math
import random

from perch.ui.record import (
    EvidencePoint,
    LoadRecord,
    ModelRecord,
    RolloutRecord,
    RunRecord,
    StageRecord,
    StoryLine,
    WeightPoint,
)

SHADOW_S, RAMP = 6.0, ((6.0, 0.01), (8.0, 0.04), (10.0, 0.12), (12.0, 0.3), (14.0, 0.5))


def evidence(seed, until_s, drift):
    """A random walk on the logarithm of the e-value, with a look each half second."""
    rng, log10, points = random.Random(seed), 0.0, []
    for tick in range(int(until_s * 2)):
        log10 = max(-1.0, log10 + rng.gauss(drift if tick > SHADOW_S * 2 else 0, 0.08))
        points.append(EvidencePoint(tick / 2, 10**log10, "harm" if log10 >= 2 else "undecided"))
    return tuple(points)


def ramp(until_s):
    live = [WeightPoint(t_s, 0.01, 0.99 - share, share, 0.0) for t_s, share in RAMP if t_s < until_s]
    return (WeightPoint(0.0, 0.01, 0.99, 0.0, 0.5), *live)


def good():
    return RolloutRecord(
        name="good",
        title="A better model: gradient-boosted trees in place of the baseline",
        version=2,
        expected="promote",
        decision="promote",
        reason="Promoted: after 2,412 canary requests the share of errors is proven to be at most 0.4 points above the "
        "champion's, the p99 of 18 ms is within 100 ms, and the evidence of harm is 1.3, below 10.",
        seconds=43.2,
        canary_requests=2412,
        bad_responses=1,
        lost_requests=0,
        weights=(*ramp(60), WeightPoint(29.0, 0.01, 0.02, 0.97, 0.0)),
        e_value=1.3,
        evidence=evidence(3, 43, -0.02),
        events=(
            StoryLine(0.0, "Version 2 answers copies of half of the requests."),
            StoryLine(
                6.0, "Shadow stage passed: its bad share is at most 0.9 points above the champion's. Weight 1 %."
            ),
            StoryLine(
                14.0, "Weight 50 %: even at the upper bound of harm one reaction costs less than 2 bad responses."
            ),
            StoryLine(29.0, "Promoted; the old champion keeps 2 % and stays warm."),
            StoryLine(43.2, "The guard ended in silence. Version 2 is the champion."),
        ),
        promoted_at_s=29.0,
    )


def errors():
    points = tuple(p for p in evidence(5, 30, 0.13))
    end = next(p.t_s for p in points if p.verdict == "harm")
    return RolloutRecord(
        name="errors",
        title="A retrained model that fails 5 % of its requests, released without a shadow stage",
        version=3,
        expected="roll_back",
        decision="roll_back",
        reason="Rolled back: 6 of 131 canary requests failed against 0 of 1,204 on the champion, evidence 118 of 100.",
        seconds=end + 1.5,
        canary_requests=131,
        bad_responses=6,
        lost_requests=0,
        weights=(*ramp(end), WeightPoint(end, 0.01, 0.99, 0.0, 0.0)),
        e_value=max(p.e_value for p in points if p.t_s <= end),
        evidence=tuple(p for p in points if p.t_s <= end),
        events=(StoryLine(6.0, "Weight 1 %."), StoryLine(end, "Weight 0: harm is proven.")),
    )


def fallback():
    return RolloutRecord(
        name="degrade",
        title="A promoted champion that degrades while the older version is bad too",
        version=6,
        expected="fall_back",
        decision="fall_back",
        reason="Fell back to the baseline: the guard's alarm rang at 31 s, and the old champion fails 22 of 140 "
        "requests as well, while the baseline fails none of 139.",
        seconds=41.0,
        canary_requests=1630,
        bad_responses=64,
        lost_requests=0,
        weights=(
            *ramp(60),
            WeightPoint(26.0, 0.01, 0.02, 0.97, 0.0),
            WeightPoint(33.0, 0.45, 0.45, 0.1, 0.0),
            WeightPoint(38.5, 1.0, 0.0, 0.0, 0.0),
        ),
        e_value=5.4e7,
        evidence=(*evidence(9, 31, -0.01), EvidencePoint(33.0, 340.0, "harm"), EvidencePoint(38.5, 5.4e7, "harm")),
        events=(StoryLine(33.0, "The alarm rang: 90 % to the safe side until it is known who is to blame."),),
        promoted_at_s=26.0,
    )


def load():
    return LoadRecord(
        p50_ms=5.1,
        p95_ms=14.8,
        p99_ms=31.4,
        error_rate=0.0,
        rps=99.8,
        target_rps=100.0,
        requests=998,
        passed=True,
        sentence="998 requests at 99.8/s of 100/s wanted, p99 31.4 ms of 100 ms allowed, 0.00% errors of 1.00% "
        "allowed: passed.",
        slo_p99_ms=100.0,
    )


def run_record():
    return RunRecord(
        name="demo",
        started="2026-11-21T08:30:00+00:00",
        seconds=171.3,
        stages=(
            StageRecord("data", 1.2, 336_000),
            StageRecord("pipeline: features", 3.4, 336_000),
            StageRecord("pipeline: train", 9.9, 201_000),
            StageRecord("platform", 4.1),
            StageRecord("rollout: good", 43.2),
        ),
        models=(
            ModelRecord(1, "baseline", "logistic", {"log_loss": 0.0942, "auc": 0.713, "ece": 0.0011}, ""),
            ModelRecord(
                2,
                "champion",
                "lightgbm",
                {"log_loss": 0.0917, "auc": 0.742, "ece": math.nan, "slice/new_user/log_loss": 0.11},
                "Log loss is 2.7 % below the champion's (95 % interval 1.9 to 3.4 %).",
            ),
        ),
        rollouts=(good(), errors(), fallback()),
        load=load(),
        machine={"python": "3.12.1", "processors": "2"},
        notes=("Bake and guard are shorter here than the defaults, so that the demonstration ends in minutes.",),
    )
