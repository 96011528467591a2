import json
from dataclasses import replace

import numpy as np
import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.errors import DataError, ModelError, RegistryError
from perch.pipeline.ingest import ingest
from perch.pipeline.record import GateVerdict, Record
from perch.pipeline.run import challenge, train
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.settings import GateSettings
from perch.signals.names import grid
from perch.workload.package import load_package, read_manifest
from perch.workload.schema import AVAZU
from perch.world import Market

SETTINGS = PipelineSettings(resamples=100)


def avazu_log(path):
    """A day of 6,000 rows with about 60 clicks."""
    rng, lines = np.random.default_rng(0), [",".join(["id", "click", "hour", *AVAZU.categorical[:21]])]
    for i in range(6_000):
        click = int(rng.random() < 0.01)
        lines.append(",".join(["1", str(click), f"141021{i // 300:02d}", *[str(rng.integers(5)) for _ in range(21)]]))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def market():
    return Market(1)


@pytest.fixture(scope="module")
def source(market, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    market.log(14, 120_000).to_parquet(path)
    return Source(path, "parquet")


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    registry, workdir, told = MemoryRegistry(), tmp_path_factory.mktemp("run"), []
    result = train(
        source,
        registry=registry,
        model="ctr",
        workdir=workdir,
        settings=SETTINGS,
        progress=lambda stage, message: told.append(stage),
    )
    return registry, workdir, result, told


def test_the_baseline_comes_first_and_serves(trained):
    registry, _, result, _ = trained
    assert result.baseline.version.version == 1
    assert result.baseline.version.kind == "logistic"
    assert registry.holder("ctr", Role.BASELINE).version == 1
    assert registry.holder("ctr", Role.CHAMPION).version == 1


def test_the_challenger_is_clearly_better_and_asks_for_traffic(trained):
    registry, _, result, _ = trained
    assert result.challenger.record.verdict == GateVerdict.BETTER
    losses = [model.evaluation.metrics["log_loss"] for model in (result.baseline, result.challenger)]
    assert losses[1] < 0.98 * losses[0]
    assert registry.holder("ctr", Role.CHALLENGER) == result.challenger.version


def test_a_version_tells_where_it_comes_from(trained):
    _, _, result, _ = trained
    version = result.challenger.version
    assert version.tags["data_digest"] == result.prepared.data_digest
    assert version.tags["code_version"]
    assert version.tags["gate_reason"] == result.challenger.record.reason
    assert Record.from_json(version.tags["gates"]) == result.challenger.record
    assert int(version.tags["data_rows"]) == result.prepared.data_rows
    assert int(version.tags["data_to_s"]) - int(version.tags["data_from_s"]) == pytest.approx(14 * 86_400, rel=0.05)
    parameters = json.loads(version.tags["parameters"])
    assert (parameters["kind"], parameters["settings"]["resamples"]) == ("lightgbm", 100)
    assert {"log_loss", "auc", "pr_auc", "precision", "recall", "calibration_ratio"} <= set(version.metrics)
    assert "slice/new_user/log_loss_high" in version.metrics
    assert "slice/group:minority/calibration_ratio" in version.metrics


def test_the_longest_tag_fits_into_a_registry(trained):
    tags = trained[2].challenger.version.tags
    assert max(map(len, tags.values())) < 8_000  # what MLflow takes


def test_the_gates_that_need_a_server_or_a_second_training_say_so(trained):
    silent = {said.gate: said.reason for said in trained[2].challenger.record.not_judged}
    assert set(silent) == {"latency", "reproducibility", "freshness"}
    assert silent["latency"] == "no serving process was started for this package"


def test_every_stage_is_timed_and_told(trained):
    _, _, result, told = trained
    steps = ["ingest", "validate", "features", "train", "evaluate", "register", "train", "evaluate", "gate", "register"]
    assert told == steps == [stage.name for stage in result.stages]
    assert result.stages[0].rows == 120_000
    assert all(stage.seconds > 0 for stage in result.stages)


def test_the_package_of_the_registry_scores_live_requests_and_wins_more_clicks(trained, market, tmp_path):
    registry, _, result, _ = trained
    requests, rates = market.requests(1_500), []
    for model in (result.baseline, result.challenger):
        folder = registry.fetch("ctr", model.version.version, tmp_path)
        scorer, won = load_package(folder, model.version.digest), 0.0
        for request in requests:
            slate = [{**request.context, **candidate} for candidate in request.candidates]
            scores = scorer.score({name: [row[name] for row in slate] for name in scorer.schema.inputs})
            won += request.true_ctr[int(np.argmax(scores * request.bids))]
        rates.append(won / len(requests))
    assert rates[1] > 1.3 * rates[0]


def test_the_score_histogram_counts_explored_rows_on_the_shared_grid(trained, tmp_path):
    registry, _, result, _ = trained
    manifest = read_manifest(registry.fetch("ctr", result.challenger.version.version, tmp_path))
    assert len(manifest.score_histogram) == len(grid(100.0).score_logit) + 1
    assert sum(manifest.score_histogram) == result.prepared.evaluation["explored"].sum()


def test_training_again_finds_the_same_models(trained, source, tmp_path):
    registry, _, result, _ = trained
    before = registry.versions("ctr")
    again = train(source, registry=registry, model="ctr", workdir=tmp_path, settings=SETTINGS)
    assert again.baseline.version == result.baseline.version
    assert again.challenger.version.version == result.challenger.version.version
    assert registry.versions("ctr") == before


def test_a_model_that_serves_keeps_what_it_was_released_on(trained):
    registry, workdir, result, _ = trained
    number = result.challenger.version.version
    before = registry.get("ctr", number).tags
    registry.assign("ctr", Role.CHAMPION, number)
    again = challenge(result.prepared, registry=registry, model="ctr", workdir=workdir, settings=SETTINGS)
    assert again.version.version == number
    assert registry.get("ctr", number).tags == before, "it was compared with itself"
    registry.assign("ctr", Role.CHAMPION, 1)


def test_a_retrained_challenger_is_another_version_and_not_worse(trained):
    registry, workdir, result, _ = trained
    registry.assign("ctr", Role.CHAMPION, result.challenger.version.version)
    further = challenge(
        result.prepared, registry=registry, model="ctr", workdir=workdir, settings=replace(SETTINGS, seed=5)
    )
    registry.assign("ctr", Role.CHAMPION, 1)
    assert further.version.digest != result.challenger.version.digest
    assert further.record.verdict in (GateVerdict.NOT_WORSE, GateVerdict.UNDECIDED, GateVerdict.BETTER)
    assert abs(further.record.difference.low) < 0.02


def test_a_quarantined_model_does_not_come_back_by_training_it_again(trained):
    registry, workdir, result, _ = trained
    settings = replace(SETTINGS, seed=9)
    first = challenge(result.prepared, registry=registry, model="ctr", workdir=workdir, settings=settings)
    registry.quarantine("ctr", first.version.version, "rolled back")
    registry.assign("ctr", Role.CHALLENGER, result.challenger.version.version)
    again = challenge(result.prepared, registry=registry, model="ctr", workdir=workdir, settings=settings)
    assert again.version.version == first.version.version
    assert registry.holder("ctr", Role.CHALLENGER).version == result.challenger.version.version


def test_a_refused_challenger_is_registered_with_its_reason_and_gets_no_role(trained):
    registry, workdir, result, _ = trained
    strict = replace(SETTINGS, seed=11, gates=GateSettings(minClicks=10_000))
    refused = challenge(result.prepared, registry=registry, model="ctr", workdir=workdir, settings=strict)
    assert refused.version.roles == frozenset()
    assert refused.version.tags["gate_verdict"] == "undecided"
    assert refused.version.tags["gate_reason"].startswith("cannot tell the models apart")


def test_a_challenger_needs_a_baseline(trained, tmp_path):
    with pytest.raises(RegistryError, match="has no champion"):
        challenge(trained[2].prepared, registry=MemoryRegistry(), model="new", workdir=tmp_path, settings=SETTINGS)


def test_a_log_of_another_layout_does_not_fit_the_registered_champion(trained, tmp_path):
    registry, _, result, _ = trained
    other = replace(result.prepared, evaluation=result.prepared.evaluation.drop(columns="price"))
    with pytest.raises(ModelError, match="reads price, which the log has not"):
        challenge(other, registry=registry, model="ctr", workdir=tmp_path, settings=SETTINGS)


def test_a_log_that_the_registered_models_do_not_fit_registers_nothing(trained, tmp_path):
    registry, before = trained[0], trained[0].versions("ctr")
    source = Source(avazu_log(tmp_path / "train"), "avazu")
    with pytest.raises(ModelError, match=r"reads user_age_days, .* which the log has not: train under another model"):
        train(source, registry=registry, model="ctr", workdir=tmp_path / "work")
    assert registry.versions("ctr") == before


def test_a_broken_log_registers_nothing_and_leaves_nothing_half_written(source, market, tmp_path):
    registry, path = MemoryRegistry(), tmp_path / "log.parquet"
    market.log(2, 2_000).assign(click=0).to_parquet(path)
    with pytest.raises(DataError, match="no clicks at all"):
        train(Source(path, "parquet"), registry=registry, model="ctr", workdir=tmp_path / "work")
    assert registry.versions("ctr") == []


def test_a_log_that_breaks_in_the_middle_leaves_no_file(tmp_path):
    lines = ["\t".join([str(i % 2), *["1"] * 13, *["c"] * 26]) for i in range(60_000)]
    path = tmp_path / "log.tsv"
    path.write_text("\n".join([*lines, lines[0].replace("1", "one", 1)]) + "\n")
    with pytest.raises(DataError, match="line 60001"):
        ingest(Source(path, "criteo"), tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_an_ingested_log_has_one_digest(source, tmp_path):
    first, second = (ingest(source, tmp_path / name) for name in "ab")
    assert first.digest == second.digest
    assert first.rows == 120_000
    assert first.load().equals(second.load())


def test_a_small_log_with_few_clicks_keeps_the_baseline(tmp_path):
    registry = MemoryRegistry()
    result = train(
        Source(avazu_log(tmp_path / "train"), "avazu"), registry=registry, model="ctr", workdir=tmp_path / "work"
    )
    assert result.challenger.record.verdict == GateVerdict.UNDECIDED
    assert result.challenger.record.reason.endswith("the baseline stays")
    assert registry.holder("ctr", Role.CHAMPION) == result.baseline.version
    assert registry.holder("ctr", Role.CHALLENGER) is None


def test_of_several_candidates_the_best_that_passes_asks_for_traffic(source, tmp_path):
    registry = MemoryRegistry()
    result = train(
        source, registry=registry, model="ctr", workdir=tmp_path, settings=SETTINGS, candidates=("wide", "lightgbm")
    )
    assert [one.version.kind for one in result.candidates] == ["wide", "lightgbm"]
    passed = [one.version for one in result.candidates if one.record.accepted]
    best = min(passed, key=lambda version: version.metrics["log_loss"])
    assert result.offered == best.version == registry.holder("ctr", Role.CHALLENGER).version
    assert result.challenger.version.version == best.version


def test_a_model_that_is_judged_anew_says_what_was_found_last(source, tmp_path):
    registry = MemoryRegistry()
    strict = replace(SETTINGS, gates=GateSettings(maxPackageMb=0.001))
    refused = train(source, registry=registry, model="ctr", workdir=tmp_path, settings=strict)
    assert refused.offered is None
    assert registry.holder("ctr", Role.CHALLENGER) is None
    accepted = train(source, registry=registry, model="ctr", workdir=tmp_path, settings=SETTINGS)
    assert accepted.offered == refused.challenger.version.version
    (model,) = (one for one in registry.versions("ctr") if one.version == accepted.offered)
    assert model.tags["gate_verdict"] == "better"
    assert '"accepted":true' in model.tags["gates"]
