"""Where a click log is: a path, or an address from which it is fetched into a scratch file first.

A reader needs a whole file, and one that breaks off halfway must not look like a shorter log.
"""

import hashlib
import json
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from perch.adapters.data.port import Place, Remote, shown
from perch.errors import DataError, PlatformError

Told = Callable[[str], None]
"""Told in a few words how far it is."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PATIENCE_S = 60.0
_SLOWEST_BYTES_PER_S = 10_000
"""A place that is slower than this after the first minute hangs, too, though it is never silent."""

_TELL_BYTES = 50 * 10**6


@dataclass(frozen=True, slots=True)
class Source:
    """Where a click log is, and how it is laid out."""

    location: str | Path
    """A path, or an address that begins with `http://`, `https://` or `s3://`."""

    format: str
    """Name of its layout, one of `perch.workload.data.FORMATS`."""

    def __str__(self) -> str:
        """The location, without what may be secret in it."""
        return (
            shown(self.location)
            if isinstance(self.location, str) and _is_address(self.location)
            else str(self.location)
        )


def source_key(source: Source) -> str:
    """A key of the log as it is now, in hex: the same as long as nobody has written to it. The log is not read.

    Where a place does not say whether its file has changed, no two keys are the same.

    Raises:
        DataError: There is no such log.
        PlatformError: The place does not answer.
    """
    return hashlib.sha256(
        json.dumps([str(source.location), source.format, *_state(source.location)]).encode()
    ).hexdigest()


@contextmanager
def fetched(source: Source, scratch: Path, told: Told | None = None) -> Iterator[Path]:
    """The log as a file or folder of this machine. What was fetched for it is removed at the end.

    Args:
        source: Where the log is.
        scratch: Folder in which there is room for the log.
        told: Told how much has come.

    Raises:
        DataError: There is no such log, or nothing in it.
        PlatformError: The place does not answer, hangs or breaks off.
        OSError: `scratch` cannot be written.
    """
    if isinstance(source.location, Path) or not _is_address(source.location):
        yield Path(source.location)
        return
    place = _place(source.location)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=scratch, ignore_cleanup_errors=True) as folder:
        path = Path(folder) / _file_name(source.location)
        with place.find(source.location) as remote:
            _save(remote, path, str(source), told)
        yield path


def _is_address(location: str) -> bool:
    return _ADDRESS.match(location) is not None


def _place(url: str) -> Place:
    """Who holds a file. The clients are imported where they are needed: most logs are files."""
    scheme, host = _scheme_and_host(url)
    if scheme in {"http", "https"} and host:
        from perch.adapters.data.http import WebPlace

        return WebPlace()
    if scheme == "s3":
        from perch.adapters.data.s3 import ObjectStore

        return ObjectStore()
    raise DataError(
        f"{shown(url)} is nothing to fetch a log from: name a path, or http://, https:// or s3://BUCKET/KEY"
    )


def _scheme_and_host(url: str) -> tuple[str, str | None]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", None
    return parts.scheme, parts.hostname


def _file_name(url: str) -> str:
    """The last part of an address: some layouts tell by the name of the file what is in it."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-100:] or "log"


def _save(remote: Remote, path: Path, what: str, told: Told | None) -> None:
    done, told_at, begin_s = 0, 0, time.monotonic()
    with path.open("wb") as file:
        for chunk in remote.chunks:
            file.write(chunk)
            done += len(chunk)
            _check_pace(done, time.monotonic() - begin_s, what)
            if told is not None and done - told_at >= _TELL_BYTES:
                told_at = done
                told(f"fetched {_of(done, remote.size_bytes)} from {what}")
    if not done:
        raise DataError(f"{what} is empty: name a log with at least one day of impressions")
    if remote.size_bytes not in {None, done}:
        raise PlatformError(f"{what} was cut off after {_of(done, remote.size_bytes)}: try again")
    if told is not None:
        told(f"fetched {_of(done, None)} from {what}")


def _check_pace(done: int, seconds: float, what: str) -> None:
    if seconds > _PATIENCE_S and done < seconds * _SLOWEST_BYTES_PER_S:
        raise PlatformError(
            f"{what} hangs: {done:,} bytes came in {seconds:.0f} s. See what keeps the server, then try again"
        )


def _of(done: int, size: int | None) -> str:
    return f"{done / 1e6:,.1f} MB" if size is None else f"{done / 1e6:,.1f} of {size / 1e6:,.1f} MB"


def _state(location: str | Path) -> list[object]:
    """What changes when the log does."""
    if isinstance(location, str) and _is_address(location):
        with _place(location).find(location) as remote:
            return [remote.size_bytes, remote.stamp or secrets.token_hex()]
    path = Path(location)
    if not path.exists():
        raise DataError(f"{path} does not exist: name a click log that does (--data, or spec.training.data)")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[file.name, status.st_size, status.st_mtime_ns] for file in files for status in [file.stat()]]
