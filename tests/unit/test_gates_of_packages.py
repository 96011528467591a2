"""The gates that look at the package and at its data: schema, size, latency, skew, leakage, freshness, fairness."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gate_cases import CLICKED, DIGEST, MEAN, ROWS, TRUTH, case, evaluation, gate_settings, incumbent, learned, prepared
from gate_cases import untrained as scorer_of
from perch.core.policy import Slo
from perch.errors import ModelError
from perch.pipeline.gates.fairness import Fairness
from perch.pipeline.gates.freshness import Freshness
from perch.pipeline.gates.latency import Latency, requests_of
from perch.pipeline.gates.leakage import Leakage, explained
from perch.pipeline.gates.reproducibility import Reproducibility
from perch.pipeline.gates.schema import Inputs
from perch.pipeline.gates.size import Size
from perch.pipeline.gates.skew import Skew
from perch.pipeline.record import NotJudged
from perch.pipeline.settings import PipelineSettings
from perch.workload.latency import LatencyProof, read_proof, to_json
from perch.workload.schema import Schema, Slice
from serving_process import SCHEMA as SERVED
from serving_process import tiny_scorer, write_tiny_package

JUDGED = evaluation(TRUTH)
PROOF = LatencyProof(DIGEST, 1_000, 0, 2.0, 4.0, 9.0, 30.0, 8.0, 200_000_000)


# --- schema ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (Schema((), ("device", "site"), ("device",)), "reads site more than the champion"),
        (Schema((), (), ()), "reads device less than the champion"),
        (Schema(("device",), (), ()), "reads device as a number rather than the champion"),
    ],
)
def test_a_candidate_that_does_not_answer_the_requests_of_now_is_refused(schema, said):
    finding = Inputs().check(case(JUDGED, scorer=replace(scorer_of(prepared()), schema=schema)))
    assert not finding.passed
    assert said in finding.sentence


def test_the_order_of_the_inputs_and_what_training_alone_reads_do_not_matter():
    own, other = Schema(("a",), ("b", "c"), ("b",)), Schema(("a",), ("c", "b"), ("c",), label="bought")
    scorer = replace(scorer_of(prepared()), schema=own)
    assert Inputs().check(case(JUDGED, incumbent(JUDGED, schema=other), scorer=scorer)).passed


def test_the_baseline_must_be_able_to_take_over_the_same_requests():
    baseline = incumbent(JUDGED, version=7, schema=Schema((), ("device", "site"), ()))
    finding = Inputs().check(case(JUDGED, incumbent(JUDGED), baseline))
    assert "reads site less than the baseline" in finding.sentence


# --- size -----------------------------------------------------------------------------------------------------------


def test_a_package_within_its_limit_passes_and_its_server_is_counted_where_one_was_started(tmp_path):
    write_tiny_package(tmp_path / "p")
    finding = Size().check(case(JUDGED, package=tmp_path / "p", proof=PROOF))
    assert finding.passed
    assert finding.figures["memory_mb"] == 200
    assert "memory_mb" not in Size().check(case(JUDGED, package=tmp_path / "p")).figures


@pytest.mark.parametrize("limit", [{"maxPackageMb": 0.001}, {"maxMemoryMb": 100}])
def test_a_package_or_a_server_beyond_its_limit_is_refused(tmp_path, limit):
    write_tiny_package(tmp_path / "p")
    settings = gate_settings(**limit)
    finding = Size().check(case(JUDGED, package=tmp_path / "p", proof=PROOF, settings=settings))
    assert not finding.passed
    assert finding.sentence.endswith("MB are allowed: it is refused")


# --- latency --------------------------------------------------------------------------------------------------------


def latency(proof, slo_ms=10.0):
    return Latency().check(case(JUDGED, proof=proof, settings=PipelineSettings(slo=Slo(latency_p99_ms=slo_ms))))


def test_a_package_that_answers_in_time_passes():
    finding = latency(PROOF)
    assert finding.passed
    assert finding.sentence == (
        "the p99 of the quietest fifth of 1,000 requests is 8.0 ms (9.0 ms over all); 10 ms are allowed"
    )


def test_a_busy_machine_is_not_held_against_the_package():
    assert latency(replace(PROOF, p99_ms=25.0)).passed


@pytest.mark.parametrize("proof", [replace(PROOF, quiet_p99_ms=10.1), replace(PROOF, failures=1)])
def test_a_package_that_answers_late_or_fails_is_refused(proof):
    assert not latency(proof).passed


def test_a_model_so_slow_that_it_answered_only_a_few_requests_is_refused():
    assert not latency(replace(PROOF, requests=40, quiet_p99_ms=290.0, p99_ms=300.0)).passed


def test_a_proof_of_another_package_proves_nothing():
    finding = latency(replace(PROOF, digest="e" * 64))
    assert finding.sentence == "the proof of latency is of another package, eeeeeeeeeeee: it is refused"
    assert not finding.passed


def test_latency_is_not_judged_where_nobody_started_a_server():
    assert latency(None) == NotJudged("latency", "no serving process was started for this package")


def test_a_package_that_cannot_be_served_is_refused_with_what_its_server_said():
    finding = latency(LatencyProof(DIGEST, trouble="its server ended with exit code 5: no such column"))
    assert not finding.passed
    assert "the package cannot be served: its server ended with exit code 5: no such column" in finding.sentence


def test_a_proof_comes_back_from_its_file_and_nothing_else_is_taken_for_one(tmp_path):
    (tmp_path / "proof.json").write_text(to_json(PROOF))
    assert read_proof(tmp_path / "proof.json") == PROOF
    (tmp_path / "proof.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no proof of latency"):
        read_proof(tmp_path / "proof.json")


def test_requests_are_slates_of_the_inputs_alone_with_null_for_what_is_missing():
    frame = pd.DataFrame({"price": [1.5, np.nan] * 30, "site": ["a", None] * 30, "click": 1.0})
    schema = Schema(("price",), ("site",), ("site",))
    bodies = requests_of(prepared(frame, clicked=np.ones(60, bool), schema=schema)).splitlines()
    assert len(bodies) == 3
    slate = json.loads(bodies[0])
    assert slate["context"] == {}
    assert slate["candidates"][:2] == [{"price": 1.5, "site": "a"}, {"price": None, "site": None}]


# --- skew -----------------------------------------------------------------------------------------------------------


def packaged(tmp_path):
    """A package, and rows that its model learned from."""
    digest, scorer = write_tiny_package(tmp_path / "p"), tiny_scorer()
    rng = np.random.default_rng(0)
    sample = pd.DataFrame(
        {
            "price": np.where(np.arange(300) % 7, rng.random(300), np.nan),
            "age": rng.random(300) / 3,
            "site": pd.Categorical(rng.choice(["a", "b", "c"], 300)),
            "ad": pd.Categorical(np.where(np.arange(300) % 5, "x", None)),
        }
    )
    rows = replace(prepared(schema=SERVED), training_sample=sample, inputs=learned(scorer, sample))
    return case(JUDGED, rows=rows, scorer=scorer, package=tmp_path / "p", digest=digest)


def test_serving_recomputes_what_training_saw_to_the_last_bit(tmp_path):
    finding = Skew().check(packaged(tmp_path))
    assert finding.passed, finding.sentence
    assert finding.figures == {"rows": 300, "differing_rows": 0}


def test_a_difference_in_the_last_bit_is_refused_and_named(tmp_path):
    told = packaged(tmp_path)
    cell = np.take(told.prepared.inputs["lightgbm"].values, 7 * 6 + 1)
    np.put(told.prepared.inputs["lightgbm"].values, 7 * 6 + 1, np.nextafter(cell, 1))
    finding = Skew().check(told)
    assert not finding.passed
    assert "other features than training for 1 of 300 rows; age was" in finding.sentence


def test_without_rows_to_compare_skew_is_not_judged(tmp_path):
    told = packaged(tmp_path)
    none = replace(told, prepared=replace(told.prepared, training_sample=told.prepared.training_sample[:0]))
    assert Skew().check(none) == NotJudged("skew", "no rows of the training window were kept")


def test_a_package_that_was_changed_is_not_compared(tmp_path):
    told = packaged(tmp_path)
    (tmp_path / "p" / "model.txt").write_text("another")
    with pytest.raises(ModelError, match="is corrupt"):
        Skew().check(told)


# --- leakage --------------------------------------------------------------------------------------------------------


def leakage(values, *, clicked=CLICKED, **schema):
    frame = pd.DataFrame({"value": values})
    rows = prepared(frame, clicked=clicked, schema=Schema(("value",), (), (), **schema))
    return Leakage().check(case(evaluation(MEAN, clicked), rows=rows))


def test_an_honest_feature_passes_be_it_as_good_as_the_truth():
    finding = leakage(TRUTH)
    assert finding.passed
    assert 0.01 < finding.figures["most_explained"] < 0.1


@pytest.mark.parametrize(
    "values",
    [
        np.where(CLICKED, 1.0, 0.0),
        np.where(CLICKED, 30.0, np.nan),  # a time that is known of clicks alone
        np.where(CLICKED, np.nan, 30.0),
        np.where(CLICKED, 0.5, np.random.default_rng(5).choice([0.0, 1.0], ROWS)),  # not monotone
        np.where(CLICKED & (np.arange(ROWS) % 2 == 0), 1.0, 0.0),  # half of the clicks
    ],
)
def test_a_feature_that_was_written_after_the_click_is_refused(values):
    finding = leakage(values)
    assert not finding.passed
    assert finding.sentence.startswith("value alone explains")


def test_noise_explains_nothing():
    rng = np.random.default_rng(6)
    assert all(explained(rng.random(ROWS), CLICKED) < 0.01 for _ in range(5))
    assert all(explained(rng.random(5_000), CLICKED[:5_000]) < 0.05 for _ in range(5))


@pytest.mark.parametrize("role", ["label", "label_time"])
def test_a_model_that_reads_the_label_or_its_time_is_refused_whatever_it_explains(role):
    finding = leakage(TRUTH, **{role: "value"})
    assert not finding.passed
    assert "reads value, which is known only after the click" in finding.sentence


def test_a_few_clicks_tell_of_no_leak():
    few = CLICKED[:3_000]
    assert isinstance(leakage(np.where(few, 1.0, 0.0), clicked=few), NotJudged)


# --- freshness ------------------------------------------------------------------------------------------------------


def freshness(youngest_s, limit_h=24.0):
    rows = prepared(data_to_s=youngest_s)
    return Freshness().check(case(JUDGED, rows=rows, now_s=1.8e9, settings=gate_settings(maxDataAgeH=limit_h)))


def test_data_of_now_passes_and_data_of_the_day_before_yesterday_is_refused():
    assert freshness(1.8e9 - 23 * 3_600).passed
    finding = freshness(1.8e9 - 48 * 3_600)
    assert not finding.passed
    assert finding.sentence == "the youngest impression is 48.0 h old; 24 h are allowed: it is refused"


def test_a_log_without_clock_times_has_no_age_and_none_is_asked_where_no_limit_is_declared():
    assert freshness(40_000.0) == NotJudged("freshness", "the log has no clock times")
    assert isinstance(freshness(1.0e9, limit_h=None), NotJudged)


# --- reproducibility ------------------------------------------------------------------------------------------------


def test_the_same_package_again_passes_another_one_is_refused_and_none_is_not_judged():
    assert Reproducibility().check(case(JUDGED, repeated_digest=DIGEST)).passed
    finding = Reproducibility().check(case(JUDGED, repeated_digest="e" * 64))
    assert not finding.passed
    assert "gives another package, eeeeeeeeeeee" in finding.sentence
    assert isinstance(Reproducibility().check(case(JUDGED)), NotJudged)


# --- fairness -------------------------------------------------------------------------------------------------------

MINORITY = np.arange(ROWS) % 4 == 0
PEOPLE = Schema((), ("device",), ("device",), slices=(Slice("group", sensitive=True), Slice("device")))


def people(clicked=CLICKED):
    count = len(clicked)
    frame = pd.DataFrame({"device": "phone", "group": np.where(MINORITY[:count], "minority", "majority")})
    return prepared(frame, clicked=clicked, schema=PEOPLE)


def fairness(probability, *, clicked=CLICKED, settings=None):
    rows = people(clicked)
    return Fairness().check(case(evaluation(probability, clicked), rows=rows, settings=settings))


def test_a_model_that_treats_the_groups_alike_passes():
    assert fairness(TRUTH).passed


@pytest.mark.parametrize(
    ("probability", "share"),
    [
        (np.where(MINORITY, TRUTH * 2, TRUTH), "calibration"),
        (np.where(MINORITY, MEAN, TRUTH), "recall"),  # never among the best
    ],
)
def test_a_gap_that_is_proven_is_refused_and_named(probability, share):
    limits = {f"{name}Gap": 100 for name in ("calibration", "recall", "selection") if name != share}
    finding = fairness(probability, settings=gate_settings(**limits))
    assert not finding.passed
    assert finding.sentence.startswith(f"the {share} of group:minority is")
    assert finding.figures["proven"] <= abs(finding.figures["gap"])


def test_a_few_clicks_accuse_nobody():
    few, minority = CLICKED[:8_000], MINORITY[:8_000]
    probability = np.where(minority, TRUTH[:8_000] * 1.4, TRUTH[:8_000])
    finding = fairness(probability, clicked=few, settings=gate_settings(selectionGap=100))  # many rows prove that
    assert finding.figures["gap"] > 2 * finding.figures["allowed"] > 2 * finding.figures["proven"]
    assert finding.passed
    assert isinstance(fairness(TRUTH[:3_000], clicked=CLICKED[:3_000]), NotJudged)


def test_equal_treatment_is_seldom_called_a_gap_by_chance():
    rng, refused = np.random.default_rng(7), 0
    for _ in range(10):
        clicked = rng.random(10_000) < TRUTH[:10_000]
        refused += not fairness(TRUTH[:10_000], clicked=clicked).passed
    assert refused == 0


def test_a_model_that_reads_a_sensitive_column_is_refused():
    rows = people()
    reads = replace(PEOPLE, categorical=("device", "group"))
    finding = Fairness().check(case(JUDGED, rows=rows, scorer=scorer_of(rows, reads)))
    assert not finding.passed
    assert "reads group, which is sensitive" in finding.sentence


def test_without_a_sensitive_slice_or_with_too_few_clicks_in_each_fairness_is_not_judged():
    assert Fairness().check(case(JUDGED)) == NotJudged("fairness", "the schema calls no slice sensitive")
    said = fairness(TRUTH, settings=gate_settings(sliceMinClicks=10_000))
    assert said == NotJudged("fairness", "no sensitive group has 10000 clicks in the evaluation window")
