import gzip
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perch.errors import DataError
from perch.workload.data import FORMATS, log_format, read
from perch.workload.schema import AVAZU, CLICK_LOG, CRITEO, OPEN_BANDIT
from perch.world import Market, MarketSettings

AVAZU_HEADER = ["id", "click", "hour", *(name for name in AVAZU.categorical)]


def open_bandit(path: Path, rows, *, items=2):
    header = ["", "timestamp", "item_id", "position", "click", "propensity_score"]
    header += [f"user_feature_{i}" for i in range(4)] + [f"user-item_affinity_{i}" for i in range(items)]
    lines = [",".join(header)]
    for i, (second, item, click) in enumerate(rows):
        affinity = ",".join(str(10.0 + j) for j in range(items))
        lines.append(f"{i},2019-11-24 00:00:{second:02d}.500000+00:00,{item},1,{click},0.5,u,v,,x,{affinity}")
    write(path, "\n".join(lines) + "\n")
    return path


def write(path: Path, text: str):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def criteo_line(click=0, number="3", category="05db9164"):
    return "\t".join([str(click), *[number] * 13, *[category] * 26])


def avazu_line(i, hour="14102101", click=0):
    return ",".join([str(i), str(click), hour, *["c"] * len(AVAZU.categorical)])


def avazu(path, lines):
    return write(path, "\n".join([",".join(AVAZU_HEADER), *lines]) + "\n")


def whole(path, name, **options):
    return pd.concat(read(path, name, **options), ignore_index=True)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_open_bandit_rows_get_a_time_a_campaign_and_the_affinity_of_the_ad_shown(tmp_path, suffix):
    log = whole(open_bandit(tmp_path / f"random-men{suffix}", [(1, 0, 0), (2, 1, 1)]), "open-bandit")
    assert tuple(log.columns) == OPEN_BANDIT.columns
    assert log["time"].tolist() == [1574553601.5, 1574553602.5]
    assert log["ad_id"].tolist() == ["men-0", "men-1"]
    assert log["affinity"].tolist() == [10.0, 11.0]
    assert log["click"].tolist() == [0, 1]
    assert log["user_feature_2"].isna().all()


@pytest.mark.parametrize("chunk_rows", [2, 3, 1_000])
def test_a_folder_of_logs_is_merged_by_time(tmp_path, chunk_rows):
    open_bandit(tmp_path / "a-men.csv.gz", [(1, 0, 0), (4, 0, 0), (5, 0, 1), (9, 0, 0)])
    open_bandit(tmp_path / "a-women.csv", [(2, 0, 0), (3, 0, 1), (5, 1, 0), (6, 1, 0), (7, 1, 0)])
    write(tmp_path / "items-men.csv", "item_id,colour\n0,red\n")
    log = whole(tmp_path, "open-bandit", chunk_rows=chunk_rows)
    assert (log["time"] - 1574553600.5).tolist() == [1, 2, 3, 4, 5, 5, 6, 7, 9]
    assert log["campaign"].value_counts().to_dict() == {"women": 5, "men": 4}


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
def test_criteo_fields_may_be_empty_and_the_rows_order_is_the_time(tmp_path, suffix):
    lines = [criteo_line(1), criteo_line(0, number="", category="")]
    log = whole(write(tmp_path / f"day{suffix}", "\n".join(lines) + "\n"), "criteo", chunk_rows=1)
    assert tuple(log.columns) == CRITEO.columns
    assert log["time"].tolist() == [0, 1]
    assert log.loc[0, "I1"] == 3
    assert log.loc[1, list(CRITEO.inputs)].isna().all()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_avazu_hours_become_times(tmp_path, suffix):
    path = avazu(tmp_path / f"train.csv{suffix}", [avazu_line(1, "14102100"), avazu_line(2, "14102213", 1)])
    log = whole(path, "avazu")
    assert tuple(log.columns) == AVAZU.columns
    assert log["time"].tolist() == [1413849600, 1413849600 + 37 * 3600]
    assert log["hour"].tolist() == [0, 13]
    assert log["click"].tolist() == [0, 1]


def test_the_markets_log_goes_through_parquet_unchanged(tmp_path):
    log = Market(1, MarketSettings(users=500, ads=50)).log(2, 3_000)
    log.to_parquet(tmp_path / "log.parquet")
    back = whole(tmp_path / "log.parquet", "parquet", chunk_rows=1_000)
    assert tuple(back.columns) == CLICK_LOG.columns
    for name in CLICK_LOG.columns:
        pd.testing.assert_series_equal(back[name], log[name].astype(back[name].dtype))


