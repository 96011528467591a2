"""`perch inspect`: whether the champion is asked what training saw, and reads it as training did."""

import time
from typing import Final

from perch.cli.options import console
from perch.cli.target import Target
from perch.judge.inspect import inspect, sentences
from perch.settings.schema import Events

_USER_COLUMN: Final = Events().user_column
"""Hidden also where the declaration names no column of users: the events of users that nobody names have it, too."""


def inspect_and_tell(target: Target) -> None:
    """Inspect the last hour now, and print what was found; raises as `perch.judge.inspect.inspect` does."""
    with target.inspecting() as collector, target.registry() as registry, console.status("inspecting the last hour"):
        spec = target.declaration().spec
        hidden = spec.events.user_column or _USER_COLUMN
        found = inspect(collector, registry, spec.model, time.time(), user_column=hidden)
    for sentence in sentences(found, with_inputs=True):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
