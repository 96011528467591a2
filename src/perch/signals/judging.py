"""What an external judge compares: windows of first rows, as many of the canary's as of the champion's.

It judges what the two are **given**, not what they answer: a new model is meant to answer otherwise, but what it is
asked is a draw from the same requests. Of each request the first row is compared, for which row is shown is the model's
choice.

**Alike in time.** The canary's share grows over a rollout, and inputs follow the time of day. Were the rows of minutes
pooled, the canary's would be later ones, and differ where nothing is wrong. So a window is made of stretches of a few
seconds, and of each it has equally many rows of both arms. Within a stretch the split says nothing of the rows, so what
is the canary's is as good as drawn by lot.

**Closed by counts.** A window ends with the stretch in which it has enough rows. That depends on how many there are and
on nothing that they say; and windows follow each other, so no row counts twice. A row that arrives when its window is
closed is left out.

**In the shadow stage** the same requests are sampled of both, so the rows are equal and p is 1, unless something on the
way to the canary is broken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Final, NamedTuple
from zlib import crc32

import msgspec

from perch.signals.events import Row, TimeS

STRETCH_S: Final = 5.0
"""In a time this short inputs hardly change."""

LAG_S: Final = 3.0
"""How long events may be on their way, in seconds."""

ROWS: Final = 200
"""Of each arm in a window: a column that is scaled, lost or renamed is certain by then."""

FEWEST_ROWS: Final = 50
LONGEST_S: Final = 300.0
"""After this time fewer rows make a window, too."""

LOOK_BACK_S: Final = 900.0
"""Rows that wait longer for as many of the other arm are left out."""

_MOST_IN_STRETCH: Final = 1_000

_Version = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Window(msgspec.Struct, frozen=True):
    """What the judge is to compare: equally many rows of both, from requests of the same time."""

    stable: _Version
    """The champion's version."""

    canary: _Version
    from_s: TimeS
    until_s: TimeS
    """From and until when, in seconds since the epoch; the latter is not part of it."""

    stable_rows: list[Row]
    canary_rows: list[Row]


class Judged(msgspec.Struct, frozen=True):
    """What the judge says of a window."""

    stable: _Version
    canary: _Version
    from_s: TimeS
    until_s: TimeS
    p_value: Annotated[float, msgspec.Meta(ge=0, le=1)]
    finding: Annotated[str, msgspec.Meta(max_length=500)] = ""
    """What differs most, in words that end a sentence."""


class Sample(NamedTuple):
    """A request whose first row is known."""

    time_s: float
    is_canary: bool
    request_id: str
    shadow: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The requests of a window that is closed."""

    until_s: float
    stable: tuple[Sample, ...]
    canary: tuple[Sample, ...]


def close(samples: Iterable[Sample], from_s: float, now_s: float) -> Chosen | None:
    """The first window of what is there; `None` while none is complete.

    Args:
        samples: In the order of time, none before `from_s`.
        from_s: Where the last window ended, in seconds since the epoch.
        now_s: By the clock.
    """
    stable, canary = list[Sample](), list[Sample]()
    for number, stretch in groupby(samples, key=lambda sample: sample.time_s // STRETCH_S):
        until_s = (number + 1) * STRETCH_S
        if until_s > now_s - LAG_S:
            break
        more = _equally_many(list(stretch))
        stable += more[0]
        canary += more[1]
        if len(canary) >= (ROWS if until_s - from_s < LONGEST_S else FEWEST_ROWS):
            return Chosen(until_s, tuple(stable), tuple(canary))
    return None


def _equally_many(stretch: Sequence[Sample]) -> list[list[Sample]]:
    """Those of either arm whose ids come first by a hash: as good as drawn by lot, and the same ones of copies."""
    arms = [[sample for sample in stretch if sample.is_canary is is_canary] for is_canary in (False, True)]
    fewest = min(*map(len, arms), _MOST_IN_STRETCH)
    return [sorted(arm, key=lambda sample: crc32(sample.request_id.encode()))[:fewest] for arm in arms]
