"""What several commands take, and where they speak."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from perch.settings import ModelService, load_declaration

DECLARATION = Path("perch.yaml")
WHERE = "Where"
"""Heading of the options that say where a service runs."""

Declaration = Annotated[
    Path,
    typer.Option(
        "--file", "-f", help="The declaration.", default_factory=lambda: DECLARATION, show_default="perch.yaml"
    ),
]
Folder = Annotated[
    Path,
    typer.Option(
        "--state",
        help="Folder of the local platform.",
        default_factory=lambda: Path(".perch"),
        show_default=".perch",
        rich_help_panel=WHERE,
    ),
]

_WIDE = 10_000
"""Columns that are enough for any table, where no terminal has an end of the line."""

console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE)  # commands to copy stay in one piece


def declared(path: Path) -> ModelService:
    """The declaration at `path`, checked; raises `DeclarationError`."""
    return load_declaration(path)
