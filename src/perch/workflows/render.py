"""Writes all workflows as YAML: `python -m perch.workflows.render FOLDER`. The chart has them, and a test compares."""

import sys
from pathlib import Path
from typing import Any, Final

from hera.workflows import WorkflowTemplate

from perch.workflows.release import release
from perch.workflows.retrain import retrain
from perch.workflows.train import train, train_distributed

HEADER: Final = "# Written by `python -m perch.workflows.render` from perch.workflows. Don't edit it.\n"


def workflows() -> list[dict[str, Any]]:
    """The workflow templates, as Argo reads them."""
    return [one.to_dict() for one in _made()]


def files() -> dict[str, str]:
    """The text of each file by its name."""
    return {f"{one.name}.yaml": HEADER + one.to_yaml() for one in _made()}


def _made() -> list[WorkflowTemplate]:
    return [train(), train_distributed(), release(), retrain()]


def main() -> None:
    """Write them into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
