"""Does a version still get the clicks that it predicts? A test that may be looked at for ever.

**What is compared.** Of the rows that were shown, whose labels are final, the version predicted S clicks and K came.
The ratio c = K / S is not 1 for a good model either: what is shown was chosen because its score is high, and a score is
chosen more often where it is too high. The registered evaluation does not know that bias, for its rows were chosen by
others. So c is compared with what it was when the version was new and chose its rows in the same way. That the version
was no good from the first is for its rollout to find.

**Why this tells of log loss.** A click foretold with q costs -ln q nats, none -ln(1 - q). Of two versions that predict
q and c q, the latter's log loss is lower by S (c ln c - c + 1) in the mean where c is true: the bets below grow by just
this. And a model whose market moves on chooses rows for what is no longer true of them, so its c falls at once.

**The test.** A click X of probability c p has, for every stake l > -1,

    E (1 + l)^X e^(-l c p) = (1 + l c p) e^(-l c p) <= 1,

whatever came before. So the product over requests is a test supermartingale, for l > 0 also under "the ratio is at most
c", for l < 0 under "at least c"; and it needs only the sums K and S. It is used in a Shiryaev-Roberts e-detector, as in
`perch.core.guard`: M <- (dt + M) L, whose mean time to a false alarm is at least the threshold, in seconds. (Shin,
Ramdas and Rinaldo, arXiv 2203.03532.)

**Assumed**: the ratio moves by no more than `tolerated_decay` for reasons that training cannot mend, such as the hour.
The bounds on the ratio when new fail with a probability of 5 %; alarms are more frequent then.
"""

from dataclasses import dataclass, replace
from math import exp, log, sqrt
from typing import Self

from perch.core.recalibration import Change

_PARTS = (0.9, 0.8, 0.67, 0.5, 1.1, 1.25, 1.5, 2.0)
"""Alternatives, as parts of the bound that they lie beyond: fewer clicks, then more."""

_FIRST_REFERENCE = 100.0
_LAST_REFERENCE = 1_600.0
_BATCH = 20.0
_Z = 2.58  # 0.5 % on each side, at most five times
_LARGEST = 1e150
_LARGEST_LOG = 300.0


@dataclass(frozen=True, slots=True)
class Matured:
    """Requests whose labels are final, of rows that one version chose to show. Sums can be added."""

    requests: int = 0
    clicks: int = 0
    expected: float = 0.0
    """Sum of the predicted probabilities."""

    log_loss: float = 0.0
    """Sum of the log losses, in nats."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.requests + other.requests,
            self.clicks + other.clicks,
            self.expected + other.expected,
            self.log_loss + other.log_loss,
        )


@dataclass(frozen=True, slots=True)
class Decay:
    """What is known of one version's clicks for each predicted click."""

    seen: Matured = Matured()
    """Everything since the version was new."""

    bounds: tuple[float, float] | None = None
    """The ratio when the version was new lies between these; `None`: too little has been seen."""

    next_reference: float = _FIRST_REFERENCE
    """Predicted clicks at which the bounds are narrowed next."""

    batch: Matured = Matured()
    batch_s: float = 0.0
    detectors: tuple[float, ...] = (0.0,) * len(_PARTS)

    is_silent: bool = False
    """Not one click came of the last batch: outcomes do not come in, so they tell nothing."""

    recent: float | None = None
    """The ratio of the last batch."""

    @property
    def level(self) -> float:
        """Mean of the detectors, in seconds; the alarm rings at `FreshnessPolicy.decay_quiet_s`."""
        return sum(self.detectors) / len(self.detectors)

    def after(self, matured: Matured, elapsed_s: float, tolerated: float) -> "Decay":
        """What is known after `elapsed_s` seconds more; `tolerated` is `FreshnessPolicy.tolerated_decay`.

        Counts are weighed in batches of 20 predicted clicks. Of so many not to get one is no decay: then clicks are not
        told of, and the batch is left out.
        """
        grown = replace(self, batch=self.batch + matured, batch_s=self.batch_s + elapsed_s)
        if grown.batch.expected < _BATCH:
            return grown
        batch, rested = grown.batch, replace(grown, batch=Matured(), batch_s=0.0)
        if not batch.clicks:
            return replace(rested, is_silent=True)
        return _narrowed(_weighed(rested, batch, grown.batch_s, tolerated))


def change_of(decay: Decay, quiet_s: float) -> Change | None:
    """What has changed in what follows from the scores, where the alarm of `decay_quiet_s` rings."""
    if decay.bounds is None or decay.recent is None or decay.level < quiet_s:
        return None
    low, high = decay.bounds
    got = f"Of late {decay.recent:.2f} clicks came for each that was predicted, and {low:.2f} to {high:.2f}"
    return Change(is_concept=None, sentence=f"{got} when the version was new.")


def _weighed(decay: Decay, batch: Matured, elapsed_s: float, tolerated: float) -> Decay:
    """With the bets on one batch, whose bounds were fixed before."""
    detectors = decay.detectors
    if decay.bounds is not None:
        low, high = decay.bounds[0] / tolerated, decay.bounds[1] * tolerated
        detectors = tuple(
            _grown(level, part, low if part < 1 else high, batch, elapsed_s)
            for level, part in zip(decay.detectors, _PARTS, strict=True)
        )
    ratio = batch.clicks / batch.expected
    return replace(decay, seen=decay.seen + batch, detectors=detectors, is_silent=False, recent=ratio)


def _narrowed(decay: Decay) -> Decay:
    """With bounds that rest on twice as much; those of before still hold, so a ratio that creeps widens nothing."""
    if decay.seen.expected < decay.next_reference or decay.next_reference > _LAST_REFERENCE:
        return decay
    low, high = _ratio_bounds(decay.seen.clicks, decay.seen.expected)
    if decay.bounds is not None:
        low, high = max(low, decay.bounds[0]), min(high, decay.bounds[1])
    return replace(decay, bounds=(min(low, high), high), next_reference=2 * decay.next_reference)


def _grown(level: float, part: float, null: float, batch: Matured, elapsed_s: float) -> float:
    log_l = batch.clicks * log(part) - (part - 1) * null * batch.expected
    return min((elapsed_s + level) * exp(min(log_l, _LARGEST_LOG)), _LARGEST)


def _ratio_bounds(clicks: int, expected: float) -> tuple[float, float]:
    """Bounds on the ratio from counts of a size that was fixed before (Byar's, as in Breslow and Day 1987).

    The tails of a sum of rare clicks are below those of a Poisson variable with its mean (Anderson and Samuels 1967).
    """
    above = clicks + 1
    low = clicks * (1 - 1 / (9 * clicks) - _Z / (3 * sqrt(clicks))) ** 3
    high = above * (1 - 1 / (9 * above) + _Z / (3 * sqrt(above))) ** 3
    return max(low, 0.0) / expected, high / expected
