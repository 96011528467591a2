"""Labels of a rollout: who is asked for them, how far they have been taken in, and what is not tested without them."""

from collections.abc import Iterator

from perch.adapters.labels.port import LabelSource
from perch.core import Policy, Reference
from perch.core.policy import Labels
from perch.errors import RolloutError
from perch.rollout.attempt import Attempt
from perch.signals.labels import Arrivals, Comparison


def check(policy: Policy, source: LabelSource | None) -> None:
    """Refuse a policy that counts on evidence which nobody brings; raises `RolloutError`."""
    if policy.external_judge:
        raise RolloutError(
            "The policy says `externalJudge: true`, and no platform of Perch hands on judgements yet, so a part of "
            "alpha would lie idle. Leave it out."
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
    """The labels that became known since the last tick; `None` when they are not asked for or do not come."""
    if source is None or attempt.policy.labels is Labels.IGNORED:
        return None
    versions = str(attempt.champion), str(attempt.version)
    return await source.since(Comparison(*versions, attempt.state.started_s), attempt.label_cursor)
