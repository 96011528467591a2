"""Can the model be made again? One that cannot be is one that nobody can explain."""

from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.record import Finding, NotJudged


class Reproducibility:
    """A second training with the same data and seed, made elsewhere, gives the same package."""

    name: ClassVar[str] = "reproducibility"

    def check(self, case: Case) -> Finding | NotJudged:
        """Compare the two digests."""
        if case.repeated_digest is None:
            return NotJudged(self.name, "there was no second training with the same data and seed")
        passed = case.repeated_digest == case.digest
        outcome = "the same package" if passed else f"another package, {case.repeated_digest[:12]}"
        sentence = f"training again with the same data and seed gives {outcome}: the first is {case.digest[:12]}"
        return Finding.judged(self.name, sentence, passed=passed)
