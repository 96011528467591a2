"""The light model learns between two trainings."""

import numpy as np
import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.errors import DataError, ModelError, RegistryError
from perch.pipeline.features import prepare
from perch.pipeline.ingest import ingest
from perch.pipeline.learn import known_version, learn_rows, prepare_new
from perch.pipeline.run import learn, train
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.workload.estimators.logistic import Model
from perch.workload.package import load_package
from perch.world import Market

SETTINGS = PipelineSettings(resamples=50)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two weeks, and the six days after them, which begin with the last hours of the two weeks."""
    folder, days = tmp_path_factory.mktemp("logs"), Market(1).log(20, 160_000)
    cut = days["time"].iloc[0] + 14 * 86_400
    days[days["time"] < cut].to_parquet(folder / "old.parquet")
    days[days["time"] > cut - 36_000].to_parquet(folder / "new.parquet")
    return Source(folder / "old.parquet", "parquet"), Source(folder / "new.parquet", "parquet")


@pytest.fixture(scope="module")
def trained(logs, tmp_path_factory):
    registry, workdir = MemoryRegistry(), tmp_path_factory.mktemp("run")
    train(logs[0], registry=registry, model="ctr", workdir=workdir, settings=SETTINGS)
    return registry


def test_a_log_learned_in_two_parts_gives_what_it_gives_at_once():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40_000, 4)) * [0.5, 0.5, 2, 2] + [-4, -4, 8, 8]
    clicked = rng.random(len(values)) < 1 / (1 + np.exp(-values @ [0.5, 0.3, 0.1, -0.1] + 1))
    first, rest = slice(0, 15_000), slice(15_000, None)
    whole = Model.fit(values, clicked, names=[], seed=0)
    parts = Model.fit(values[first], clicked[first], names=[], seed=0)
    far, near = (
        np.abs(one.predict(values) / whole.predict(values) - 1).max()
        for one in (parts, parts.learn(values[rest], clicked[rest]))
    )
    assert far > 0.1
    assert near < 0.02


def test_what_learns_is_proposed_with_its_origin_and_through_the_gates(logs, trained, tmp_path):
    told = []
    learnt = learn(
        logs[1],
        registry=trained,
        model="ctr",
        workdir=tmp_path,
        settings=SETTINGS,
        progress=lambda stage, message: told.append(message),
    )
    version = learnt.version
    assert (version.kind, version.tags["reason"], version.tags["learnt_from"]) == ("logistic", "learn", "1")
    assert learnt.record is not None
    assert version.tags["gates"] == learnt.record.to_json()
    assert (Role.CHALLENGER in version.roles) == learnt.record.accepted
    assert trained.holder("ctr", Role.BASELINE).version == 1
    assert "learning from where version 1 stopped" in told


def test_only_rows_that_the_model_does_not_know_are_learned_and_they_go_onto_its_table(logs, trained, tmp_path):
    known = known_version(trained, "ctr", tmp_path / "serving")
    log = ingest(logs[1], tmp_path)
    frame = log.load()
    prepared = prepare_new(log, known, SETTINGS, now_s=frame["click_time"].max())
    later = frame[frame["time"] > float(trained.get("ctr", 1).tags["data_to_s"]) + 1]
    assert prepared.data_rows <= len(later) < len(frame)
    assert prepared.data_from_s == later["time"].min()
    before = load_package(trained.fetch("ctr", 1, tmp_path / "again")).transform
    counted = prepared.inputs["logistic"].transform.impressions - before.impressions
    assert counted.min() == 0
    assert counted.sum() == 5 * int(0.3 * prepared.data_rows)
    learnt = learn_rows(known, prepared)
    assert learnt.keep_rate == known.scorer.keep_rate
    assert learnt.estimator.to_bytes() != known.scorer.estimator.to_bytes()


def test_a_log_that_the_model_knows_tells_nothing_new(logs, trained, tmp_path):
    with pytest.raises(DataError, match=r"version 1 knows all rows until \d+ .*: name a log of later days"):
        learn(
            Source(logs[0].location, "parquet"),
            registry=trained,
            model="ctr",
            workdir=tmp_path,
            settings=SETTINGS,
        )


def test_there_must_be_a_model_that_learns(logs, tmp_path):
    with pytest.raises(RegistryError, match="run `perch train` first"):
        known_version(MemoryRegistry(), "ctr", tmp_path)


def test_a_model_that_does_not_say_how_sure_it_is_is_trained_anew_first(logs, tmp_path):
    log = ingest(logs[0], tmp_path)
    one = prepare(log.load(), log.schema, SETTINGS, data_digest="").inputs["logistic"]
    old = Model.fit(one.values, one.clicked, names=[], seed=0)
    del old._regression.precision_
    with pytest.raises(ModelError, match="run `perch train` once"):
        Model.from_bytes(old.to_bytes()).learn(one.values, one.clicked)
