"""Vectors of floats that a frozen state may hold: no copy on the way in or out, equal by their numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """A read-only vector."""

    array: Floats
    """Shape (n,). Made read-only here, for a state is never changed."""

    def __post_init__(self) -> None:
        """Freeze the numbers, too."""
        self.array.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vector) and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self.array.tobytes())
