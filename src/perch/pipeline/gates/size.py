"""Is the model small enough to be served? Each pod fetches the package before it starts, and holds it in memory."""

from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.record import Finding

_MB = 1_000_000


class Size:
    """The package, and the serving process where one was started, are within their limits."""

    name: ClassVar[str] = "size"

    def check(self, case: Case) -> Finding:
        """Add the package's files up, and look at what its server held."""
        settings = case.settings.gates
        package_mb = sum(file.stat().st_size for file in case.package.iterdir()) / _MB
        passed = package_mb <= settings.max_package_mb
        sentence = f"the package has {package_mb:.2f} MB; {settings.max_package_mb:g} MB are allowed"
        figures = {"package_mb": package_mb, "allowed_package_mb": settings.max_package_mb}
        if case.proof is not None and case.proof.peak_rss_bytes is not None:
            held_mb = case.proof.peak_rss_bytes / _MB
            passed = passed and held_mb <= settings.max_memory_mb
            sentence += f"; its server held up to {held_mb:.0f} MB; {settings.max_memory_mb:g} MB are allowed"
            figures |= {"memory_mb": held_mb, "allowed_memory_mb": settings.max_memory_mb}
        return Finding.judged(self.name, sentence, passed=passed, figures=figures)
