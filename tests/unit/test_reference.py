"""What a package carries of training's rows, to hold others against: columns, and nobody's row."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from perch.errors import ModelError
from perch.pipeline.reference import reference
from perch.pipeline.settings import PipelineSettings
from perch.workload.package import OTHER, REFERENCE, load_package, package_digest, read_reference, write_package
from perch.workload.schema import Slice
from profiled import small_market

SETTINGS = PipelineSettings()


def read(content):
    return parquet.read_table(io.BytesIO(content)).to_pandas()


def test_equal_rows_give_equal_bytes_also_when_their_text_is_held_otherwise():
    prepared, _, _ = small_market()
    coded = prepared.evaluation.astype(dict.fromkeys(prepared.schema.categorical, "category"))
    assert reference(prepared, SETTINGS) == reference(replace(prepared, evaluation=coded), SETTINGS)


def test_the_users_id_and_what_is_sensitive_are_left_out():
    prepared, _, _ = small_market()
    assert "user_id" not in read(reference(prepared, SETTINGS))
    assert "user_id" in read(reference(prepared, replace(SETTINGS, user_column="device")))
    sensitive = replace(prepared.schema, slices=(Slice("country", sensitive=True),))
    assert "country" not in read(reference(replace(prepared, schema=sensitive), SETTINGS))


def test_each_column_has_its_own_order_so_no_row_is_anybodys():
    prepared, _, _ = small_market()
    told = read(reference(prepared, SETTINGS))
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    for name in told:
        known = told[name].dropna()
        assert known.is_monotonic_increasing
        assert len(known) == rows[name].notna().sum()
        assert told[name].notna()[: len(known)].all()


def test_a_number_is_told_that_twenty_rows_have_and_else_what_lies_between_means_of_twenty():
    prepared, _, _ = small_market()
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    told = read(reference(prepared, SETTINGS))
    for name in ("price", "user_recent_ctr", "hour", "user_age_days"):
        counts = rows[name].value_counts()
        assert not set(told[name].dropna()) & set(counts[counts < 20].index), name
        assert {value: (told[name] == value).sum() for value in counts[counts >= 20].index}.items() <= dict(
            counts
        ).items()
    assert told["price"].max() < rows["price"].max()
    steps = np.linspace(0.05, 0.95, 19)
    assert np.allclose(told["price"].quantile(steps), rows["price"].quantile(steps), rtol=0.1)


def test_few_rare_numbers_are_the_mean_of_all_and_a_column_of_few_is_left_out():
    prepared, _, _ = small_market()
    count = len(prepared.evaluation)
    rare = np.where(np.arange(count) % 100 == 0, np.arange(count) + 0.5, 3.0)
    told = read(reference(replace(prepared, evaluation=prepared.evaluation.assign(price=rare, hour=np.nan)), SETTINGS))
    assert told["price"].value_counts().index[0] == 3.0
    few = prepared.evaluation.assign(price=np.where(np.arange(count) < 10, 7.0, np.nan))
    assert "price" not in read(reference(replace(prepared, evaluation=few), SETTINGS))


def test_categories_that_few_rows_have_are_not_named():
    prepared, _, _ = small_market()
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    told = read(reference(prepared, SETTINGS))["advertiser_id"].value_counts()
    assert len(told) <= 13
    assert told.drop(OTHER).min() >= 20
    assert {name: count for name, count in told.items() if name != OTHER}.items() <= dict(
        rows["advertiser_id"].value_counts()
    ).items()
    unique = rows.assign(ad_id=[f"ad-{i}" for i in range(len(rows))])
    assert "ad_id" not in read(reference(replace(prepared, evaluation=unique), SETTINGS))


def test_too_few_rows_are_nothing_to_hold_others_against():
    prepared, _, _ = small_market()
    assert reference(replace(prepared, evaluation=prepared.evaluation[:0]), SETTINGS) is None
    assert reference(replace(prepared, evaluation=prepared.evaluation[:150]), SETTINGS) is None


def test_it_travels_in_the_package_under_its_digest_and_serving_does_without_it(tmp_path):
    prepared, scorer, found = small_market()
    rows = reference(prepared, SETTINGS)
    digest = write_package(tmp_path / "a", scorer, score_histogram=(1,), profile=found, reference=rows)
    assert digest == package_digest(tmp_path / "a")
    assert read_reference(tmp_path / "a", digest) == rows
    (tmp_path / "a" / REFERENCE).write_bytes(rows[:-1])
    with pytest.raises(ModelError, match=r"reference\.parquet is corrupt"):
        read_reference(tmp_path / "a", digest)
    (tmp_path / "a" / REFERENCE).unlink()
    assert load_package(tmp_path / "a", digest).schema == scorer.schema
    with pytest.raises(ModelError, match="cannot be read"):
        read_reference(tmp_path / "a", digest)


def test_a_package_of_an_earlier_perch_has_none(tmp_path):
    _, scorer, found = small_market()
    digest = write_package(tmp_path / "a", scorer, score_histogram=(1,), profile=found)
    assert read_reference(tmp_path / "a", digest) is None


def test_a_column_that_is_missing_everywhere_stays_a_column_without_values():
    prepared, _, _ = small_market()
    without = prepared.evaluation.assign(price=np.nan, site=pd.Series([None] * len(prepared.evaluation), dtype=object))
    told = read(reference(replace(prepared, evaluation=without), SETTINGS))
    assert told["price"].isna().all()
    assert "site" not in told
