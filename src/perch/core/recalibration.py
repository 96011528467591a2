"""Has what follows from a score changed? Concept drift, told from label shift, and both from inputs that moved.

Of rows that were scored p and clicked, or not, y, logistic recalibration asks for the line a + b logit(p) that the
clicks follow (Cox, *Two further applications of a model for binary regression*, 1958). Where only clicks have become
more or less frequent, at every score alike, `a` has moved: **label shift**. Where the score tells less than it did, `b`
has: **concept drift**. One step of Newton's from a = 0, b = 1 needs a few sums, which add up over rows and windows.

What is shown was chosen for its score, so the line is not a = 0, b = 1 for a good model either: two times are compared.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Final, Self

_MOVED: Final = 18.4  # chi-square with two degrees of freedom exceeds it once in 10,000 times
_SLOPE: Final = 3.0
_SMALLEST: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Sums over rows with a score and a final label."""

    rows: int = 0
    clicks: int = 0
    expected: float = 0.0
    """Of p."""

    slope: float = 0.0
    """Of (y - p) z, where z = logit(p)."""

    weight: float = 0.0
    weight_z: float = 0.0
    weight_zz: float = 0.0
    """Of p (1 - p), times 1, z and z squared."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.rows + other.rows,
            self.clicks + other.clicks,
            self.expected + other.expected,
            self.slope + other.slope,
            self.weight + other.weight,
            self.weight_z + other.weight_z,
            self.weight_zz + other.weight_zz,
        )

    @classmethod
    def of(cls, probability: float, *, clicked: bool) -> Self:
        """The sums of one row."""
        p = min(max(probability, _SMALLEST), 1 - _SMALLEST)
        z, weight = log(p / (1 - p)), p * (1 - p)
        return cls(1, int(clicked), p, (clicked - p) * z, weight, weight * z, weight * z * z)


@dataclass(frozen=True, slots=True)
class Line:
    """The line that clicks follow, as the difference to a = 0, b = 1, with its covariance."""

    shift: float
    stretch: float
    shift_variance: float
    covariance: float
    stretch_variance: float


def line(outcomes: Outcomes) -> Line | None:
    """The line of some rows; `None` where all have one score, or there are none."""
    o = outcomes
    determinant = o.weight * o.weight_zz - o.weight_z**2
    if determinant <= 1e-9 * o.weight * o.weight_zz:
        return None
    level = o.clicks - o.expected
    return Line(
        (o.weight_zz * level - o.weight_z * o.slope) / determinant,
        (o.weight * o.slope - o.weight_z * level) / determinant,
        o.weight_zz / determinant,
        -o.weight_z / determinant,
        o.weight / determinant,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """How what follows from a score has changed."""

    is_concept: bool | None
    """The score tells something else than it did; if not, clicks are more or less frequent at every score alike.
    `None`: too little is known to tell."""

    sentence: str


def change(before: Outcomes, now: Outcomes) -> Change | None:
    """What has changed between two times; `None`: nothing that chance would not do once in 10,000 times."""
    first, second = line(before), line(now)
    if first is None or second is None:
        return None
    shift, stretch = second.shift - first.shift, second.stretch - first.stretch
    aa = first.shift_variance + second.shift_variance
    ab = first.covariance + second.covariance
    bb = first.stretch_variance + second.stretch_variance
    distance = (bb * shift**2 - 2 * ab * shift * stretch + aa * stretch**2) / (aa * bb - ab**2)
    if distance < _MOVED:
        return None
    was, got = before.clicks / before.expected, now.clicks / now.expected
    numbers = f"{got:.2f} clicks came for each that was predicted, and {was:.2f} when it was new"
    if abs(stretch) < _SLOPE * sqrt(bb):
        return Change(
            is_concept=False,
            sentence=f"Clicks have become {'more' if got > was else 'less'} frequent at every score alike: {numbers}.",
        )
    steeper = "more" if stretch > 0 else "less"
    slopes = f"the clicks' log-odds rise by {1 + second.stretch:.2f} for each of the score's, and by"
    return Change(
        is_concept=True,
        sentence=f"Scores tell {steeper} of clicks than they did: {slopes} {1 + first.stretch:.2f} then; {numbers}.",
    )
