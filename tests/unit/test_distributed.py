"""Trees on Dask: two workers on this machine, of limited memory."""

import pytest

from perch.errors import PlatformError
from perch.pipeline.distributed import fit_distributed
from perch.pipeline.evaluate import evaluate
from perch.pipeline.ingest import ingest
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.streaming import prepare_streaming
from perch.pipeline.train import fit
from perch.workload.package import load_package, write_package
from perch.world import Market

SETTINGS = PipelineSettings(resamples=50)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    Market(1).log(14, 120_000).to_parquet(folder / "raw.parquet")
    return ingest(Source(folder / "raw.parquet", "parquet"), folder)


@pytest.fixture(scope="module")
def prepared(log, tmp_path_factory):
    return prepare_streaming(log, SETTINGS, scratch=tmp_path_factory.mktemp("scratch"))


def test_two_workers_grow_trees_as_good_as_those_of_one_machine(log, prepared, tmp_path):
    apart = fit_distributed(log, prepared, SETTINGS, worker_memory_bytes=600 * 2**20)
    digest = write_package(tmp_path / "package", apart, score_histogram=())
    losses = [
        evaluate(scorer, prepared, SETTINGS).metrics["log_loss"]
        for scorer in (fit(prepared, "lightgbm", SETTINGS), load_package(tmp_path / "package", digest))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_a_worker_that_needs_more_memory_than_it_may_take_ends_the_training_with_a_sentence(log, prepared):
    with pytest.raises(PlatformError, match=r"died, most likely for want of memory .*add workers"):
        fit_distributed(log, prepared, SETTINGS, worker_memory_bytes=180 * 2**20)


def test_a_scheduler_that_does_not_answer_is_named(log, prepared, monkeypatch):
    monkeypatch.setattr("perch.pipeline.distributed._PATIENCE_S", 1)
    with pytest.raises(PlatformError, match=r"scheduler on tcp://127\.0\.0\.1:1 has no 2 workers"):
        fit_distributed(log, prepared, SETTINGS, address="tcp://127.0.0.1:1")
