"""The command line: a thin shell over the functions that do the work.

Every command imports what it needs when it runs, so that `perch --help` answers at once.
"""

import sys
from typing import NoReturn

from perch.cli.app import app
from perch.errors import PerchError, PlatformError


def main() -> None:
    """Run `perch`; an error that Perch raises on purpose is one sentence and its class's exit code."""
    try:
        app()
    except PerchError as error:
        _refuse(str(error), error.exit_code)
    except OSError as error:  # no space, no permission: said by the system, about a file that it names
        _refuse(f"{error}. Mend that and try again.", PlatformError.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(sentence: str, exit_code: int) -> NoReturn:
    print(f"perch: {sentence}", file=sys.stderr)  # noqa: T201  the user's terminal
    sys.exit(exit_code)


__all__ = ["main"]
