"""A workflow as a person sees it: while it runs, at its end, and when it is no longer watched."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from perch.cli import workflows
from perch.cli.workflows import follow
from perch.errors import PerchError
from perch.settings import ModelService
from perch.workflows.local.memory import Node, Run


def run(**phases):
    found = Run("ads-train-1", "train", {}, phase="Running")
    for name, phase in phases.items():
        found.nodes[name] = Node(name, phase, "main: it is [broken]" if phase == "Failed" else "", 3.0)
    return found


class Running:
    """Workflows that show some looks, and end as they are told."""

    def __init__(self, *looks, ends=None):
        self.looks, self.ends, self.asked = looks, ends or {}, None
        self.seen = []

    def run(self, workflow, parameters, progress, *, resume):
        self.asked = parameters
        for look in self.looks:
            progress(look)
            self.seen.append(self.text())
        if isinstance(self.ends, BaseException):
            raise self.ends
        return self.ends


@pytest.fixture
def shown(monkeypatch):
    """What is on the screen after following; what was there after each look stands in `seen`."""

    def shown(running, *, terminal=True, options="", workflow="train"):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=100, _environ={"TERM": "xterm-256color"})
        monkeypatch.setattr(workflows, "console", console)
        running.text = screen.getvalue
        target = SimpleNamespace(declaration=ModelService, workflows=lambda: running, options=options)
        try:
            follow(target, workflow, {"reason": "a test"}, resume=False)
        except (PerchError, KeyboardInterrupt):
            running.raised = True
        return screen.getvalue()

    return shown


def test_steps_are_on_the_terminal_while_they_run(shown, monkeypatch):
    class AtOnce(workflows.Live):
        def update(self, renderable, **_):
            super().update(renderable, refresh=True)

    monkeypatch.setattr(workflows, "Live", AtOnce)
    running = Running(run(declare="Running"), run(declare="Succeeded", ingest="Running"))
    shown(running)
    assert "declare" in running.seen[0]
    assert "ingest" not in running.seen[0]
    assert "ingest" in running.seen[1]


def test_elsewhere_each_step_is_a_line_once_it_has_ended(shown):
    looks = (run(declare="Running"), run(declare="Succeeded"), run(declare="Succeeded", log="Remembered", fit="Failed"))
    running = Running(*looks)
    said = shown(running, terminal=False)
    assert running.seen[0] == ""
    assert said.splitlines() == ["✔ declare  3 s", "↺ log  3 s", "✘ fit  3 s"]


def test_what_is_offered_is_told_with_the_next_command(shown):
    ends = {"version": "2", "offered": "Version 2 asks for traffic."}
    said = shown(Running(ends=ends), options=" --context prod")
    assert "Version 2 asks for traffic. Next: perch workflow run release --context prod" in said


def test_what_serves_already_is_not_offered_again(shown):
    said = shown(Running(ends={"version": "2", "offered": "Version 2 serves already: nothing new is offered."}))
    assert "Version 2 serves already: nothing new is offered." in said
    assert "Next:" not in said


def test_who_stops_watching_is_told_how_to_go_on(shown):
    assert "Go on: perch workflow run train --resume" in shown(Running(ends=KeyboardInterrupt()))
    assert "It goes on in the cluster." in shown(Running(ends=KeyboardInterrupt()), options=" --context prod")


def test_training_is_told_how_much_memory_its_pods_may_take_and_a_release_is_not(shown):
    for workflow, memory in (("train", {"memory": "2Gi"}), ("release", {})):
        running = Running()
        shown(running, workflow=workflow)
        assert running.asked == {"service": "ads", "reason": "a test", **memory}
