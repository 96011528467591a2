"""`perch inspect`: whether the champion is asked what training saw, and reads it as training did."""

import time

from perch.cli.options import console
from perch.cli.target import Target
from perch.judge.inspect import inspect, sentences


def inspect_and_tell(target: Target) -> None:
    """Inspect the last hour now, and print what was found; raises as `perch.judge.inspect.inspect` does."""
    with target.inspecting() as collector, target.registry() as registry, console.status("inspecting the last hour"):
        found = inspect(collector, registry, target.declaration().spec.model, time.time())
    for sentence in sentences(found):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
