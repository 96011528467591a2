"""What several commands take, and where they speak."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from perch.settings import ModelService, load_declaration

Declaration = Annotated[
    Path,
    typer.Option(
        "--file", "-f", help="The declaration.", default_factory=lambda: Path("perch.yaml"), show_default="perch.yaml"
    ),
]
Folder = Annotated[
    Path,
    typer.Option(
        "--state", help="Folder of the local platform.", default_factory=lambda: Path(".perch"), show_default=".perch"
    ),
]

console = Console()


def declared(path: Path) -> ModelService:
    """The declaration at `path`, checked; raises `DeclarationError`."""
    return load_declaration(path)
