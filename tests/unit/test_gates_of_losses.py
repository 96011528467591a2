"""The gates that compare losses: quality, slices, calibration; and what the record makes of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gate_cases import CLICKED, MEAN, ROWS, TRUTH, case, evaluation, gate_settings, incumbent, prepared
from perch.pipeline.gates.calibration import Calibration
from perch.pipeline.gates.quality import Quality
from perch.pipeline.gates.slices import Slices
from perch.pipeline.record import Finding, GateVerdict, NotJudged
from perch.pipeline.settings import PipelineSettings
from perch.workload.schema import Schema, Slice

FEW = CLICKED[:3_000]


def quality(*told, **further):
    return Quality().check(case(*told, **further))


def test_a_model_that_knows_more_is_better():
    finding = quality(evaluation(TRUTH))
    assert (finding.verdict, finding.passed) == (GateVerdict.BETTER, True)
    assert finding.figures["difference_high"] < 0
    assert finding.sentence.startswith(f"better: on {CLICKED.sum():,} clicks in 40,000 later impressions")
    assert finding.sentence.endswith("below the baseline's")


def test_a_model_that_knows_less_is_refused():
    finding = quality(evaluation(MEAN), incumbent(evaluation(TRUTH), version=2), incumbent(evaluation(MEAN)))
    assert (finding.verdict, finding.passed) == (GateVerdict.WORSE, False)
    assert "it is refused, and the champion stays" in finding.sentence


def test_an_equal_model_is_not_worse():
    twin = TRUTH * np.exp(np.random.default_rng(2).normal(0, 0.02, ROWS))
    finding = quality(evaluation(twin), incumbent(evaluation(TRUTH)))
    assert (finding.verdict, finding.passed) == (GateVerdict.NOT_WORSE, True)


def test_with_few_clicks_nothing_is_said_and_the_baseline_stays():
    assert FEW.sum() < 200
    small = case(evaluation(TRUTH[:3_000], FEW), rows=prepared(clicked=FEW))
    finding = Quality().check(small)
    assert (finding.verdict, finding.passed) == (GateVerdict.UNDECIDED, False)
    assert finding.sentence.startswith("cannot tell the models apart")
    assert finding.sentence.endswith("200 clicks are needed: the baseline stays")
    for gate in (Slices(), Calibration()):
        said = gate.check(small)
        assert isinstance(said, NotJudged)
        assert said.reason == f"the evaluation window has {FEW.sum()} clicks; 200 are needed"


def test_a_noisy_difference_cannot_be_told():
    rng = np.random.default_rng(3)
    champion, other = (evaluation(TRUTH * np.exp(rng.normal(0, 0.5, ROWS))) for _ in range(2))
    finding = quality(other, incumbent(champion))
    assert (finding.verdict, finding.passed) == (GateVerdict.UNDECIDED, False)
    assert "up to 1.0% is allowed" in finding.sentence


def test_a_model_better_than_a_bad_champion_must_still_beat_the_baseline():
    champion, baseline = incumbent(evaluation(0.4), version=2), incumbent(evaluation(TRUTH))
    finding = quality(evaluation(0.2), champion, baseline)
    assert finding.figures["difference_high"] < 0
    assert not finding.passed
    assert "above the baseline's" in finding.sentence


def test_a_calibrated_model_passes():
    finding = Calibration().check(case(evaluation(TRUTH)))
    assert finding.passed
    assert not finding.sentence.endswith("refused")


def test_a_model_that_promises_too_many_clicks_is_refused_however_well_it_ranks():
    finding = Calibration().check(case(evaluation(TRUTH, calibration=(1.5, 1.8))))
    assert not finding.passed
    assert "predicts 1.50 to 1.80 clicks for each click" in finding.sentence


def test_a_drift_that_every_model_misses_is_not_held_against_the_challenger():
    champion = incumbent(evaluation(MEAN, calibration=(1.5, 1.8)))
    assert Calibration().check(case(evaluation(TRUTH, calibration=(1.5, 1.8)), champion)).passed


def test_a_model_that_harms_a_slice_is_refused_and_the_slice_named():
    desk = (prepared().evaluation["device"] == "desk").to_numpy()
    harmful, flat = evaluation(np.where(desk, 0.3, TRUTH)), incumbent(evaluation(np.where(desk, TRUTH, 0.2)))
    assert quality(harmful, flat).passed  # better on the whole
    finding = Slices().check(case(harmful, flat))
    assert not finding.passed
    assert "on the slice device:desk" in finding.sentence


def test_a_model_that_gains_on_every_slice_passes():
    assert Slices().check(case(evaluation(TRUTH))).passed


def test_a_log_without_slices_is_not_judged_by_them():
    said = Slices().check(case(evaluation(TRUTH), rows=prepared(schema=Schema((), ("device",), ("device",)))))
    assert said == NotJudged("slices", "no slice of the evaluation window has 50 clicks")


def sliced(groups, *, clicked=CLICKED):
    return prepared(
        pd.DataFrame({"group": groups}), clicked=clicked, schema=Schema((), (), (), slices=(Slice("group"),))
    )


def test_a_handful_of_rows_proves_no_harm_on_a_slice():
    first = int(np.flatnonzero(CLICKED)[0])
    rare = np.isin(np.arange(ROWS), np.arange(first, first + 5))
    candidate = evaluation(np.where(rare, 1e-3, TRUTH))  # its rare rows lose 4 nats on the one click
    assert Slices().check(case(candidate, rows=sliced(np.where(rare, "rare", "rest")))).passed


def test_a_slice_that_a_resample_leaves_out_is_judged_by_the_others():
    burst = np.arange(ROWS) < 40  # two blocks of neighbours
    rows = sliced(np.where(burst, "burst", "rest"), clicked=CLICKED | burst)
    settings = gate_settings(sliceMinClicks=40)
    finding = Slices().check(case(evaluation(TRUTH, CLICKED | burst), rows=rows, settings=settings))
    assert finding.figures["slices"] == 2
    assert np.isfinite(finding.figures["worst_low"])


def test_looking_at_many_slices_refuses_no_more_models_by_chance():
    rng = np.random.default_rng(4)
    rows = sliced(rng.integers(0, 10, ROWS).astype(str))
    settings = replace(gate_settings(sliceMargin=0.001), resamples=100)  # what the noise itself costs
    refused = 0
    for _ in range(40):  # one constant is as good as the next on every slice, but for chance
        noise = rng.permutation(np.repeat([0.9, 1.1], ROWS // 2))
        refused += not Slices().check(case(evaluation(MEAN * noise), rows=rows, settings=settings)).passed
    assert refused <= 4


@pytest.mark.parametrize("clicked", [CLICKED, FEW])
def test_a_finding_has_only_finite_figures(clicked):
    small = case(
        evaluation(TRUTH[: len(clicked)], clicked), rows=prepared(clicked=clicked), settings=PipelineSettings()
    )
    for gate in (Quality(), Slices(), Calibration()):
        found = gate.check(small)
        assert not isinstance(found, Finding) or np.isfinite(list(found.figures.values())).all()
