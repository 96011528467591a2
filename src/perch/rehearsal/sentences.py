"""What a policy costs, told to a person: one sentence or two for each question, with the settings that answer it."""

from collections.abc import Iterator

from perch.core.policy import Labels
from perch.core.sentences import percent
from perch.rehearsal.cost import LIMIT_S, Cost, Harm

_SURE = 0.95
_MOSTLY = 0.5
_DAY_S = 86_400.0


def sentences(cost: Cost) -> Iterator[str]:
    """All of them, in the order of a rollout."""
    yield false_rollbacks(cost)
    yield promotion(cost)
    yield after_promotion(cost)
    yield blind_spots(cost)
    if left_out := not_rehearsed(cost):
        yield left_out


def setting(cost: Cost) -> str:
    """What the arms are."""
    limit_ms = cost.slo.latency_p99_ms
    return (
        f"At {cost.rps:,g} requests/s, with the shipped engine and simulated arms. They stand in for yours: Poisson"
        f" arrivals, no baseline arm, a champion that fails 0.1 % and answers 99 of 100 requests within"
        f" {0.6 * limit_ms:g} ms, 60 % of the SLO."
    )


def false_rollbacks(cost: Cost) -> str:
    """The bound, and what was seen."""
    policy, good = cost.policy, cost.good
    return (
        f"False rollbacks: of canaries as good as the champion at most {percent(policy.alpha)} are found to harm"
        f" (alpha: until promotion, every look; each pod taken out and each confirmation by the guard has an alpha of"
        f" its own), and at most {percent(policy.sample_ratio_alpha)} come home for a wrong split (sampleRatioAlpha)."
        f" Seen: {good.false_rollbacks} of {good.replications}."
    )


def promotion(cost: Cost) -> str:
    """How long a good canary takes, and which settings that is owed to."""
    policy, good = cost.policy, cost.good
    if good.promoted_s is None:
        when = f"{percent(good.promoted)} of good canaries are promoted within {_time(LIMIT_S)}"
    else:
        when = f"a good canary is promoted after {_time(good.promoted_s)} (95 %: {_time(good.promoted_p95_s)})"
    live = f", live after {_time(good.live_s)}" if policy.shadow else ""
    full = f", at {percent(policy.max_weight)} of the traffic after {_time(good.full_s)}"
    return f"Promotion: {when}{live}{full}. {_slow_shadow(cost)}{_held_up(cost)}"


def _slow_shadow(cost: Cost) -> str:
    """Nothing, unless the shadow stage waits for proof rather than for the clock."""
    policy, share = cost.policy, cost.good.shadow_outlasted
    if share < _MOSTLY:
        return ""
    return (
        f"In {percent(share)} the shadow stage outlasts shadowS ({_time(policy.shadow_s)}): so long it takes to exclude"
        f" a harm of {percent(policy.shadow_harm_bound)} (shadowHarmBound). "
    )


def _held_up(cost: Cost) -> str:
    policy, good = cost.policy, cost.good
    names = {
        "shadow": f"the end of the shadow stage (shadowS, {_time(policy.shadow_s)})",
        "bake": f"the bake (bakeS, {_time(policy.bake_s)})",
        "ramp": f"the ramp (rampIntervalS, {_time(policy.ramp_interval_s)}; harmBudget, {policy.harm_budget:g})",
        "requests": f"{policy.min_requests:,} requests of each arm (minRequests)",
        "data": f"requests in both arms (given up after noDataTimeoutS, {_time(policy.no_data_timeout_s)})",
        "proof": f"the proof that it is no worse (margin, {percent(policy.margin)}; beta, {percent(policy.beta)})",
    }
    waits = sorted(good.waited_for.items(), key=lambda wait: -wait[1])
    return f"What it waits for last: {', '.join(f'{names[what]} in {percent(share)}' for what, share in waits)}."


def after_promotion(cost: Cost) -> str:
    """What the guard does."""
    policy, late = cost.policy, cost.late_harm
    quiet = f"A false alarm is wanted once in {_time(policy.guard_quiet_s)} (guardQuietS)"
    if late is None:
        return f"After promotion: no good canary was promoted in time, so the guard was not rehearsed. {quiet}."
    rang = f"{quiet}; {late.false_alarms} of {late.false_alarms + late.replications} rang in the quiet time before."
    if not late.replications:
        return f"After promotion: {rang}"
    fault = f"when {percent(late.error_rate)} of the requests begin to fail after {_time(late.quiet_s)}"
    if late.home_s is None:
        found = f"the version comes home in {percent(late.found)} (guardS, {_time(policy.guard_s)})"
        return f"After promotion: {fault}, {found}. {rang}"
    return (
        f"After promotion: {fault},"
        f" {percent(policy.confirm_share)} of the traffic is on the safe side after {_time(late.alarmed_s)}"
        f" (95 %: {_time(late.alarmed_p95_s)}) and the version home after {_time(late.home_s)}"
        f" ({_time(late.home_p95_s)}), with {late.bad_mean:,.1f} bad responses ({late.bad_p95:,.0f}). {rang}"
    )


def blind_spots(cost: Cost) -> str:
    """What is not found, and what is not meant to be."""
    policy = cost.policy
    missed = [
        f"{harm.fault} {stage_name(harm)}: {percent(harm.found)}, and {percent(harm.promoted)} promoted"
        for harm in cost.harms
        if harm.found < _SURE
    ]
    found = (
        f"Not always found within {_time(LIMIT_S)}: {'; '.join(missed)}."
        if missed
        else f"Every fault of the table is found in {percent(_SURE)} and more."
    )
    return (
        f"{found} By declaration a canary may fail or be slow {policy.tolerated_ratio:g} times as often as the champion"
        f" (toleratedRatio), and is promoted on proof of at most {percent(policy.margin)} more (margin), or of no"
        " doubling."
    )


def stage_name(harm: Harm) -> str:
    """Where a rollout began."""
    return "mirrored" if harm.mirrored else "live"


def not_rehearsed(cost: Cost) -> str | None:
    """What the policy asks for and the rehearsal does not have; `None` where it has all."""
    policy = cost.policy
    wishes = {
        "labels: their evidence takes part of alpha, and where they are required promotion waits for them": (
            policy.labels is not Labels.IGNORED
        ),
        "the judge from outside (externalJudge): it takes part of alpha": policy.external_judge,
        "approval (requireApproval): promotion waits for a person": policy.require_approval,
        f"warming up (warmUpRequests): the first {policy.warm_up_requests:,} of the canary's requests prove nothing": (
            policy.warm_up_requests > 0
        ),
    }
    left_out = [what for what, is_so in wishes.items() if is_so]
    return f"Not rehearsed: {'; '.join(left_out)}." if left_out else None


def _time(time_s: float | None) -> str:
    if time_s is None:
        return f"more than {_time(LIMIT_S)}"
    return f"{time_s / _DAY_S:,.1f}".removesuffix(".0") + " days" if time_s >= 2 * _DAY_S else f"{time_s:,.0f} s"
