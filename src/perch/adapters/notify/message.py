"""What a webhook is sent: a sentence, in the form that Slack and its like take, or with facts and a signature.

Without a key the body is `{"text": ...}`. With one it says more, and is signed as others sign theirs: the header
`x-perch-signature` is `sha256=` and, as hexadecimal digits, the HMAC-SHA256 (RFC 2104) of the time in
`x-perch-timestamp`, a full stop, and the body. Who receives it should refuse what is older than some minutes: a
signature does not age.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

URL: Final = "PERCH_NOTIFY_URL"
"""Variable with the webhook's address; nobody is told without it."""

KEY: Final = "PERCH_NOTIFY_KEY"
"""Variable with the key of signatures."""

SIGNATURE: Final = "x-perch-signature"
TIMESTAMP: Final = "x-perch-timestamp"


@dataclass(frozen=True, slots=True)
class Address:
    """Where people are told. Who knows it may post there, so it is in no sentence of ours."""

    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> Self | None:
        """The one that the variables `URL` and `KEY` name; `None` where they name none."""
        url = os.environ.get(URL)
        return cls(url, os.environ.get(KEY) or None) if url else None


def message(address: Address, sentence: str, about: Mapping[str, str], now_s: float) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a notification.

    Args:
        address: Where it goes.
        sentence: What is told.
        about: Facts beside it, such as `service` and `namespace`; left out where nobody signs.
        now_s: Seconds since the epoch.
    """
    headers = {"content-type": "application/json"}
    if address.key is None:
        return json.dumps({"text": sentence}).encode(), headers
    body = json.dumps({"text": sentence, **about, "time_s": round(now_s, 3)}).encode()
    timestamp = f"{now_s:.0f}"
    signed = hmac.new(address.key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return body, headers | {TIMESTAMP: timestamp, SIGNATURE: f"sha256={signed}"}
