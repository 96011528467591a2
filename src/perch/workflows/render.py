"""Writes all workflows as YAML: `python -m perch.workflows.render FOLDER`. The chart has them, and a test compares."""

import sys
from pathlib import Path
from typing import Any, Final

from perch.workflows.release import release
from perch.workflows.retrain import retrain
from perch.workflows.train import train

HEADER: Final = "# Written by `python -m perch.workflows.render` from perch.workflows. Don't edit it.\n"


def workflows() -> list[dict[str, Any]]:
    """The workflow templates, as Argo reads them."""
    return [one().to_dict() for one in (train, release, retrain)]


def files() -> dict[str, str]:
    """The text of each file by its name: the templates, and the schedules of a service that is called `ads`."""
    templates = {one.name: one.to_yaml() for one in (train(), release(), retrain())}
    return {f"{name}.yaml": HEADER + text for name, text in templates.items()}


def main() -> None:
    """Write them into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
