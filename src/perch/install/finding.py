"""What the doctor says of one thing, and how versions compare."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What is said of one thing."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    told: str
    """The figure, and what its lack costs."""
    mend: str = ""
    """The one command that mends it; empty where there is none."""
    needed: bool = True
    """Whether the next step fails without it."""

    @property
    def stops(self) -> bool:
        """Whether it has to be mended first."""
        return self.needed and self.verdict is not Verdict.OK


def judged(*, good: bool) -> Verdict:
    """The verdict on something that is there."""
    return Verdict.OK if good else Verdict.WRONG


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version: `v1.35.4+k3s1` is (1, 35, 4)."""
    plain = version.removeprefix("v").partition("+")[0].partition("-")[0]
    return tuple(int(part) for part in plain.split(".") if part.isdigit())
