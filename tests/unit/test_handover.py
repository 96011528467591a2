"""What a step reads is what the step before it had."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from perch.errors import DataError
from perch.pipeline import handover
from perch.pipeline.evaluate import evaluate
from perch.pipeline.features import prepare
from perch.pipeline.ingest import ingest
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.train import fit
from perch.workload.package import write_package
from perch.world import Market

SETTINGS = PipelineSettings(resamples=50)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    Market(3).log(14, 30_000).to_parquet(folder / "market.parquet")
    return ingest(Source(folder / "market.parquet", "parquet"), folder)


@pytest.fixture(scope="module")
def prepared(log):
    return prepare(log.load(), log.schema, SETTINGS, data_digest=log.digest)


def test_a_log_comes_back(log):
    handover.write_ingested(log.path.parent, log)
    assert handover.read_ingested(log.path.parent) == log


@pytest.mark.parametrize("kind", ["logistic", "lightgbm"])
def test_a_model_that_learns_from_what_came_back_is_the_same_to_the_last_byte(prepared, kind, tmp_path):
    handover.write_prepared(tmp_path / "prepared", prepared)
    back = handover.read_prepared(tmp_path / "prepared")
    digests = []
    for number, one in enumerate((prepared, back)):
        scorer = fit(one, kind, SETTINGS)
        evaluation = evaluate(scorer, one, SETTINGS)
        package = tmp_path / str(number)
        digests.append(write_package(package, scorer, score_histogram=evaluation.score_histogram))
    assert digests[0] == digests[1]
    pd.testing.assert_frame_equal(back.training_sample, prepared.training_sample.reset_index(drop=True))


def test_an_evaluation_comes_back(prepared, tmp_path):
    evaluation = evaluate(fit(prepared, "logistic", SETTINGS), prepared, SETTINGS)
    handover.write_evaluation(tmp_path, evaluation)
    back = handover.read_evaluation(tmp_path)
    assert np.array_equal(back.losses, evaluation.losses)
    told, was = asdict(back) | {"losses": None}, asdict(evaluation) | {"losses": None}
    assert repr(told) == repr(was)  # a NaN equals none


def test_a_folder_that_no_step_left_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match="not what a step leaves behind"):
        handover.read_prepared(tmp_path)
