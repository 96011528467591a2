"""The live view redraws on a terminal, and writes one plain line a change everywhere else."""

import io

import pytest
from rich.console import Console

from perch.core.types import Weights
from perch.ui.live import LiveView

HALF = Weights(baseline=0.01, stable=0.49, canary=0.5)


def plain():
    sink = io.StringIO()
    return sink, LiveView(Console(file=sink, width=60))


def terminal():
    sink = io.StringIO()
    return sink, LiveView(Console(file=sink, width=100, force_terminal=True, legacy_windows=False))


def test_plain_lines_hold_no_control_characters():
    sink, view = plain()
    with view:
        view.stage("data", "300,000 impressions")
        view.rollout("good", HALF, 1.3, "Weight 50 %.", "ramp")
        view.line("kept [bold]as it is[/bold]")
    told = sink.getvalue()
    assert told.replace("\n", "").isprintable()
    assert told.splitlines() == [
        "data: 300,000 impressions",
        "  ramp, canary 50.0%, evidence 1.3: Weight 50 %.",
        "kept [bold]as it is[/bold]",
    ]


def test_plain_lines_come_with_a_change_not_with_a_tick():
    sink, view = plain()
    with view:
        for tick in range(5):
            view.stage("rollout", "")
            view.rollout("good", HALF, 1.0 + tick, f"{tick} requests so far.", "ramp")
        view.rollout("good", HALF, 6.0, "Promoted.", "guard")
        view.rollout("good", Weights(stable=0.0, canary=1.0), 6.0, "Over.", "guard")
    assert [line.split(",")[0].strip() for line in sink.getvalue().splitlines()] == [
        "rollout",
        "ramp",
        "guard",
        "guard",
    ]


def test_a_long_sentence_stays_on_one_line():
    sink, view = plain()
    with view:
        view.line("word " * 100)
    assert len(sink.getvalue().splitlines()) == 1


def test_a_new_stage_ends_the_one_before_and_its_rollout():
    _, view = terminal()
    with view:
        view.stage("data", "")
        view.stage("rollout", "")
        view.rollout("good", HALF, 1.0, "Weight 50 %.", "ramp")
        assert shown(view).count("✓") == 1
        assert "Weight 50 %." in shown(view)
        view.stage("load", "")
        assert shown(view).count("✓") == 2
        assert "Weight 50 %." not in shown(view)
    assert shown(view).count("✓") == 3


def test_a_stage_that_fails_gets_no_tick():
    _, view = terminal()

    def fail():
        with view:
            view.stage("data", "")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert "✓" not in shown(view)


def test_bars_show_shares_and_evidence():
    _, view = terminal()
    with view:
        view.rollout("errors", Weights(stable=0.75, canary=0.25, mirror=0.5), 250.0, "Harm.", "ramp")
        bars = [line.split()[1] for line in shown(view).splitlines() if "━" in line]
        assert bars == ["stable", "baseline", "canary", "copied", "evidence"]
        assert "250 of 100" in shown(view)
        assert "errors · ramp" in shown(view)
        assert "25.0%" in shown(view)


def test_a_terminal_is_redrawn_and_keeps_lines():
    sink, view = terminal()
    with view:
        view.stage("data", "working")
        view.line("a line to keep")
    told = sink.getvalue()
    assert "\x1b[" in told
    assert "a line to keep" in told
    assert "data" in told


def shown(view):
    """What the terminal shows now, without colours."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view._render())
    return console.export_text()
