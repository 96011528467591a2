import resource
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from log_server import log_server
from perch.adapters.data.port import Remote
from perch.errors import DataError, PlatformError
from perch.pipeline import source as sources
from perch.pipeline.ingest import ingest
from perch.pipeline.source import Source, fetched, source_key
from perch.world import Market


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    Market(1).log(1, 2_000).to_parquet(path)
    return path


@pytest.fixture
def server(log):
    with log_server() as running:
        running.files["/log.parquet"] = log.read_bytes()
        yield running


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_log_on_a_server_is_ingested_as_the_same_file_here(server, log, tmp_path):
    here = ingest(Source(log, "parquet"), tmp_path / "here")
    there = ingest(Source(f"{server.url}/log.parquet", "parquet"), tmp_path / "there")
    assert there.digest == here.digest
    assert names(tmp_path / "there") == ["log.parquet"]


def test_a_path_may_be_text(log, tmp_path):
    assert ingest(Source(str(log), "parquet"), tmp_path).rows == 2_000


def test_how_much_has_come_is_told(server, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(sources, "_TELL_BYTES", 1)
    with fetched(Source(f"{server.url}/log.parquet?sig=s3cret", "parquet"), tmp_path, told.append) as path:
        size = path.stat().st_size
    assert told[-1] == f"fetched {size / 1e6:,.1f} MB from {server.url}/log.parquet"
    assert f" of {size / 1e6:,.1f} MB from" in told[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/bts-men.csv.gz", "bts-men.csv.gz"),
        ("/..%2f..%2fetc%2fpasswd", "passwd"),
        ("/a/.hidden", "hidden"),
        ("/a/", "log"),
        ("/" + "x" * 400 + ".csv", "x" * 96 + ".csv"),
        ("/a%20b%00c.csv", "a_b_c.csv"),
    ],
)
def test_a_fetched_file_keeps_its_name_and_stays_in_its_folder(server, tmp_path, path, name):
    server.files[path] = b"content"
    with fetched(Source(server.url + path, "parquet"), tmp_path) as file:
        assert file.name == name
        assert file.resolve().parent.parent == tmp_path.resolve()
        assert file.read_bytes() == b"content"
    assert not file.exists()


def test_an_empty_file_is_refused(server, tmp_path):
    server.files["/log.parquet"] = b""
    with pytest.raises(DataError, match=r"/log\.parquet is empty: name a log"):
        ingest(Source(f"{server.url}/log.parquet", "parquet"), tmp_path)


def test_after_a_cut_nothing_is_left_and_the_old_log_stays(server, log, tmp_path):
    source = Source(f"{server.url}/log.parquet", "parquet")
    before = ingest(source, tmp_path).digest
    server.cut_after = 1_000
    with pytest.raises(PlatformError, match=r"was cut off .*: try again"):
        ingest(source, tmp_path)
    assert names(tmp_path) == ["log.parquet"]
    server.cut_after = None
    assert ingest(source, tmp_path).digest == before


def test_a_place_that_hands_out_less_than_it_said_is_cut_off(tmp_path):
    with pytest.raises(PlatformError, match=r"http://a/log was cut off after 0\.0 of 1\.0 MB"):
        sources._save(Remote(10**6, None, iter([b"short"])), tmp_path / "log", "http://a/log", None)


def test_a_place_that_only_drips_hangs(tmp_path, monkeypatch):
    clock = iter(range(0, 1_000, 10))
    monkeypatch.setattr(sources.time, "monotonic", lambda: next(clock))
    with pytest.raises(PlatformError, match=r"http://a/log hangs: 7 bytes came in 70 s"):
        sources._save(Remote(10**6, None, iter([b"x"] * 50)), tmp_path / "log", "http://a/log", None)


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_full_volume_is_told_and_nothing_half_written_stays(server, log, tmp_path, where):
    source = Source(log if where == "here" else f"{server.url}/log.parquet", "parquet")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(PlatformError, match=r"into cannot be written \(.*File too large.*\): make room"):
            ingest(source, tmp_path / "into")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path / "into") == []


def test_a_folder_that_is_a_file_is_told(log, tmp_path):
    (tmp_path / "into").write_text("")
    with pytest.raises(PlatformError, match="into cannot be written"):
        ingest(Source(log, "parquet"), tmp_path / "into")


@pytest.mark.parametrize("location", ["ftp://a/b", "file:///etc/passwd", "gs://a/b", "http:///log", "s3cret://x:y@a/b"])
def test_only_known_places_are_asked(location, tmp_path):
    with pytest.raises(DataError, match="is nothing to fetch a log from: name a path, or http://") as refused:
        ingest(Source(location, "parquet"), tmp_path)
    assert "x:y" not in str(refused.value)


@pytest.mark.parametrize("location", ["http://..../x", "http://[::1/x", "http://a\x00b/x"])
def test_an_address_that_is_none_is_told_in_a_sentence(location, tmp_path):
    with pytest.raises(DataError, match=r"is no address of a web server|is nothing to fetch"):
        ingest(Source(location, "parquet"), tmp_path)


def test_a_key_holds_until_somebody_writes_to_the_log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a")
    keys = [source_key(Source(path, "criteo")), source_key(Source(path, "criteo"))]
    path.write_text("ab")
    keys += [source_key(Source(path, "criteo")), source_key(Source(path, "avazu"))]
    assert keys[0] == keys[1]
    assert all(a != b for a, b in pairwise(keys[1:]))


def test_the_key_of_a_folder_is_that_of_its_files(tmp_path):
    keys = [source_key(Source(tmp_path, "open-bandit"))]
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("a")
        keys.append(source_key(Source(tmp_path, "open-bandit")))
    assert len(set(keys)) == 3
    assert source_key(Source(str(tmp_path), "open-bandit")) == keys[-1]


def test_the_key_of_a_log_on_a_server_is_what_the_server_says(server):
    source = Source(f"{server.url}/log.parquet", "parquet")
    first, again = source_key(source), source_key(source)
    server.files["/log.parquet"] += b"x"
    assert first == again != source_key(source)


def test_no_two_keys_are_the_same_where_a_server_does_not_say(server):
    server.is_stamped = False
    source = Source(f"{server.url}/log.parquet", "parquet")
    assert source_key(source) != source_key(source)


def test_there_is_no_key_of_no_log(tmp_path):
    with pytest.raises(DataError, match="does not exist: name a click log that does"):
        source_key(Source(tmp_path / "no", "parquet"))


def test_a_file_of_a_layout_that_tells_by_the_name_reads_the_same_from_a_server(server, tmp_path):
    columns = ["timestamp", "item_id", "position", "click", *(f"user_feature_{i}" for i in range(4))]
    row = ["2019-11-24 00:00:00+00:00", "1", "1", "0", "a", "b", "c", "d"]
    path = tmp_path / "bts-men.csv"
    pd.DataFrame([row, row], columns=columns).to_csv(path)
    server.files["/bts-men.csv"] = path.read_bytes()
    here, there = (
        ingest(Source(location, "open-bandit"), tmp_path / str(i)).load()
        for i, location in enumerate([path, f"{server.url}/bts-men.csv?v=2"])
    )
    assert set(there["campaign"]) == {"men"}
    pd.testing.assert_frame_equal(here, there)


def test_a_source_is_printed_without_secrets():
    assert str(Source("https://me:word@a.example/b?sig=1", "parquet")) == "https://a.example/b"
    assert str(Source(Path("a/b"), "parquet")) == str(Source("a/b", "parquet")) == "a/b"
