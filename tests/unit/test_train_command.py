from pathlib import Path

import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.cli import on_machine, train
from perch.errors import UsageError
from perch.pipeline.settings import PipelineSettings
from perch.settings import ModelService, Spec, load_declaration
from perch.world import Market, MarketSettings

ROOT = Path(__file__).parents[2]


def test_training_counts_the_clicks_that_the_declaration_counts(tmp_path, monkeypatch):
    registry = MemoryRegistry()
    monkeypatch.setattr(on_machine, "open_registry", lambda folder: registry)
    Market(1, MarketSettings(users=500, ads=50)).log(7, 20_000).to_parquet(tmp_path / "log.parquet")
    declaration = ModelService(spec=Spec(attributionWindowS=7_200))
    target = on_machine.OnMachine(tmp_path / "perch.yaml", tmp_path)
    train.train_and_tell(target, declaration, tmp_path / "log.parquet", None, 0)
    assert {version.tags["attribution_window_s"] for version in registry.versions("ad-clicks")} == {"7200"}


def test_there_is_one_attribution_window_by_default():
    windows = {
        Spec().attribution_window_s,
        load_declaration(ROOT / "perch.yaml").spec.attribution_window_s,
        PipelineSettings().attribution_window_s,
    }
    assert windows == {14_400}


def test_a_format_without_a_log_is_refused(tmp_path):
    target = on_machine.OnMachine(tmp_path / "perch.yaml", tmp_path / "state")
    with pytest.raises(UsageError, match=r"--format nonsense .* --data"):
        train.train_and_tell(target, ModelService(), None, "nonsense", 0)
    assert not (tmp_path / "state").exists()
