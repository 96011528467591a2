"""What training tells serving of its inputs, and how serving counts in the same bins."""

from dataclasses import replace

import numpy as np
import pytest

from perch.errors import ModelError
from perch.pipeline.profile import number_edges, profile
from perch.serving.question import Identity
from perch.serving.sketches import InputCounts, InputsPage, Sketcher
from perch.workload.package import load_package, read_manifest, write_package
from perch.workload.profile import LEVELS
from profiled import small_market


def columns_of(frame, transform):
    columns = {name: frame[name].astype(object) for name in transform.columns.numeric + transform.columns.categorical}
    return {name: values.where(values.notna(), None).tolist() for name, values in columns.items()}


def test_requests_count_in_the_bins_in_which_training_counted():
    prepared, scorer, found = small_market()
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    sketcher, counts = Sketcher(found, scorer.transform), InputCounts(found)
    values = columns_of(rows, scorer.transform)
    for i in range(len(rows)):
        matrix = scorer.transform.transform({name: column[i : i + 1] for name, column in values.items()})
        probability = scorer.predict(matrix.values)[0]
        counts.add(sketcher.cells(matrix), float(np.log(probability / (1 - probability))))
    trained = [count for part in (*found.columns, *found.pairs) for count in part.rows]
    assert counts.cells == trained
    assert tuple(counts.scores) == found.score.rows


def test_only_ads_that_were_shown_at_random_are_counted_where_the_log_knows_them():
    prepared, scorer, found = small_market()
    assert {sum(column.rows) for column in found.columns} == {int(prepared.evaluation["explored"].sum())}
    blind = replace(prepared, schema=replace(prepared.schema, explored=None))
    assert {sum(column.rows) for column in profile(scorer, blind).columns} == {len(prepared.evaluation)}


def test_a_column_that_follows_the_clock_moves_by_itself_and_one_that_does_not_hardly_does():
    _, _, found = small_market()
    natural = {column.name: column.natural for column in found.columns}
    assert natural["hour"] > 1
    assert natural["site"] < 0.05


def test_columns_that_depend_on_each_other_make_a_pair_and_others_none():
    _, _, found = small_market()
    paired = {frozenset({found.columns[p.first].name, found.columns[p.second].name}) for p in found.pairs}
    assert {"advertiser_id", "ad_category"} in paired
    assert not any("hour" in pair for pair in paired)


def test_edges_of_two_samples_of_one_distribution_are_mostly_the_same():
    rng = np.random.default_rng(0)
    first, second = (set(number_edges(np.exp(rng.normal(3, 0.8, 20_000)))) for _ in range(2))
    assert len(first) == 17
    assert len(first & second) >= 9


def test_values_of_a_few_kinds_have_a_bin_each():
    assert number_edges(np.array([0.0, 1.0] * 50)) == (-0.5, 0.0, 1.0)
    assert number_edges(np.array([7.5] * 50)) == (4.0, 8.0)


def test_a_package_carries_its_profile_and_one_without_it_loads_as_before(tmp_path):
    _, scorer, found = small_market()
    digest = write_package(tmp_path / "with", scorer, score_histogram=(), profile=found)
    assert read_manifest(tmp_path / "with", digest).profile == found
    write_package(tmp_path / "without", scorer, score_histogram=())
    manifest = tmp_path / "without" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"profile": null,', ""))  # as an earlier Perch wrote it
    assert read_manifest(tmp_path / "without").profile is None
    assert load_package(tmp_path / "without").keep_rate == scorer.keep_rate


def test_a_malformed_profile_is_refused_with_its_place(tmp_path):
    _, scorer, found = small_market()
    write_package(tmp_path / "package", scorer, score_histogram=(), profile=found)
    manifest = tmp_path / "package" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"natural": ', '"natural": "x', 1))
    with pytest.raises(ModelError, match="package the model again"):
        read_manifest(tmp_path / "package")


def test_the_page_tells_what_was_counted_beside_what_was_trained():
    _, scorer, found = small_market()
    counts = InputCounts(found)
    matrix = scorer.transform.transform({name: [None] for name in scorer.schema.inputs})
    counts.add(Sketcher(found, scorer.transform).cells(matrix), -4.0)
    page = InputsPage(found, Identity("ads", "3")).render({"stable": counts, "canary": InputCounts(found)}).decode()
    assert 'perch_inputs_total{model="ads",version="3",arm="stable",feature="price",bin="missing"} 1' in page
    assert 'arm="canary"' not in page
    cells = sum(len(column.rows) for column in (*found.columns, found.score)) + LEVELS**2 * len(found.pairs)
    assert page.count("perch_inputs_total{") == page.count("perch_inputs_trained{") == cells
    assert len(page) * 5 < 1 << 20, "a page is read up to a mebibyte"
