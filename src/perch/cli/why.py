"""`perch why`: the story of a rollout."""

from pathlib import Path

from perch.cli.options import console
from perch.errors import UsageError
from perch.rollout.story import story


def tell_story(folder: Path, name: str | None) -> None:
    """Print the story of a rollout, of the last one without a name; raises `UsageError` when there is none."""
    ledgers = sorted((folder / "rollouts").glob("*/ledger.jsonl"), key=lambda path: path.stat().st_mtime)
    names = [path.parent.name for path in ledgers]
    if not names:
        raise UsageError(f"No rollout has been recorded in {folder}. Begin one with `perch rollout start`.")
    if name is not None and name not in names:
        raise UsageError(f"There is no rollout {name}. Recorded, oldest first: {', '.join(names)}.")
    for line in story(ledgers[-1 if name is None else names.index(name)]):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
