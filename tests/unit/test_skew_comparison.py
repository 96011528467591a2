"""Served features against those that training makes of the same row."""

import msgspec
import pytest

from perch.judge.skew import compare
from perch.signals.inspection import Sampled
from profiled import small_market


def asked(count=300):
    """Rows of the log as requests have them."""
    prepared, scorer, _ = small_market()
    frame = prepared.evaluation.head(count)[list(scorer.schema.inputs)].astype(object)
    return [dict(row) for row in frame.where(frame.notna(), None).to_dict("records")]


def served(rows):
    """What the serving path makes of them, after a journey as JSON."""
    _, scorer, _ = small_market()
    transform = scorer.transform
    matrix = transform.transform({name: [row[name] for row in rows] for name in scorer.schema.inputs}).values
    return [
        msgspec.json.decode(msgspec.json.encode(dict(zip(transform.names, row.tolist(), strict=True))))
        for row in matrix
    ]


def sample(rows, features):
    return [Sampled(f"r{i}", None, row, row, one) for i, (row, one) in enumerate(zip(rows, features, strict=True))]


def shares(compared):
    return {one.feature: one.equal / one.requests for one in compared.matches}


def test_a_healthy_service_makes_every_feature_as_training_does():
    _, scorer, _ = small_market()
    rows = [*asked(), dict.fromkeys(scorer.schema.inputs), {**asked(1)[0], "site": "", "price": 1e300}]
    compared = compare(sample(rows, served(rows)), scorer.transform)
    assert shares(compared) == dict.fromkeys(scorer.transform.names, 1.0)
    assert compared.examples == []
    assert {one.requests for one in compared.matches} == {302}


def test_a_column_that_is_given_otherwise_is_named_with_the_first_request():
    _, scorer, _ = small_market()
    rows = asked()
    given = [{**row, "price": row["price"] and row["price"] * 100} for row in rows]
    first = next(i for i, row in enumerate(rows) if row["price"])
    price = rows[first]["price"]
    compared = compare(sample(rows, served(given)), scorer.transform)
    assert {name for name, share in shares(compared).items() if share < 1} == {"price"}
    (example,) = compared.examples
    assert (example.feature, example.request_id, example.asked) == ("price", f"r{first}", {"price": price})
    assert (example.served, example.made_again) == (100 * price, price)


def test_a_category_is_found_in_its_features_and_in_those_of_its_crosses():
    _, scorer, _ = small_market()
    rows = asked()
    given = [{**row, "site": None} if i == 7 else row for i, row in enumerate(rows)]
    compared = compare(sample(rows, served(given)), scorer.transform)
    differing = {name: share for name, share in shares(compared).items() if share < 1}
    assert set(differing) >= {"site_log_odds", "site_log_count", "site_x_ad_category_log_odds"}
    assert set(differing.values()) == {299 / 300}
    crossed = next(one for one in compared.examples if one.feature == "site_x_ad_category_log_odds")
    assert (crossed.request_id, crossed.asked.keys()) == ("r7", {"site", "ad_category"})


def test_another_processor_is_no_skew_for_a_logarithms_last_bit_is_its_own():
    _, scorer, _ = small_market()
    rows = asked()
    features = [
        {name: value if value is None else value * (1 + 2**-52) for name, value in one.items()} for one in served(rows)
    ]
    assert compare(sample(rows, features), scorer.transform).examples == []


def test_the_eleventh_digit_counts():
    _, scorer, _ = small_market()
    rows = asked(5)
    features = served(rows)
    features[3] = {**features[3], "price": features[3]["price"] * (1 + 1e-11)}
    compared = compare(sample(rows, features), scorer.transform)
    assert shares(compared)["price"] == 0.8


def test_an_example_has_no_hidden_input():
    _, scorer, _ = small_market()
    rows = asked(1)
    given = [{**row, "site": None} for row in rows]
    compared = compare(sample(rows, served(given)), scorer.transform, {"site"})
    told = {one.feature: one.asked for one in compared.examples}
    assert told["site_log_odds"] == {}
    assert told["site_x_ad_category_log_odds"] == {"ad_category": rows[0]["ad_category"]}


@pytest.mark.parametrize(
    "change",
    [lambda row: {}, lambda row: {**row, "price": "12"}, lambda row: {**row, "site": 3.0}],
)
def test_rows_of_other_columns_or_types_are_left_out(change):
    _, scorer, _ = small_market()
    rows = asked(5)
    features = served(rows)
    compared = compare(sample([*rows[:4], change(rows[4])], features), scorer.transform)
    assert {one.requests for one in compared.matches} == {4}
    assert compare(sample([change(rows[0])], features[:1]), scorer.transform) == ([], [])


def test_where_no_served_features_are_known_nothing_is_said():
    _, scorer, _ = small_market()
    rows = asked(5)
    assert compare(sample(rows, [None] * 5), scorer.transform).matches == []


def test_a_feature_that_was_not_served_is_not_the_same():
    _, scorer, _ = small_market()
    rows = asked(5)
    features = [{name: value for name, value in one.items() if name != "hour"} for one in served(rows)]
    assert shares(compare(sample(rows, features), scorer.transform))["hour"] == 0.0


def test_every_feature_has_the_inputs_that_it_is_made_of():
    _, scorer, _ = small_market()
    of = dict(scorer.transform.columns.sources)
    assert list(of) == scorer.transform.names
    assert of["price"] == ("price",)
    assert of["site_x_ad_category_log_count"] == ("site", "ad_category")