@pytest.mark.parametrize("stored", ["int64", "string", "category"])
def test_an_id_reads_the_same_in_every_chunk_however_it_is_stored(tmp_path, stored):
    log = Market(1, MarketSettings(users=500, ads=50)).log(1, 300)
    ids = pd.Series(range(300))
    log["user_id"] = (ids.astype("Int64") if stored == "int64" else ids.astype(str).astype(stored)).where(ids != 250)
    table = pa.Table.from_pandas(log).replace_schema_metadata(None)  # as other programs write it
    pq.write_table(table, tmp_path / "log.parquet")
    back = whole(tmp_path / "log.parquet", "parquet", chunk_rows=100)["user_id"]
    assert back.isna().tolist() == [i == 250 for i in range(300)]
    assert back.dropna().tolist() == [str(i) for i in range(300) if i != 250]


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(DataError, match=f"'orc'.*{', '.join(FORMATS)}"):
        log_format("orc")


def test_a_log_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        whole(tmp_path / "nowhere.csv", "avazu")


@pytest.mark.parametrize("name", ["avazu", "criteo", "open-bandit"])
def test_an_empty_file_is_an_error(tmp_path, name):
    with pytest.raises(DataError, match="is empty"):
        whole(write(tmp_path / "log.csv", ""), name)


def test_a_header_alone_is_an_error(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        whole(avazu(tmp_path / "log.csv", []), "avazu")


def test_a_folder_without_logs_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"holds no \*\.csv"):
        whole(tmp_path, "open-bandit")


def test_a_folder_where_a_file_is_wanted_is_an_error(tmp_path):
    for name in ("criteo", "avazu", "parquet"):
        with pytest.raises(DataError):
            whole(tmp_path, name)


def test_a_missing_column_is_named_with_what_stands_there_instead(tmp_path):
    with pytest.raises(DataError, match=r"no column hour.*but id, time"):
        whole(write(tmp_path / "log.csv", "id,click,time\n1,0,2\n"), "avazu")


def test_a_criteo_log_of_another_width_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no column click"):
        whole(write(tmp_path / "log.tsv", "1\t2\t3\n"), "criteo")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (avazu_line(3, click="maybe"), r"line 4: click is 'maybe', which is not a number"),
        (avazu_line(3, hour="14139900"), r"line 4: hour is '14139900', which is not a time"),
        (avazu_line(3, hour=""), r"line 4: hour is missing"),
        (avazu_line(3) + ",surplus", r"line 4"),
    ],
)
@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_an_unreadable_value_is_named_with_its_line(tmp_path, line, complaint, chunk_rows):
    path = avazu(tmp_path / "log.csv", [avazu_line(1), avazu_line(2), line])
    with pytest.raises(DataError, match=complaint):
        whole(path, "avazu", chunk_rows=chunk_rows)


def test_a_file_that_only_claims_to_be_gzip_is_an_error(tmp_path):
    (tmp_path / "log.csv.gz").write_text("id,click\n")
    with pytest.raises(DataError, match="not a complete gzip file"):
        whole(tmp_path / "log.csv.gz", "avazu")


def test_a_truncated_gzip_file_is_an_error(tmp_path):
    path = avazu(tmp_path / "log.csv.gz", [avazu_line(i) for i in range(2_000)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not a complete gzip file"):
        whole(path, "avazu")


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe\x00\x9f" * 50)
    with pytest.raises(DataError):
        whole(tmp_path / "log.csv", "avazu")


def test_a_file_that_is_no_parquet_is_an_error(tmp_path):
    with pytest.raises(DataError, match="not a readable Parquet file"):
        whole(write(tmp_path / "log.parquet", "PAR1"), "parquet")


def test_a_parquet_column_of_text_where_numbers_belong_is_an_error(tmp_path):
    log = Market(1, MarketSettings(users=500, ads=50)).log(1, 100)
    log.assign(price="cheap").to_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match="cheap"):
        whole(tmp_path / "log.parquet", "parquet")


def test_memory_does_not_grow_with_the_log(tmp_path):
    def peak(rows):
        path = write(tmp_path / "log.tsv", (criteo_line() + "\n") * rows)
        tracemalloc.start()
        for _ in read(path, "criteo", chunk_rows=500):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(500)  # imports and caches
    assert peak(16_000) < 1.5 * peak(4_000)
