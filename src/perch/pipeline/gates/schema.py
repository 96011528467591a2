"""Does the candidate answer the requests that are sent now?

Callers do not change with a version, and the route sends the same request to any arm.
"""

from collections.abc import Iterator
from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.record import Finding
from perch.workload.schema import Schema


class Inputs:
    """Reads the very inputs that the champion and the baseline read, each of the same type.

    Serving refuses a request that lacks a column, and one with a column too many: so a candidate that reads fewer
    columns fails live requests as surely as one that reads more. Their order does not matter.
    """

    name: ClassVar[str] = "schema"

    def check(self, case: Case) -> Finding:
        """Compare the inputs by name and type."""
        differing = {
            role: list(_differences(case.scorer.schema, incumbent.schema))
            for role, incumbent in (("champion", case.champion), ("baseline", case.baseline))
        }
        clauses = [f"{', '.join(found)} than the {role}" for role, found in differing.items() if found]
        inputs = len(case.scorer.schema.inputs)
        if clauses:
            sentence = f"requests of now are not answered: the challenger reads {'; and '.join(clauses)}"
        else:
            sentence = f"the challenger reads the {inputs} inputs that champion and baseline read"
        return Finding.judged(self.name, sentence, passed=not clauses, figures={"inputs": float(inputs)})


def _differences(own: Schema, other: Schema) -> Iterator[str]:
    types, wanted = _types(own), _types(other)
    more = [name for name in types if name not in wanted]
    less = [name for name in wanted if name not in types]
    changed = [name for name, kind in types.items() if wanted.get(name, kind) != kind]
    if more:
        yield f"{', '.join(more)} more"
    if less:
        yield f"{', '.join(less)} less"
    if changed:
        yield f"{', '.join(f'{name} as a {types[name]}' for name in changed)} rather"


def _types(schema: Schema) -> dict[str, str]:
    return dict.fromkeys(schema.numeric, "number") | dict.fromkeys(schema.categorical, "category")
