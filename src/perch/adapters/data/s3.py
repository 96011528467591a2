"""Click logs in an object store that speaks S3.

The environment says which one, and with what right, by the names that AWS's own tools read: `AWS_ENDPOINT_URL`,
`AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, or what a pod's identity gives.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from perch.adapters.data.port import SILENCE_S, Remote, shown
from perch.errors import DataError, PlatformError

_CONNECT_S = 10.0
_TRIES = 2
_CHUNK_BYTES = 4 * 2**20
_REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "NO_SUCH_BUCKET", "NO_SUCH_KEY")
"""What the store means, as Arrow names AWS's errors; it has no class for each."""


class ObjectStore:
    """Implements `Place` for `s3://BUCKET/KEY`."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        """A store that sends nothing for `silence_s` seconds hangs; it is asked twice."""
        self._silence_s = silence_s

    @contextmanager
    def find(self, url: str) -> Iterator[Remote]:
        """See `Place.find`."""
        with _told(url):
            store, path = self._store(), _path(url)
            found = store.get_file_info(path)
            if found.type != fs.FileType.File:
                what = "a folder" if found.type == fs.FileType.Directory else "not there"
                raise DataError(f"{shown(url)} is {what}: name one object, as s3://BUCKET/KEY")
            stream = store.open_input_stream(path)
        with stream:
            stamp = _stamp(stream)
            yield Remote(found.size, stamp, _chunks(store, url, stream, stamp))

    def _store(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            endpoint_override=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
            connect_timeout=min(_CONNECT_S, self._silence_s),
            request_timeout=self._silence_s,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        )


def _path(url: str) -> str:
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or not parts.path.strip("/"):
        raise DataError(f"{shown(url)} is no address of an object: write s3://BUCKET/KEY, and nothing secret in it")
    return parts.netloc + unquote(parts.path)


def _chunks(store: fs.S3FileSystem, url: str, stream: pa.NativeFile, stamp: str | None) -> Iterator[bytes]:
    """The object. Each chunk is a request of its own, so it might be replaced between two of them."""
    with _told(url):
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
        with store.open_input_stream(_path(url)) as again:
            if _stamp(again) != stamp:
                raise PlatformError(f"{shown(url)} was replaced while it was fetched: try again")


def _stamp(stream: pa.NativeFile) -> str | None:
    metadata = stream.metadata()
    stamp = metadata.get("ETag") or metadata.get("Last-Modified")
    return stamp.decode() if stamp is not None else None


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Say in a sentence what goes wrong, until the object has been read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        cause = str(error).rpartition("AWS Error ")[2]
        if isinstance(error, (FileNotFoundError, PermissionError)) or any(word in cause for word in _REFUSED):
            raise DataError(
                f"{shown(url)} cannot be read ({cause}): check bucket, key and credentials (AWS_ACCESS_KEY_ID)"
            ) from error
        raise PlatformError(
            f"{shown(url)} cannot be fetched ({cause}): check AWS_ENDPOINT_URL, then try again"
        ) from error
