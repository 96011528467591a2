"""Training on a log that does not fit in memory."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from perch.errors import DataError
from perch.pipeline.evaluate import evaluate
from perch.pipeline.features import prepare
from perch.pipeline.ingest import Ingested, ingest
from perch.pipeline.scan import chunks, ranked, windows
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.source import Source
from perch.pipeline.streaming import LIBRARIES_BYTES, held, prepare_log, prepare_streaming, validate_log
from perch.pipeline.train import fit
from perch.workload.data import read
from perch.workload.schema import CLICK_LOG
from perch.world import Market

SETTINGS = PipelineSettings(resamples=50)


def bounded(memory_bytes):
    return replace(SETTINGS, memory_bytes=memory_bytes)


@pytest.fixture(scope="module")
def frame():
    return Market(1).log(14, 120_000)


@pytest.fixture(scope="module")
def log(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    frame.to_parquet(folder / "raw.parquet")
    return ingest(Source(folder / "raw.parquet", "parquet"), folder)


@pytest.fixture(scope="module")
def held_log(log):
    return prepare(log.load(), log.schema, SETTINGS, data_digest=log.digest)


@pytest.fixture(scope="module")
def streamed(log, tmp_path_factory):
    return prepare_streaming(log, SETTINGS, scratch=tmp_path_factory.mktemp("scratch"))


@pytest.mark.parametrize("kind", ["logistic", "lightgbm"])
def test_a_streamed_log_gives_the_very_model_that_one_in_memory_gives(held_log, streamed, kind):
    one, other = fit(held_log, kind, SETTINGS), fit(streamed, kind, SETTINGS)
    assert one.estimator.to_bytes() == other.estimator.to_bytes()
    np.testing.assert_array_equal(one.transform.clicks, other.transform.clicks)


def test_a_streamed_log_is_judged_on_the_very_rows(held_log, streamed):
    scorer = fit(held_log, "logistic", SETTINGS)
    assert evaluate(scorer, held_log, SETTINGS).flat() == evaluate(scorer, streamed, SETTINGS).flat()
    assert (held_log.data_from_s, held_log.data_to_s, held_log.data_rows) == (
        streamed.data_from_s,
        streamed.data_to_s,
        streamed.data_rows,
    )
    np.testing.assert_array_equal(held_log.training_clicked, streamed.training_clicked)


def test_the_order_of_the_rows_in_the_file_changes_neither_windows_nor_tables(frame, log, streamed, tmp_path):
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "raw.parquet")
    mixed = ingest(Source(tmp_path / "raw.parquet", "parquet"), tmp_path)
    assert windows(mixed, SETTINGS) == windows(log, SETTINGS)
    again = prepare_streaming(mixed, SETTINGS, scratch=tmp_path)
    for kind, one in again.inputs.items():
        np.testing.assert_array_equal(one.transform.impressions, streamed.inputs[kind].transform.impressions)
        assert one.clicked.sum() == streamed.inputs[kind].clicked.sum()
    assert again.evaluation["time"].is_monotonic_increasing


def test_where_memory_is_scarce_trees_learn_all_clicks_and_fewer_other_rows(held_log, log, tmp_path):
    scarce = prepare_streaming(log, bounded(LIBRARIES_BYTES + 2_500_000), scratch=tmp_path)
    trees, baseline = scarce.inputs["lightgbm"], scarce.inputs["logistic"]
    assert trees.clicked.sum() == held_log.inputs["lightgbm"].clicked.sum() == baseline.clicked.sum()
    assert trees.keep_rate < 0.4
    assert len(trees.clicked) < 0.8 * len(held_log.inputs["lightgbm"].clicked)
    assert len(baseline.clicked) == len(held_log.inputs["logistic"].clicked)
    assert len(scarce.evaluation) < 5_000
    judged = replace(scarce, evaluation=held_log.evaluation, evaluation_clicked=held_log.evaluation_clicked)
    losses = [
        evaluate(fit(one, "lightgbm", SETTINGS), judged, SETTINGS).metrics["log_loss"] for one in (held_log, scarce)
    ]
    assert losses[1] < 1.01 * losses[0]


def test_clicks_that_have_no_room_are_refused_with_what_to_do(log, tmp_path):
    with pytest.raises(
        DataError, match=r"kind lightgbm has no room for 1,\d+ clicks .*: declare more memory, or train"
    ):
        prepare_streaming(log, bounded(LIBRARIES_BYTES + 100_000), scratch=tmp_path)


def test_a_log_is_held_in_memory_as_long_as_it_fits(log):
    assert held(log, SETTINGS)
    assert held(log, bounded(2**30))
    assert not held(replace(log, rows=1_000 * log.rows), bounded(2**30))


def test_where_a_log_does_not_fit_it_is_validated_and_prepared_in_parts(log, held_log, tmp_path):
    scarce = bounded(LIBRARIES_BYTES + 10**7)
    assert not held(log, scarce)
    now_s = log.load()["click_time"].max()
    assert validate_log(log, scarce, now_s=now_s) == validate_log(log, SETTINGS, now_s=now_s) > 1_000
    prepared = prepare_log(log, scarce, scratch=tmp_path)
    assert len(prepared.evaluation) < len(held_log.evaluation)
    assert prepared.data_rows == held_log.data_rows


def test_a_wrong_row_of_a_log_in_parts_is_named_by_its_place_in_the_log(frame, tmp_path, monkeypatch):
    monkeypatch.setattr("perch.pipeline.streaming._VALIDATED_ROWS", 50_000)
    frame.assign(hour=frame["hour"].where(frame.index != 77_777, 25.0)).to_parquet(tmp_path / "raw.parquet")
    log = ingest(Source(tmp_path / "raw.parquet", "parquet"), tmp_path)
    with pytest.raises(DataError, match=r"hour is outside 0 to 24 in 1 rows, first 25\.0 in row 77777"):
        validate_log(log, bounded(LIBRARIES_BYTES), now_s=frame["click_time"].max())


@pytest.mark.parametrize("rank", [0, 1, 17, 4_999, 9_999])
def test_a_rank_is_found_among_values_of_all_sizes_and_signs(rank):
    rng = np.random.default_rng(rank)
    values = rng.normal(size=10_000) * 10.0 ** rng.integers(-300, 300, 10_000)
    values[rng.integers(10_000, size=3_000)] = 0.0
    values[rng.integers(10_000, size=10)] = -0.0
    assert ranked(lambda: iter(np.array_split(values, 7)), rank) == np.sort(values)[rank]


def test_rows_of_one_time_stay_together(tmp_path, frame):
    coarse = frame.assign(time=frame["time"] // 86_400 * 86_400, click_time=np.nan)
    coarse["click_time"] = coarse["time"].where(coarse["click"] == 1)
    coarse.to_parquet(tmp_path / "raw.parquet")
    log = ingest(Source(tmp_path / "raw.parquet", "parquet"), tmp_path)
    cut = windows(log, SETTINGS)
    assert cut.history.to_s % 86_400 == cut.training.to_s % 86_400 == 0
    parts = [chunks(log, from_s=part.from_s, to_s=part.to_s) for part in (cut.history, cut.training, cut.evaluation)]
    assert [sum(map(len, part)) for part in parts] == [cut.history.rows, cut.training.rows, cut.evaluation.rows]
    held_log = prepare(log.load(), log.schema, SETTINGS, data_digest="")
    assert (len(held_log.training_clicked), len(held_log.evaluation)) == (cut.training.rows, cut.evaluation.rows)


def test_what_prepare_refuses_is_refused_in_the_same_words(frame, tmp_path):
    late = frame.assign(click_time=frame["click_time"] + 1e6)
    late.to_parquet(tmp_path / "raw.parquet")
    log = ingest(Source(tmp_path / "raw.parquet", "parquet"), tmp_path)
    with pytest.raises(DataError) as held_log:
        prepare(log.load(), log.schema, SETTINGS, data_digest="")
    with pytest.raises(DataError) as streamed:
        prepare_streaming(log, SETTINGS, scratch=tmp_path)
    assert str(held_log.value) == str(streamed.value)


def test_nothing_is_left_on_the_disk(log, tmp_path):
    prepared = prepare_streaming(log, SETTINGS, scratch=tmp_path)
    matrix = prepared.inputs["lightgbm"].values  # noqa: PD011 - no frame
    assert isinstance(matrix.base, np.memmap)
    assert not list(tmp_path.iterdir())
    assert isinstance(prepared.evaluation["ad_id"].dtype, pd.CategoricalDtype)


def test_reading_a_long_file_keeps_none_of_what_was_read(frame, tmp_path):
    raw, rows = tmp_path / "raw.parquet", 2_000
    frame.to_parquet(raw, row_group_size=rows)
    held_log = {}
    log = Ingested(tmp_path / "log.parquet", CLICK_LOG, len(frame), "")
    coded = frame[list(CLICK_LOG.columns)]
    coded.astype(dict.fromkeys(coded.select_dtypes("category"), str)).to_parquet(log.path, row_group_size=rows)
    for name, parts in {"raw": read(raw, "parquet", chunk_rows=rows), "log": chunks(log)}.items():
        before = pa.total_allocated_bytes()
        held_log[name] = [pa.total_allocated_bytes() - before for _ in parts]
    assert all(max(sizes[-10:]) < max(sizes[:10]) + raw.stat().st_size / 10 for sizes in held_log.values()), held_log


def test_a_feed_that_broke_is_found_in_parts_and_named_in_the_same_words(frame, tmp_path):
    broken = frame.assign(site=frame["site"].where((frame.index < 45_000) | (frame.index > 105_000)))
    broken.to_parquet(tmp_path / "raw.parquet")
    log = ingest(Source(tmp_path / "raw.parquet", "parquet"), tmp_path)
    with pytest.raises(
        DataError, match=r"site is missing in all rows from 45,000 to 105,000, and else in 0 %"
    ) as whole:
        prepare(log.load(), log.schema, SETTINGS, data_digest="")
    with pytest.raises(DataError) as streamed:
        prepare_streaming(log, SETTINGS, scratch=tmp_path)
    assert str(streamed.value) == str(whole.value)
