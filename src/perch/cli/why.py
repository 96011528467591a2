"""`perch why`: the story of a rollout, and what is odd about the inputs now."""

from perch.cli.drift import drifting
from perch.cli.options import console
from perch.cli.target import Target
from perch.rollout.story import story


def tell_story(target: Target, name: str | None) -> None:
    """Print the story of a rollout, of the last one without a name, and each input that drifts now.

    Raises:
        UsageError: there is no such rollout, or none at all.
        RolloutError: its ledger cannot be read.
    """
    with target.ledger(name) as path:
        for line in (*story(path), *drifting(target)):
            console.print(line, highlight=False, markup=False)
