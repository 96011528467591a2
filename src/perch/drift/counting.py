"""Adds up what the processes of a service counted, from one end of a window to the next."""

from collections.abc import Mapping
from dataclasses import dataclass

from perch.core.attributions import Attributed
from perch.core.inputs import WINDOW_ROWS, Counted, Window
from perch.core.streak import WINDOW_S
from perch.core.types import Arm
from perch.signals.attributions import Attributions, Sums, Trained, attributed
from perch.signals.inputs import (
    Cells,
    Inputs,
    Sketch,
    against_champion,
    against_training,
    inputs_difference,
    summed,
)
from perch.signals.observe import version_of


@dataclass(frozen=True, slots=True)
class _Served:
    """What one version was asked about since the window began."""

    sketches: tuple[Sketch, ...]
    found: Cells
    attributed: Sums | None = None

    @property
    def rows(self) -> int:
        """Requests: each has one bin of the first column."""
        return sum(self.found[: len(self.sketches[0].bins)])


class Counting:
    """Remembers the last totals of each process. What was counted while nobody looked, at a restart, is left out."""

    def __init__(self) -> None:
        self._totals: dict[str, Inputs] = {}
        self._served: dict[tuple[int, str], _Served] = {}
        self._before: dict[int, _Served] = {}
        self._trained: dict[int, tuple[Trained, ...]] = {}
        self._began_s: float | None = None

    def add(self, read: Mapping[str, Inputs | None]) -> None:
        """Add what was counted since the last call."""
        for source, inputs in read.items():
            if inputs is not None:
                self._add(source, inputs)
        self._totals = {name: inputs for name, inputs in self._totals.items() if name in read}

    def _add(self, source: str, inputs: Inputs) -> None:
        before, self._totals[source] = self._totals.get(source), inputs
        if not inputs.sketches or before is None or before.sketches != inputs.sketches:
            return
        for arm in (Arm.STABLE, Arm.CANARY):
            if arm in inputs.arms:
                key = version_of(source), arm.value
                grown = inputs_difference(before.arms.get(arm), inputs.arms[arm])
                added = _grown(before.attributions, inputs.attributions, arm)
                known = self._served.get(key)
                if known is not None and known.sketches == inputs.sketches:
                    grown = summed([known.found, grown]) or grown
                    added = summed(one for one in (known.attributed, added) if one is not None)
                self._served[key] = _Served(inputs.sketches, grown, added)
                self._trained[version_of(source)] = inputs.attributions.trained

    def window(self, champion: int, now_s: float) -> Window | None:
        """The window that ends now, when it is long and full enough; the next one begins with its end."""
        if self._began_s is None:
            self._began_s = now_s
        stable = self._served.get((champion, Arm.STABLE.value))
        if now_s - self._began_s < WINDOW_S or stable is None or stable.rows < WINDOW_ROWS:
            return None
        canaries = {of: served for (of, arm), served in self._served.items() if arm == Arm.CANARY and of != champion}
        canary = max((of for of, served in canaries.items() if served.rows), default=None)
        trained = self._against_training(champion, stable)
        split: tuple[Counted, ...] = ()
        if canary is not None:
            served = canaries[canary]
            split = against_champion(trained, against_training(served.sketches, served.found, None))
        window = Window(
            self._began_s, now_s, champion, canary, trained, split, self._attributed(champion, stable.attributed)
        )
        self._before, self._served, self._began_s = {champion: stable}, {}, now_s
        return window

    def _against_training(self, champion: int, stable: _Served) -> tuple[Counted, ...]:
        before = self._before.get(champion)
        fits = before is not None and before.sketches == stable.sketches
        return against_training(stable.sketches, stable.found, before.found if before is not None and fits else None)

    def _attributed(self, champion: int, found: Sums | None) -> tuple[Attributed, ...]:
        before = self._before.get(champion)
        trained = self._trained[champion]
        return () if found is None else attributed(trained, found, None if before is None else before.attributed)


def _grown(before: Attributions, now: Attributions, arm: Arm) -> Sums | None:
    """What was attributed between two readings of a process; `None`: nothing, or nothing that compares."""
    if before.trained != now.trained or arm not in now.arms:
        return None
    return inputs_difference(before.arms.get(arm), now.arms[arm])
