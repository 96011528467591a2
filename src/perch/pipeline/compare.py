"""Two models on the same rows: by how much the one's log loss differs from the other's.

The differences are taken row by row before they are resampled: what is hard about a row is hard for both models and
cancels, so far fewer clicks suffice.
"""

from collections.abc import Mapping

import numpy as np

from perch.pipeline.features import Bools
from perch.pipeline.settings import PipelineSettings
from perch.workload.features import Floats
from perch.workload.metrics import Interval, block_sums, interval, resampled_sums


def difference(losses: Floats, reference: Floats, settings: PipelineSettings) -> Interval:
    """Interval of the difference in mean log loss, as a share of the reference's; below 0 is better."""
    return differences(losses, reference, {"": np.ones(len(losses), np.bool_)}, settings)[""]


def differences(
    losses: Floats, reference: Floats, parts: Mapping[str, Bools], settings: PipelineSettings
) -> dict[str, Interval]:
    """The same for each of some parts of the rows; all intervals hold at once.

    The more parts, the thinner each tail, and the more resamples, so that as many of them lie in it.
    """
    if not parts:
        return {}
    pair = np.stack([losses - reference, reference], axis=1)
    blocks = np.concatenate([block_sums(pair * rows[:, None]) for rows in parts.values()], axis=1)
    sums = resampled_sums(blocks, resamples=settings.resamples * len(parts), seed=settings.seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no row of a part
        return {name: interval(sums[:, 2 * i] / sums[:, 2 * i + 1], looks=len(parts)) for i, name in enumerate(parts)}


def shares(difference: Interval) -> str:
    """An interval of shares in words, such as `-0.50% to +1.25%`."""
    sign = "+" if difference.low < 0 else ""
    return f"{difference.low:{sign}.2%} to {difference.high:{sign}.2%}"
