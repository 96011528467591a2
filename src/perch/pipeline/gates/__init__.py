"""Step 6: may a candidate ask for traffic? The gates that can stop it, one module each.

Every module of this folder is a gate: it holds one class with a name and a method `check`. A further gate is one
further file; nothing lists them but the folder. All of them are asked, in the order of their names, whatever the others
say.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import ClassVar, Protocol, cast

from perch.pipeline.case import Case
from perch.pipeline.record import Finding, NotJudged, Record


class Gate(Protocol):
    """One question that a candidate must be able to answer."""

    name: ClassVar[str]
    """As in the record: that of its module."""

    def check(self, case: Case) -> Finding | NotJudged:
        """Judge a candidate, or say what is missing to judge it by."""
        ...


def gates() -> list[Gate]:
    """All gates, in the order of their names. Raises `TypeError` when a module of the folder holds none, or two."""
    names = sorted(module.name for module in iter_modules(__path__))
    return [_gate(import_module(f"{__name__}.{name}")) for name in names]


def ask(case: Case) -> Record:
    """What all gates say of a candidate. Raises `ModelError` when its package cannot be read."""
    return Record.of([gate.check(case) for gate in gates()])


def _gate(module: ModuleType) -> Gate:
    own = [found for found in vars(module).values() if getattr(found, "__module__", None) == module.__name__]
    found = [kind for kind in own if isinstance(kind, type) and hasattr(kind, "check")]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} holds {len(found)} classes with a method `check`; a gate's module has one")
    return cast("Gate", found[0]())
