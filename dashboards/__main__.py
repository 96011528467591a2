"""Writes the dashboards: `python -m dashboards FOLDER`."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.fleet import fleet
from dashboards.model import model
from dashboards.service import service


def files() -> dict[str, str]:
    """The text of each file, by its name."""
    boards = {"fleet.json": fleet, "model.json": model, "service.json": service}
    return {
        name: json.dumps(made().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, made in boards.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        Path(sys.argv[1], name).write_text(text, encoding="utf-8")
