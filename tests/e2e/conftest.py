"""Small models that are trained once, for every test that serves real ones."""

from dataclasses import replace

import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.pipeline.run import challenge, train
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.world.market import Market

MODEL = "ad-clicks"
SETTINGS = PipelineSettings(resamples=20)


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """Seven days of a small market."""
    path = tmp_path_factory.mktemp("market") / "clicks.parquet"
    Market(0).log(7, 40_000).to_parquet(path)
    return Source(path, "parquet")


@pytest.fixture(scope="session")
def trained(log, tmp_path_factory):
    """Trains a baseline (version 1) and four challengers (2 to 5) into a registry."""
    workdir = tmp_path_factory.mktemp("training")

    def into(registry):
        first = train(log, registry=registry, model=MODEL, workdir=workdir, settings=SETTINGS)
        for seed in (1, 2, 3):
            again = replace(SETTINGS, seed=seed)
            challenge(first.prepared, registry=registry, model=MODEL, workdir=workdir, settings=again)
        return registry

    return into


@pytest.fixture(scope="session")
def memory_registry(trained):
    return trained(MemoryRegistry())
