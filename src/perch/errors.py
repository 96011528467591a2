"""Every error that Perch raises on purpose, with the exit code that the command line gives it.

    PerchError                    1   anything below, when no better class fits
    ├── UsageError                2   the command was called with something that cannot be meant
    ├── DeclarationError          3   perch.yaml is missing, malformed or contradicts itself
    ├── DataError                 4   the training data cannot be used
    ├── ModelError                5   a model is missing, corrupt or not what its manifest says
    ├── RegistryError             6   the model registry does not answer or refuses
    ├── PlatformError             7   a process, port or file of the local platform stands in the way
    ├── RolloutError              8   the rollout asked for is not possible now
    ├── LoadError                 9   the load test breached its SLO, or measured nothing
    └── RefusedError             10   no candidate passed its gates

An error's message says what happened, to what, and what to do next. It never needs a traceback to be understood.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class PerchError(Exception):
    """Anything that Perch refuses or that failed around it."""

    exit_code = 1


class UsageError(PerchError):
    """The command was called with something that cannot be meant."""

    exit_code = 2


class DeclarationError(PerchError):
    """The declaration is missing, malformed or contradicts itself."""

    exit_code = 3


class DataError(PerchError):
    """The training data cannot be used."""

    exit_code = 4


class ModelError(PerchError):
    """A model is missing, corrupt or not what its manifest says."""

    exit_code = 5


class RegistryError(PerchError):
    """The model registry does not answer or refuses."""

    exit_code = 6


class PlatformError(PerchError):
    """A process, port or file of the local platform stands in the way."""

    exit_code = 7


class RolloutError(PerchError):
    """The rollout asked for is not possible now."""

    exit_code = 8


class LoadError(PerchError):
    """The load test breached its SLO, or measured nothing."""

    exit_code = 9


class RefusedError(PerchError):
    """No candidate passed its gates; what serves stays."""

    exit_code = 10


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """End the process with the sentence and the exit code of an error; for the processes that Perch starts."""
    try:
        yield
    except PerchError as error:
        print(error, file=sys.stderr)  # noqa: T201  the process's last word
        sys.exit(error.exit_code)
