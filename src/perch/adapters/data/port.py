"""What Perch asks of a place that holds a click log."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

SILENCE_S = 30.0
"""A place that sends nothing for so long, in seconds, hangs."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at another place, found and not yet read."""

    size_bytes: int | None
    """`None`: the place does not say."""

    stamp: str | None
    """Another one whenever the file is another; `None`: the place does not say."""

    chunks: Iterator[bytes]
    """The file, once. Raises as `Place.find` does, also when the file is cut off."""


class Place(Protocol):
    """Holds files by URL."""

    def find(self, url: str) -> AbstractContextManager[Remote]:
        """Find a file without reading it.

        Raises:
            DataError: There is no such file, or it may not be read: asking again is no use.
            PlatformError: The place does not answer, or hangs: asking again may be.
        """
        ...


def shown(url: str) -> str:
    """A URL as one may print it: without a user's name and password, and without a query, which may be a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
