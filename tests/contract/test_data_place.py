"""One set of checks for every place that holds click logs: a web server, and an object store that speaks S3."""

import time

import httpx
import pytest

from log_server import log_server
from perch.adapters.data.http import WebPlace, _Encrypted
from perch.adapters.data.port import shown
from perch.adapters.data.s3 import ObjectStore
from perch.errors import DataError, PlatformError

CONTENT = bytes(range(256)) * 40_000
SILENCE_S = 1.0


@pytest.fixture
def server():
    with log_server() as running:
        running.files["/logs/day.parquet"] = CONTENT
        yield running


@pytest.fixture(params=["web", "store"])
def place(request, server, monkeypatch):
    """A place, and the address of a path on it."""
    if request.param == "web":
        return WebPlace(SILENCE_S), server.url + "{}?signature=s3cret"
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("perch.adapters.data.s3._TRIES", 1)
    return ObjectStore(SILENCE_S), "s3:/{}"


def read(place, path="/logs/day.parquet"):
    client, address = place
    with client.find(address.format(path)) as remote:
        return remote, b"".join(remote.chunks)


def test_a_file_comes_whole_and_with_its_size(place):
    remote, content = read(place)
    assert content == CONTENT
    assert remote.size_bytes == len(CONTENT)


def test_the_stamp_changes_with_the_file_and_not_without(place, server):
    first, again = read(place)[0], read(place)[0]
    server.files["/logs/day.parquet"] = CONTENT[::-1]
    assert first.stamp == again.stamp != read(place)[0].stamp


def test_a_file_is_found_without_being_read(place, server):
    server.hang_after = 100_000
    client, address = place
    with client.find(address.format("/logs/day.parquet")) as remote:
        assert remote.size_bytes == len(CONTENT)


def test_a_file_that_is_not_there_is_named(place):
    with pytest.raises(DataError, match=r"/logs/night\.parquet (answers 404|is not there)"):
        read(place, "/logs/night.parquet")


def test_a_file_that_may_not_be_read_is_not_worth_another_try(place, server):
    server.status = 403
    with pytest.raises(DataError, match=r"day\.parquet (answers 403|cannot be read .*ACCESS_DENIED).*: check"):
        read(place)


def test_a_server_that_fails_is_worth_another_try(place, server):
    server.status = 503
    with pytest.raises(PlatformError, match=r"day\.parquet .*then try again|day\.parquet answers 503.*: try again"):
        read(place)


@pytest.mark.parametrize("hang_after", [-1, 50_000])
def test_a_server_that_hangs_is_left_in_bounded_time(place, server, hang_after):
    server.hang_after, begin_s = hang_after, time.monotonic()
    with pytest.raises(PlatformError, match=r"day\.parquet.*(hangs|too slow).*then try again"):
        read(place)
    assert time.monotonic() - begin_s < 20


def test_a_file_that_is_cut_off_is_no_shorter_file(place, server):
    server.cut_after = 50_000
    with pytest.raises(PlatformError, match=r"day\.parquet .*try again"):
        read(place)


def test_nobody_there_is_told(place, monkeypatch):
    client, address = place
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    nowhere = address if address.startswith("s3") else "http://127.0.0.1:9{}"
    with pytest.raises(PlatformError, match=r"day\.parquet cannot be fetched .*try again"):
        read((client, nowhere))


def test_no_sentence_has_a_secret_in_it(place, server):
    server.status = 403
    with pytest.raises(DataError) as refused:
        read(place)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("https://me:word@logs.example:8443/a/b.csv?X-Sig=1#x", "https://logs.example:8443/a/b.csv"),
        ("s3://key:word@bucket/a.parquet", "s3://bucket/a.parquet"),
    ],
)
def test_an_address_is_printed_without_what_may_be_secret(url, printed):
    assert shown(url) == printed


def test_name_and_password_of_an_address_are_used(server):
    url = server.url.replace("//", "//me:word@")
    with WebPlace().find(f"{url}/logs/day.parquet"):
        assert server.seen[-1].startswith("Basic ")


def test_redirects_are_followed_on_the_web_only(server):
    server.redirects |= {"/latest": "/logs/day.parquet", "/trap": "file:///etc/passwd", "/circle": "/circle"}
    place = WebPlace(SILENCE_S), server.url + "{}"
    assert read(place, "/latest")[1] == CONTENT
    with pytest.raises(DataError, match="/trap redirects to something else than a web server"):
        read(place, "/trap")
    with pytest.raises(DataError, match="/circle redirects in a circle"):
        read(place, "/circle")


def test_a_redirect_does_not_give_up_encryption():
    follow = _Encrypted("https://logs.example/a?sig=1")
    follow(httpx.Request("GET", "https://elsewhere.example/a"))
    with pytest.raises(DataError, match=r"https://logs\.example/a redirects to http://elsewhere.* not encrypted"):
        follow(httpx.Request("GET", "http://elsewhere.example/a"))


@pytest.mark.parametrize("url", ["s3://key:word@logs/a", "s3://logs", "s3://logs/a?versionId=1"])
def test_an_address_of_no_object_is_refused(url):
    with pytest.raises(DataError, match="is no address of an object: write s3://BUCKET/KEY"), ObjectStore().find(url):
        pass


def test_an_object_that_is_replaced_while_it_is_read_is_no_log(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    server.after_get = lambda: server.files.update({"/logs/day.parquet": CONTENT[::-1]})
    with pytest.raises(PlatformError, match="was replaced while it was fetched"):
        read((ObjectStore(SILENCE_S), "s3:/{}"))
