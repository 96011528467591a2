"""Attributes a few scores to their inputs while others are answered, in a thread of its own.

A row of trees takes half a millisecond, ten times what its score does. LightGBM lets go of the interpreter meanwhile,
so requests that are not attributed do not wait.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from perch.workload.attribution import Attributor
from perch.workload.features import Floats

_DECIMALS = 6


class Attributing:
    """The thread, and what it works with."""

    def __init__(self, attributor: Attributor) -> None:
        self._attributor = attributor
        self._thread = ThreadPoolExecutor(1, "attribute")

    async def row(self, features: Floats, row: int) -> Mapping[str, float]:
        """What each input added to the log-odds of one row of a matrix, rounded to a millionth."""
        parts = await asyncio.get_running_loop().run_in_executor(self._thread, self._parts, features[row : row + 1])
        return dict(zip(self._attributor.inputs, parts, strict=True))

    def _parts(self, features: Floats) -> list[float]:
        parts = self._attributor.inputs_of(self._attributor.features_of(features))
        added: list[float] = parts[0].round(_DECIMALS).tolist()
        return added
