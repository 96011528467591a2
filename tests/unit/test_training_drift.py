"""What Evidently is asked of requests and training, and when it says that a column drifts."""

import io

import numpy as np
import pytest
from pyarrow import parquet

from perch.errors import PlatformError
from perch.pipeline.reference import reference
from perch.pipeline.settings import PipelineSettings
from profiled import small_market

training = pytest.importorskip("perch.judge.training", reason="Evidently is in the group monitor")


def of_training():
    prepared, _, found = small_market()
    kept = parquet.read_table(io.BytesIO(reference(prepared, PipelineSettings()))).to_pandas()
    return kept, {column.name: column.natural for column in found.columns}


def asked(seed=0, count=500, **changed):
    """Requests like those of the evaluation window, drawn with replacement."""
    prepared, scorer, _ = small_market()
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    drawn = rows.sample(count, replace=True, random_state=seed)[list(scorer.schema.inputs)].astype(object)
    found = drawn.where(drawn.notna(), None).to_dict("records")
    return [{**row, **{name: change(row[name]) for name, change in changed.items()}} for row in found]


def compared(rows, reference, natural, users=None):
    return training.drift(rows, users or [None] * len(rows), reference, natural)


def drifting(rows, users=None):
    found = compared(rows, *of_training(), users=users)
    return {one.column for one in found.columns if one.drifts}


@pytest.mark.parametrize("count", [200, 2_000])
def test_what_is_asked_as_in_training_does_not_drift_however_few_rows_there_are(count):
    for seed in range(10):
        assert drifting(asked(seed, count)) == set()


@pytest.mark.parametrize(("count", "each"), [(400, 4), (400, 20)])
def test_users_who_ask_again_and_again_are_no_drift_for_their_requests_are_alike(count, each):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        of_users = asked(100 + seed, count // each)
        whose = rng.integers(0, len(of_users), count).tolist()
        constant = ("user_interest", "country", "device", "user_age_days", "user_recent_ctr")
        rows = [
            {**row, **{name: of_users[user][name] for name in constant}}
            for row, user in zip(asked(seed, count), whose, strict=True)
        ]
        assert drifting(rows, [f"u{user}" for user in whose]) == set()


def test_prices_in_cents_are_found_of_users_who_ask_again_too():
    rows = asked(1, price=lambda v: v and v * 100)
    assert drifting(rows, [f"u{i % 100}" for i in range(len(rows))]) == {"price"}


@pytest.mark.parametrize(
    ("column", "change", "finds"),
    [
        ("price", lambda v: v and v * 2, "price"),
        ("price", lambda v: v and v * 100, "price"),
        ("ad_age_days", lambda v: None, "ad_age_days is missing"),
        ("user_age_days", lambda v: 0.0, "user_age_days"),
        ("device", lambda v: "phone", "device"),
        ("site", lambda v: f"new-{v}", "site"),
        ("country", lambda v: None, "country is missing"),
    ],
)
def test_a_column_that_is_broken_drifts_and_no_other_one(column, change, finds):
    assert drifting(asked(1, **{column: change})) == {finds}


def test_a_column_that_follows_the_clock_is_not_compared_for_no_hour_is_like_a_day():
    kept, natural = of_training()
    assert natural["hour"] > 1
    assert "hour" not in {one.column for one in compared(asked(2), kept, natural).columns}
    assert "hour" in {one.column for one in compared(asked(2), kept, {**natural, "hour": 0.1}).columns}


def test_a_column_that_the_version_does_not_read_is_not_compared_for_nobody_noted_how_much_it_moves():
    kept, natural = of_training()
    del natural["price"]
    columns = {one.column for one in compared(asked(2, price=lambda v: 0.0), kept, natural).columns}
    assert "price" not in columns
    assert "ad_age_days" in columns


def test_one_row_far_outside_of_training_moves_no_distance():
    kept, natural = of_training()
    rows = asked(3, 1_000)

    def distance(rows):
        (one,) = (one for one in compared(rows, kept, natural).columns if one.column == "ad_age_days")
        return one.distance

    extreme = [{**rows[0], "ad_age_days": 1e6}, *rows[1:]]
    assert distance(extreme) == pytest.approx(distance(rows), abs=0.01)


def test_a_column_may_differ_by_as_much_as_parts_of_training_do():
    kept, _ = of_training()
    rows = [row for row in asked(2, 2_000) if row["ad_age_days"] is None or row["ad_age_days"] < 8]
    of = {natural: compared(rows, kept, {"ad_age_days": natural}).columns for natural in (0.0, 0.9)}
    distance, limits = {}, {}
    for natural, columns in of.items():
        (one,) = (one for one in columns if one.column == "ad_age_days")
        distance[natural], limits[natural] = one.distance, one.threshold
    assert distance[0.0] == distance[0.9]
    assert limits[0.9] ** 2 - limits[0.0] ** 2 == pytest.approx(0.9 / 8)


def test_the_distance_is_jensen_shannons_as_evidently_has_it():
    kept, natural = of_training()
    found = compared(asked(3, device=lambda v: "phone"), kept, natural)
    device = next(one for one in found.columns if one.column == "device")
    was = np.array([(kept["device"] == name).mean() for name in sorted(kept["device"].unique())])
    now = np.array([float(name == "phone") for name in sorted(kept["device"].unique())])
    if "phone" not in set(kept["device"]):
        was, now = np.append(was, 0.0), np.append(np.zeros(len(now)), 1.0)
    middle = (was + now) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.nansum(p * np.log(p / middle)) for p in (was, now)]
    assert device.distance == pytest.approx(np.sqrt(sum(parts) / 2))


def test_the_report_is_evidentlys_page_with_every_column():
    found = compared(asked(4), *of_training())
    assert "<html" in found.report.lower()
    assert all(one.column in found.report for one in found.columns)


def test_too_few_rows_and_rows_of_other_columns_are_not_compared():
    assert compared(asked(5, 199), *of_training()) is None
    assert compared([{"weather": "rain"}] * 500, *of_training()) is None
    known = compared([{**row, "weather": "rain"} for row in asked(6)], *of_training())
    assert "weather" not in {one.column for one in known.columns}


def test_rows_of_which_all_values_are_missing_drift_by_that():
    rows = [dict.fromkeys(asked(7, 1)[0])] * 300
    found = compared(rows, *of_training())
    assert {one.column for one in found.columns} == {
        f"{name} is missing" for name in of_training()[0] if name != "hour"
    }
    assert "price is missing" in {one.column for one in found.columns if one.drifts}


def test_numbers_that_are_none_count_as_missing():
    assert "price is missing" in drifting(asked(8, price=lambda v: "12"))


def test_an_evidently_that_fails_is_a_sentence(monkeypatch):
    def fail(*_):
        raise ValueError("no bins\nand more")

    monkeypatch.setattr(training, "_distances", fail)
    with pytest.raises(PlatformError, match=r"^Evidently cannot compare these requests with training: no bins\.$"):
        compared(asked(9), *of_training())
