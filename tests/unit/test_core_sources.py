"""Labels and a judge from outside take part in a rollout, each with its own part of the error probability."""

from dataclasses import replace

import pytest

from core_market import LIVE_ONLY, Market, Version, always
from perch.core import Cause, Policy, dumps
from perch.core.paired import spread
from perch.core.policy import Labels
from perch.core.sources import Source, parts
from perch.core.types import Action, Cohort, Judgement, Outcomes, Phase

JUDGED = replace(LIVE_ONLY, external_judge=True)
WATCHED = replace(LIVE_ONLY, labels=Labels.WATCHED)
MIRRORED = replace(WATCHED, shadow=True, shadow_s=5.0)
REQUIRED = replace(LIVE_ONLY, labels=Labels.REQUIRED, bake_s=30.0, margin=0.05)
FAR_FEWER_CLICKS = Outcomes(cohorts=(Cohort(share=0.5, canary=20, stable=80),))
AS_MANY_CLICKS = Outcomes(cohorts=(Cohort(share=0.5, canary=100, stable=100),))
WORSE_LOSSES = Outcomes(paired=spread([0.2, 0.4, -0.1] * 20))
EQUAL_LOSSES = Outcomes(paired=spread([0.02, -0.02] * 50))
CERTAIN = Judgement(1e-6, "column age differs most")


def market(policy, seconds, **told):
    """A market in which the same is told each second: `outcomes` or `judgements`."""
    started = Market(policy=policy, champion_loss=0.3, edit=lambda observation: replace(observation, **told))
    started.run(seconds)
    return started


@pytest.mark.parametrize("labels", Labels)
@pytest.mark.parametrize("judge", [False, True])
def test_the_parts_of_the_error_probability_add_up_to_one(labels, judge):
    part = parts(Policy(labels=labels, external_judge=judge))
    assert sum(part.values()) == pytest.approx(1)
    assert (part[Source.JUDGE] > 0) == judge
    assert (part[Source.PAIRED] > 0) == (part[Source.CLICKS] > 0) == (labels is not Labels.IGNORED)


def test_without_a_mirror_there_are_no_pairs_and_clicks_have_all_that_labels_have():
    alone, beside = (parts(Policy(labels=Labels.WATCHED, shadow=shadow)) for shadow in (False, True))
    assert alone[Source.PAIRED] == 0
    assert alone[Source.CLICKS] == pytest.approx(beside[Source.CLICKS] + beside[Source.PAIRED])


def test_counts_alone_have_all_of_it():
    assert parts(Policy())[Source.COUNTS] == 1


def test_the_evidence_of_counts_counts_by_its_part_where_others_have_one():
    alone, shared = (Market(policy=policy, canary=always(Version(error_rate=0.05))) for policy in (LIVE_ONLY, JUDGED))
    for _ in range(5):
        assert shared.step().e_value == pytest.approx(0.9 * alone.step().e_value)


def test_two_windows_of_a_certain_judge_convict_and_one_does_not():
    assert market(JUDGED, 1, judgements=(CERTAIN,)).state.cause is None
    convicted = market(JUDGED, 2, judgements=(CERTAIN,))
    assert (convicted.state.outcome, convicted.state.cause) == (Action.ROLL_BACK, Cause.HARM)
    assert "is given other inputs than the champion: column age differs most; evidence" in convicted.sentence
    assert convicted.decisions[-1].e_value >= 100


def test_nobody_listens_to_a_judge_that_the_policy_does_not_name():
    assert market(LIVE_ONLY, 20, judgements=(CERTAIN,)).state.cause is None


@pytest.mark.parametrize(
    ("policy", "outcomes", "deed"),
    [
        (WATCHED, FAR_FEWER_CLICKS, "the canary earns over 5 % fewer clicks"),
        (MIRRORED, FAR_FEWER_CLICKS, "the canary earns over 5 % fewer clicks"),
        (MIRRORED, WORSE_LOSSES, "the canary's log loss is more than"),
    ],
)
def test_labels_convict(policy, outcomes, deed):
    convicted = market(policy, 120, outcomes=outcomes)
    assert (convicted.state.outcome, convicted.state.cause) == (Action.ROLL_BACK, Cause.HARM)
    assert deed in convicted.sentence
    assert convicted.sentence.endswith("needed 100.")


@pytest.mark.parametrize("outcomes", [FAR_FEWER_CLICKS, WORSE_LOSSES])
def test_labels_that_are_ignored_say_nothing(outcomes):
    ignored, untold = market(LIVE_ONLY, 30, outcomes=outcomes), market(LIVE_ONLY, 30)
    assert dumps(ignored.state) == dumps(untold.state)


def test_losses_without_the_champions_to_compare_them_with_say_nothing():
    told = Market(policy=WATCHED, edit=lambda observation: replace(observation, outcomes=WORSE_LOSSES))
    assert told.run(60).cause is None
    assert told.state.paired.e_value == 1


def test_labels_convict_a_promoted_version_as_well():
    policy = replace(WATCHED, bake_s=30.0, margin=0.05)

    def once_promoted(observation):
        return replace(observation, outcomes=FAR_FEWER_CLICKS if late.promoted_s else None)

    late = Market(policy=policy, edit=once_promoted)
    late.run(300)
    assert late.promoted_s is not None
    assert (late.state.outcome, late.state.cause) == (Action.ROLL_BACK, Cause.HARM)


def test_watched_labels_do_not_hold_a_promotion_up_and_required_ones_do():
    untold = {
        policy.labels: market(policy, 200).promoted_s for policy in (replace(REQUIRED, labels=Labels.WATCHED), REQUIRED)
    }
    assert untold[Labels.WATCHED] is not None
    assert untold[Labels.REQUIRED] is None


@pytest.mark.parametrize("outcomes", [AS_MANY_CLICKS, EQUAL_LOSSES])
def test_required_labels_of_either_kind_let_a_canary_pass_that_is_no_worse(outcomes):
    told = market(REQUIRED, 400, outcomes=outcomes)
    assert told.promoted_s is not None
    assert told.state.phase is Phase.GUARD


def test_every_live_request_is_mirrored_where_losses_are_to_be_compared():
    watching = Market(policy=replace(WATCHED, shadow=True, shadow_s=5.0))
    watching.run(120, until=lambda state: state.weights.canary > 0.02)
    assert watching.state.weights.mirror == 1
    plain = Market(policy=replace(Policy(), shadow_s=5.0))
    plain.run(120, until=lambda state: state.weights.canary > 0.02)
    assert plain.state.weights.mirror == 0
