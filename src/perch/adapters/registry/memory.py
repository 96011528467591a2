"""A model registry in the memory of one process: the twin of MLflow for tests and trials."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from perch.adapters.registry.port import MOST_REPORTS, ModelVersion, Role, UnknownVersionError
from perch.workload.package import check_package, ensure_package, package_digest


@dataclass(frozen=True, slots=True)
class _Entry:
    version: ModelVersion
    files: dict[str, bytes]


@dataclass(slots=True)
class MemoryRegistry:
    """Holds packages as bytes. See `ModelRegistry` for what its methods promise."""

    _entries: dict[str, list[_Entry]] = field(default_factory=dict)
    _roles: dict[tuple[str, Role], int] = field(default_factory=dict)
    reports: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)

    def register(
        self, model: str, package: Path, *, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """Store the package's bytes as the next version."""
        manifest, digest = check_package(package), package_digest(package)
        files = {path.name: path.read_bytes() for path in package.iterdir()}
        entries = self._entries.setdefault(model, [])
        version = ModelVersion(
            model, len(entries) + 1, digest, manifest.kind, manifest.score_histogram, dict(metrics), dict(tags)
        )
        entries.append(_Entry(version, files))
        return version

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        return [self._with_roles(entry.version) for entry in self._entries.get(model, [])]

    def get(self, model: str, version: int) -> ModelVersion:
        """One version."""
        return self._with_roles(self._entry(model, version).version)

    def holder(self, model: str, role: Role) -> ModelVersion | None:
        """The version that holds a role now."""
        number = self._roles.get((model, role))
        return None if number is None else self.get(model, number)

    def assign(self, model: str, role: Role, version: int) -> None:
        """Give a role to a version."""
        self._entry(model, version)
        self._roles[model, role] = version

    def withdraw(self, model: str, role: Role) -> None:
        """Take a role from the version that holds it."""
        self._roles.pop((model, role), None)

    def quarantine(self, model: str, version: int, reason: str | None) -> None:
        """Remember why a version must not be offered again."""
        entry = self._entry(model, version)
        self._entries[model][version - 1] = replace(entry, version=replace(entry.version, quarantine=reason))

    def note(self, model: str, version: int, name: str, value: str) -> None:
        """Write down a further fact of a version."""
        entry = self._entry(model, version)
        told = replace(entry.version, tags={**entry.version.tags, name: value})
        self._entries[model][version - 1] = replace(entry, version=told)

    @property
    def address(self) -> None:
        """No other process reaches it."""
        return

    def keep_report(self, model: str, version: int, name: str, text: str) -> None:
        """Keep a report about a version."""
        self._entry(model, version)
        kept = self.reports.setdefault((model, version), {})
        kept[name] = text
        alike = [one for one in kept if one.startswith(f"{name.partition('-')[0]}-")]
        for old in sorted(alike)[:-MOST_REPORTS]:
            del kept[old]

    def fetch(self, model: str, version: int, into: Path) -> Path:
        """Write a version's package below `into`, digest checked."""
        entry = self._entry(model, version)

        def fill(draft: Path) -> None:
            for name, content in entry.files.items():
                (draft / name).write_bytes(content)

        return ensure_package(into / f"{model}-v{version}", entry.version.digest, fill)

    def _entry(self, model: str, version: int) -> _Entry:
        entries = self._entries.get(model, [])
        if not 1 <= version <= len(entries):
            raise UnknownVersionError(f"{model} has no version {version}: `perch models` lists those there are")
        return entries[version - 1]

    def _with_roles(self, version: ModelVersion) -> ModelVersion:
        held = (role for role in Role if self._roles.get((version.model, role)) == version.version)
        return replace(version, roles=frozenset(held))
