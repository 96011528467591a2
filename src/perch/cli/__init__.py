"""The command line: a thin shell over the functions that do the work.

Every command imports what it needs when it runs, so that `perch --help` answers at once.
"""

import sys

from perch.cli.app import app
from perch.errors import PerchError


def main() -> None:
    """Run `perch`; an error that Perch raises on purpose is one sentence and its class's exit code."""
    try:
        app()
    except PerchError as error:
        print(f"perch: {error}", file=sys.stderr)  # noqa: T201  the user's terminal
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


__all__ = ["main"]
