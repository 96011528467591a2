from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perch.pipeline.evaluate import Evaluation
from perch.pipeline.features import Prepared
from perch.pipeline.gate import GateVerdict, judge
from perch.pipeline.settings import GateSettings, PipelineSettings
from perch.workload.metrics import Interval, log_losses
from perch.workload.schema import Schema, Slice

ROWS = 40_000
SETTINGS = PipelineSettings()


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).beta(2, 60, ROWS)


@pytest.fixture(scope="module")
def prepared(truth):
    clicked = np.random.default_rng(1).random(ROWS) < truth
    frame = pd.DataFrame({"device": np.where(np.arange(ROWS) % 10, "phone", "desk")})
    schema = Schema((), (), (), slices=(Slice("device"),))
    return Prepared(schema, "", {}, np.zeros(0, bool), frame, clicked)


def evaluation(prepared, probability, *, calibration=(0.95, 1.05)):
    ratio = float(np.mean(calibration))
    losses = log_losses(prepared.evaluation_clicked, probability)
    return Evaluation(losses, {"calibration_ratio": ratio}, Interval(*calibration), {}, ())


def constant(prepared):
    return evaluation(prepared, np.full(len(prepared.evaluation), 2 / 62))


def test_a_model_that_knows_more_is_better(prepared, truth):
    gate = judge(evaluation(prepared, truth), constant(prepared), constant(prepared), prepared, SETTINGS)
    assert gate.verdict == GateVerdict.BETTER
    assert gate.accepted
    assert gate.difference.high < 0
    assert gate.reason.startswith(
        f"better: on {prepared.evaluation_clicked.sum():,} clicks in 40,000 later impressions"
    )


def test_a_model_that_knows_less_is_refused(prepared, truth):
    champion = evaluation(prepared, truth)
    gate = judge(constant(prepared), champion, constant(prepared), prepared, SETTINGS)
    assert (gate.verdict, gate.accepted) == (GateVerdict.WORSE, False)
    assert "it is refused" in gate.reason


def test_an_equal_model_is_not_worse(prepared, truth):
    rng = np.random.default_rng(2)
    champion = evaluation(prepared, truth)
    twin = evaluation(prepared, truth * np.exp(rng.normal(0, 0.02, ROWS)))
    gate = judge(twin, champion, constant(prepared), prepared, SETTINGS)
    assert gate.verdict == GateVerdict.NOT_WORSE
    assert gate.accepted


def test_with_few_clicks_nothing_is_said_and_the_baseline_stays(prepared, truth):
    few = slice(0, 3_000)
    small = Prepared(
        prepared.schema, "", {}, np.zeros(0, bool), prepared.evaluation[few], prepared.evaluation_clicked[few]
    )
    assert small.evaluation_clicked.sum() < 200
    baseline = constant(small)
    gate = judge(evaluation(small, truth[few]), baseline, baseline, small, SETTINGS)
    assert (gate.verdict, gate.accepted) == (GateVerdict.UNDECIDED, False)
    assert gate.reason.startswith("cannot tell the models apart")
    assert gate.reason.endswith("200 clicks are needed: the baseline stays")


def test_a_noisy_difference_cannot_be_told(prepared, truth):
    rng = np.random.default_rng(3)
    champion = evaluation(prepared, truth * np.exp(rng.normal(0, 0.5, ROWS)))
    other = evaluation(prepared, truth * np.exp(rng.normal(0, 0.5, ROWS)))
    gate = judge(other, champion, champion, prepared, SETTINGS)
    assert gate.verdict == GateVerdict.UNDECIDED
    assert "up to 1.0% is allowed" in gate.reason


def test_a_model_that_promises_too_many_clicks_is_refused_however_well_it_ranks(prepared, truth):
    boastful = evaluation(prepared, truth, calibration=(1.5, 1.8))
    gate = judge(boastful, constant(prepared), constant(prepared), prepared, SETTINGS)
    assert not gate.accepted
    assert "predicts 1.50 to 1.80 clicks for each click" in gate.reason


def test_a_drift_that_every_model_misses_is_not_held_against_the_challenger(prepared, truth):
    champion = evaluation(prepared, np.full(ROWS, 2 / 62), calibration=(1.5, 1.8))
    gate = judge(evaluation(prepared, truth, calibration=(1.5, 1.8)), champion, champion, prepared, SETTINGS)
    assert gate.accepted


def test_a_model_that_harms_a_slice_is_refused_and_the_slice_named(prepared, truth):
    desk = (prepared.evaluation["device"] == "desk").to_numpy()
    harmful = evaluation(prepared, np.where(desk, 0.3, truth))
    flat = evaluation(prepared, np.where(desk, truth, 0.2))
    gate = judge(harmful, flat, flat, prepared, SETTINGS)
    assert gate.difference.high < 0  # better on the whole
    assert not gate.accepted
    assert "on the slice device:desk" in gate.reason


def sliced(prepared, groups):
    schema = Schema((), (), (), slices=(Slice("group"),))
    return replace(prepared, schema=schema, evaluation=pd.DataFrame({"group": groups}))


def test_a_handful_of_rows_proves_no_harm_on_a_slice(prepared, truth):
    first = int(np.flatnonzero(prepared.evaluation_clicked)[0])
    rare = np.isin(np.arange(ROWS), np.arange(first, first + 5))
    small = sliced(prepared, np.where(rare, "rare", "rest"))
    challenger = evaluation(small, np.where(rare, 1e-3, truth))  # its rare rows lose 4 nats on the one click
    gate = judge(challenger, constant(small), constant(small), small, SETTINGS)
    assert gate.accepted, gate.reason


def test_a_slice_that_a_resample_leaves_out_is_judged_by_the_others(prepared, truth):
    burst = np.arange(ROWS) < 40  # two blocks of neighbours
    clicked = prepared.evaluation_clicked | burst
    small = sliced(replace(prepared, evaluation_clicked=clicked), np.where(burst, "burst", "rest"))
    settings = replace(SETTINGS, gate=GateSettings(slice_min_clicks=40))
    gate = judge(evaluation(small, truth), constant(small), constant(small), small, settings)
    assert np.isfinite(gate.difference.low)


def test_looking_at_many_slices_refuses_no_more_models_by_chance(prepared, truth):
    rng = np.random.default_rng(4)
    many = sliced(prepared, rng.integers(0, 10, ROWS).astype(str))
    settings = PipelineSettings(resamples=100, gate=GateSettings(slice_margin=0))
    champion, refused = constant(many), 0
    for _ in range(40):  # one constant is as good as the next on every slice, but for chance
        noise = rng.permutation(np.repeat([0.9, 1.1], ROWS // 2))
        challenger = evaluation(many, 2 / 62 * noise)
        refused += "on the slice" in judge(challenger, champion, champion, many, settings).reason
    assert refused <= 4


def test_a_model_better_than_a_bad_champion_must_still_beat_the_baseline(prepared, truth):
    champion = evaluation(prepared, np.full(ROWS, 0.4))
    gate = judge(evaluation(prepared, np.full(ROWS, 0.2)), champion, evaluation(prepared, truth), prepared, SETTINGS)
    assert gate.difference.high < 0
    assert not gate.accepted
    assert "above the baseline's" in gate.reason
