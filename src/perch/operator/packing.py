"""What is remembered, as text in the status of an object: small, and of no interest to people."""

import base64
import zlib
from typing import TypeVar

from perch.core.codec import dumps, loads
from perch.errors import RolloutError

T = TypeVar("T")


def packed(remembered: object) -> str:
    """A value of the core as text; raises `ValueError` on NaN and infinity."""
    return base64.b64encode(zlib.compress(dumps(remembered).encode())).decode()


def unpacked(kind: type[T], text: str, field: str, *, tells: str, remedy: str) -> T:
    """The inverse of `packed`.

    Args:
        kind: Type of what was packed.
        text: What `packed` made of it.
        field: Where the text stands in the status.
        tells: What the field tells, as in "where the service stands".
        remedy: What becomes of a service whose field was cleared: a sentence.

    Raises:
        RolloutError: the text is something else.
    """
    try:
        return loads(kind, zlib.decompress(base64.b64decode(text, validate=True)).decode())
    except (ValueError, zlib.error, RolloutError) as error:
        raise RolloutError(f"status.{field} does not say {tells}: {error}. Clear it, and {remedy}") from None
