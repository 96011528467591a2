"""`perch why`: the story of a rollout."""

from pathlib import Path

from perch.cli.options import console
from perch.rollout.history import find_ledger
from perch.rollout.story import story


def tell_story(folder: Path, name: str | None) -> None:
    """Print the story of a rollout, of the last one without a name.

    Raises:
        UsageError: there is no such rollout, or none at all.
        RolloutError: its ledger cannot be read.
    """
    for line in story(find_ledger(folder, name)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
