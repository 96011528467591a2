"""What must hold of freshness whatever is seen: never two runs, never more than the budget, never too soon."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from perch.core.codec import dumps, loads
from perch.core.decay import Matured
from perch.core.freshness import confirmed, decide
from perch.core.freshness_types import Alert, Ended, Signals, State
from perch.core.policy import FreshnessPolicy
from perch.core.staleness import DAY_S

NOW_S = 1_800_000_000.0

policies = st.builds(
    FreshnessPolicy,
    automatic=st.just(value=True),
    run_price_clicks=st.sampled_from([0.0, 1.0, 10.0]),
    staleness_price=st.sampled_from([0.0, 0.01, 1.0]),
    staleness_limit_s=st.sampled_from([3_600.0, 86_400.0]),
    cool_down_s=st.sampled_from([60.0, 1_800.0, 7_200.0]),
    runs_per_day=st.integers(1, 5),
)
alerts = st.builds(Alert, number=st.sampled_from("abc"), sentence=st.just("x"), firing=st.booleans())
looks = st.lists(
    st.fixed_dictionaries(
        {
            "elapsed_s": st.sampled_from([-600.0, 0.0, 60.0, 900.0, 7_200.0, 90_000.0]),
            "impressions": st.sampled_from([0, 100, 100_000]),
            "matured": st.sampled_from([Matured(), Matured(1_000, 20, 20.0), Matured(1_000, 3, 25.0)]),
            "scores": st.sampled_from([(), (2_000, 2_000), (10, 4_000)]),
            "alerts": st.lists(alerts, max_size=2).map(tuple),
            "wish": st.booleans(),
            "override": st.booleans(),
            "starts": st.booleans(),
            "lasts": st.integers(0, 3),
            "succeeds": st.booleans(),
        }
    ),
    max_size=40,
)


def simulate(policy, script):
    """Run a script of looks against a world in which a run lasts some looks; yields what a watcher would see."""
    state, now_s, running, ended, version = State(), NOW_S, None, None, 1
    for told in script:
        now_s += told["elapsed_s"]
        if running is not None:
            name, began_s, left = running
            running = (name, began_s, left - 1) if left else None
            if running is None:
                ended = Ended(name, told["succeeds"], began_s, now_s)
                version += told["succeeds"]
        signals = Signals(
            version=version,
            impressions=told["impressions"],
            matured=told["matured"],
            scores=told["scores"],
            alerts=told["alerts"],
            wish=told["wish"],
            override=told["override"],
            in_progress=running and running[0],
            ended=ended,
        )
        before, (state, decision) = state, decide(state, signals, policy, now_s)
        yield before, signals, state, decision, now_s
        if decision.start and told["starts"]:
            assert running is None, "never two at once"
            running, state = (f"run-{decision.run}", now_s, told["lasts"]), confirmed(state)


@given(policies, looks)
def test_a_run_never_starts_while_another_is_in_progress(policy, script):
    for _, signals, _, decision, _ in simulate(policy, script):
        assert not (decision.start and signals.in_progress)


@given(policies, looks)
def test_the_budget_is_never_exceeded(policy, script):
    first_s = last_s = NOW_S
    runs = 0
    for _, _, state, _, now_s in simulate(policy, script):
        last_s, runs = max(last_s, now_s), state.run
        assert state.tokens >= -1e-9
        assert runs <= policy.runs_per_day * (1 + (last_s - first_s) / DAY_S) + 1e-6


@given(policies, looks)
def test_the_cool_down_is_kept_unless_a_person_insists(policy, script):
    for before, signals, state, _, now_s in simulate(policy, script):
        if state.run > before.run and before.run_s is not None and not (signals.wish and signals.override):
            assert now_s - before.run_s >= policy.cool_down_s


@given(policies, looks)
def test_a_number_is_given_to_one_run_only_and_none_is_left_out(policy, script):
    for before, _, state, decision, _ in simulate(policy, script):
        assert state.run in {before.run, before.run + 1}
        assert decision.run == state.run
        assert not decision.start or state.run > before.run or before.is_starting


@given(policies, looks, st.sampled_from(["wish", "alerts", "impressions", "loss", "decay", "drift"]))
def test_more_evidence_never_stops_a_start(policy, script, what):
    for before, signals, _, decision, now_s in simulate(policy, script):
        state, more = before, signals
        match what:
            case "wish":
                more = replace(signals, wish=True)
            case "alerts":
                more = replace(signals, alerts=(*signals.alerts, Alert("d", "y")))
            case "impressions":
                more = replace(signals, impressions=2 * signals.impressions)
            case "loss":
                state = replace(before, lost_clicks=before.lost_clicks + 5)
            case "decay":
                raised = tuple(level + 1e6 for level in before.decay.detectors)
                state = replace(before, decay=replace(before.decay, detectors=raised))
            case "drift":
                state = replace(before, drift=replace(before.drift, psi=9.0))
        assert decide(state, more, policy, now_s)[1].start >= decision.start


@given(policies, looks)
def test_the_state_goes_to_json_and_back_at_any_look(policy, script):
    for _, _, state, _, _ in simulate(policy, script):
        assert loads(State, dumps(state)) == state
