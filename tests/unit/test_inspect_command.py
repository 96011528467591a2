"""`perch inspect`: asks the place for its collector and registry, and prints a sentence for each finding."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from perch.cli import inspect as command
from perch.judge.inspect import Inspected
from perch.judge.skew import Example
from perch.signals.inspection import ColumnDrift, FeatureMatch, Inspection


@pytest.mark.parametrize(("declared", "hidden"), [("who", "who"), (None, "user_id")])
def test_what_was_found_is_printed_as_it_is_also_where_it_looks_like_markup(monkeypatch, capsys, declared, hidden):
    asked = []
    columns, features = [ColumnDrift("a[b]", 0.5, 0.1)], [FeatureMatch("price", 300, 7), FeatureMatch("hour", 300, 300)]
    example = Example("price", "r1", {"price": 1.5}, 150.0, 1.5)

    def find(*given, user_column):
        asked.append((*given[:3], user_column))
        return Inspected(Inspection("ads", "4", 1.0, 300, columns, features), [example], ["A note."])

    monkeypatch.setattr(command, "inspect", find)
    spec = SimpleNamespace(spec=SimpleNamespace(model="ads", events=SimpleNamespace(user_column=declared)))
    command.inspect_and_tell(
        SimpleNamespace(
            inspecting=lambda: nullcontext("collector"),
            registry=lambda: nullcontext("registry"),
            declaration=lambda: spec,
        )
    )
    assert asked == [("collector", "registry", "ads", hidden)]
    said = capsys.readouterr().out
    assert "300 requests of version 4 were inspected." in said
    assert "a[b] drifts from training: distance 0.50, threshold 0.10." in said
    assert "price is skewed: training makes the same of 7 of 300 requests. Of r1, asked with price 1.5, serving" in said
    assert "hour" not in said
    assert said.endswith("A note.\n")
