"""Labels and judgements of a rollout: who is asked, how far they have been taken in, what is not tested without."""

from collections.abc import Iterator

from perch.adapters.labels.port import LabelSource
from perch.core import Policy, Reference
from perch.core.policy import Labels
from perch.errors import RolloutError
from perch.rollout.attempt import Attempt
from perch.signals.labels import Arrivals, Comparison


def check(policy: Policy, source: LabelSource | None, *, has_judge: bool, inputs_share: float) -> None:
    """Refuse a policy that counts on evidence which nobody brings.

    Args:
        policy: What a rollout may risk.
        source: Who knows what became of requests.
        has_judge: Whether the external judge runs beside it.
        inputs_share: Share of the requests whose inputs are kept.

    Raises:
        RolloutError: the evidence would never come.
    """
    if policy.external_judge and (source is None or not has_judge):
        raise RolloutError(
            "The policy says `externalJudge: true`, and nobody judges here, so a part of alpha would lie idle. Leave "
            "it out, or give the platform a judge: docs/how-to/have-inputs-judged.md says how."
        )
    if policy.external_judge and not inputs_share:
        raise RolloutError(
            "The policy says `externalJudge: true`, and `featuresShare` of `spec.events` is 0, so no inputs are kept "
            "for it to judge. Keep those of a share of the requests, such as 0.05, or leave `externalJudge` out."
        )
    if policy.labels is Labels.REQUIRED and source is None:
        raise RolloutError(
            "The policy says `labels: required`, and nobody collects outcomes here, so it would never promote. Declare "
            "`labels: watched` or `labels: ignored`, or run a collector."
        )


def untested(policy: Policy, fixed: Reference, source: LabelSource | None) -> Iterator[str]:
    """What labels cannot tell in a rollout that asks for them, in words; nothing when all is tested."""
    if policy.labels is Labels.IGNORED:
        return
    pairs = "log loss on requests that both versions score"
    if source is None:
        yield "outcomes, for nobody collects them here"
    elif not policy.shadow:
        yield f"{pairs}, for the policy mirrors none"
    elif fixed.champion_loss is None:
        yield f"{pairs}, for the champion's evaluation does not say what log loss is usual"


async def arrived(source: LabelSource | None, attempt: Attempt) -> Arrivals | None:
    """What became known since the last tick; `None` when nothing is asked for, or it does not come."""
    policy = attempt.policy
    if source is None or (policy.labels is Labels.IGNORED and not policy.external_judge):
        return None
    versions = str(attempt.champion), str(attempt.version)
    comparison = Comparison(*versions, attempt.state.started_s, judged=policy.external_judge)
    return await source.since(comparison, attempt.label_cursor)
