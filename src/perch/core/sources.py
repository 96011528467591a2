"""Where evidence before promotion comes from, and what part of the error probability each source has.

Counts, labels and a judge look at the same requests at different times: when labels arrive, the counters of their
requests have been weighed long before, and may foretell them. An average of evidence is valid only if all of it is
valid given everything seen so far, so here the sources are not averaged. Each has its part w of `Policy.alpha`, and
convicts by itself when its evidence E reaches 1 / (w alpha). By the union bound all of them together are wrong with a
probability of at most alpha, whatever one tells of another. What is shown as *the* evidence is the largest w E.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

from perch.core.policy import Labels, Policy

_LABELS = 0.3
_PAIRED = 2 / 3  # of the labels' part, where both are to be had
_JUDGE = 0.1


class Source(StrEnum):
    """What kind of evidence."""

    COUNTS = "counts"
    """Errors, latency and scores, as both arms count them."""

    PAIRED = "paired"
    """Losses of requests that both versions scored."""

    CLICKS = "clicks"
    """Which arm's answers are clicked."""

    JUDGE = "judge"
    """P-values from outside."""


@lru_cache(maxsize=32)
def parts(policy: Policy) -> Mapping[Source, float]:
    """Each source's part of `Policy.alpha`; they add up to 1."""
    labels = 0.0 if policy.labels is Labels.IGNORED else _LABELS
    paired = labels * _PAIRED if policy.shadow else 0.0  # without a shadow no request is scored twice
    judge = _JUDGE if policy.external_judge else 0.0
    return {
        Source.COUNTS: 1 - labels - judge,
        Source.PAIRED: paired,
        Source.CLICKS: labels - paired,
        Source.JUDGE: judge,
    }
