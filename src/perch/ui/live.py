"""A run as it happens: a table that redraws itself on a terminal, plain lines everywhere else."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from perch.core.types import Weights

ROLLBACK_E_VALUE = 100.0
"""Evidence at which a canary is rolled back with the default `alpha` of 1 %."""

_BAR_WIDTH = 40
_COLOURS = {"stable": "cyan", "baseline": "yellow", "canary": "bright_yellow", "mirror": "magenta"}


@dataclass(slots=True)
class _Stage:
    name: str
    message: str
    since_s: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    """How long it took; `None` while it runs."""


@dataclass(frozen=True, slots=True)
class _Rollout:
    name: str
    weights: Weights
    e_value: float
    sentence: str
    phase: str | None


class LiveView:
    """Shows stages, the current rollout, and lines worth keeping. A context manager; the last stage ends with it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._stages: list[_Stage] = []
        self._rollout: _Rollout | None = None
        self._live = (
            Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end_stage()
        self._rollout = None
        if self._live:
            self._live.stop()

    def stage(self, name: str, message: str) -> None:
        """Say what is going on now. A new name ends the stage before it."""
        current = self._stages[-1] if self._stages else None
        if current and current.name == name:
            changed, current.message = current.message != message, message
        else:
            self._end_stage()
            self._stages.append(_Stage(name, message))
            self._rollout, changed = None, True
        if changed:
            self._plain(f"{name}: {message}" if message else name)

    def rollout(self, name: str, weights: Weights, e_value: float, sentence: str, phase: str | None) -> None:
        """Show where a rollout stands: shares of 0 to 1, evidence of harm, its last sentence and its phase."""
        before, self._rollout = self._rollout, _Rollout(name, weights, e_value, sentence, phase)
        if before is None or (before.name, before.weights, before.phase) != (name, weights, phase):
            self._plain(f"  {phase or 'waiting'}, canary {weights.canary:.1%}, evidence {e_value:.3g}: {sentence}")

    def line(self, text: str) -> None:
        """Keep a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _plain(self, text: str) -> None:
        if not self._live:
            self.line(text)

    def _end_stage(self) -> None:
        if self._stages and self._stages[-1].seconds is None:
            self._stages[-1].seconds = time.monotonic() - self._stages[-1].since_s

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._stage_table()]
        if self._rollout:
            parts.append(_rollout_panel(self._rollout))
        return Group(*parts)

    def _stage_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for stage in self._stages:
            running = stage.seconds is None
            seconds = time.monotonic() - stage.since_s if stage.seconds is None else stage.seconds
            table.add_row(
                Spinner("dots", style="yellow") if running else Text("✓", style="green"),
                Text(stage.name, style="bold" if running else ""),
                Text(f"{seconds:.1f} s", style="dim", justify="right"),
                Text(stage.message if running else "", style="dim"),
            )
        return table


def _rollout_panel(rollout: _Rollout) -> Panel:
    weights = rollout.weights
    rows = Table.grid(padding=(0, 1))
    for arm, share in (("stable", weights.stable), ("baseline", weights.baseline), ("canary", weights.canary)):
        rows.add_row(arm, _bar(share, _COLOURS[arm]), f"{share:.1%}")
    if weights.mirror:
        rows.add_row("copied", _bar(weights.mirror, _COLOURS["mirror"]), f"{weights.mirror:.1%}")
    harmful = rollout.e_value >= ROLLBACK_E_VALUE
    strength = min(rollout.e_value / ROLLBACK_E_VALUE, 1.0)
    rows.add_row(
        "evidence", _bar(strength, "red" if harmful else "blue"), f"{rollout.e_value:.3g} of {ROLLBACK_E_VALUE:.0f}"
    )
    title = Text(f"{rollout.name} · {rollout.phase or 'waiting'}")
    return Panel(Group(rows, Text(rollout.sentence, style="italic")), title=title, title_align="left")


def _bar(share: float, colour: str) -> Text:
    filled = round(min(max(share, 0.0), 1.0) * _BAR_WIDTH)
    return Text.assemble(("━" * filled, colour), ("━" * (_BAR_WIDTH - filled), "bright_black"))
