"""What the source tree says a cluster is made of: pins, charts and their settings."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml

from perch.errors import PlatformError


@dataclass(frozen=True)
class Release:
    """One chart as it is installed; the fields are helm's words."""

    name: str
    chart: str
    """Name in the repository, or the folder of a chart in the checkout."""
    version: str
    namespace: str
    repository: str = ""
    """URL, or `oci://` reference without the chart's name; empty for a folder."""
    values: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """How `helm list` names the chart: `cert-manager-v1.17.0`."""
        return f"{Path(self.chart).name}-{self.version}"

    def command(self, context: str) -> str:
        """What a person types to install it in the cluster of this kube context."""
        return shlex.join(("helm", "--kube-context", context, *self.upgrade))

    @property
    def upgrade(self) -> tuple[str, ...]:
        """Helm's words that install the chart, or change it to this."""
        values = (word for file in self.values for word in ("--values", str(file)))
        where = ("--namespace", self.namespace, "--create-namespace", "--wait", "--timeout", "5m")
        return ("upgrade", "--install", self.name, *self.source, *where, *values)

    @property
    def source(self) -> tuple[str, ...]:
        """The words that tell helm which chart."""
        if not self.repository:
            return (self.chart,)
        if self.repository.startswith("oci://"):
            return (f"{self.repository}/{self.chart}", "--version", self.version)
        return (self.chart, "--repo", self.repository, "--version", self.version)


@dataclass(frozen=True)
class Checkout:
    """A source tree of Perch."""

    root: Path

    @classmethod
    def find(cls) -> Self:
        """The source tree that this code runs from; raises `PlatformError` when it was installed without one."""
        root = Path(__file__).parents[3]
        if not (root / "versions.env").is_file():
            raise PlatformError(
                "Making and checking clusters needs Perch's source tree, with its versions.env and deploy/, and this "
                "Perch was installed without it. Clone the repository and run `make cluster-up` there."
            )
        return cls(root)

    @cached_property
    def pins(self) -> dict[str, str]:
        """Every version by its name, as in `versions.env`."""
        lines = (self.root / "versions.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    @cached_property
    def kind(self) -> dict[str, Any]:
        """The cluster as kind reads it."""
        read: dict[str, Any] = yaml.safe_load(self.kind_file.read_text(encoding="utf-8"))
        return read

    @property
    def kind_file(self) -> Path:
        """Where kind's description stands."""
        return self.root / "deploy" / "kind.yaml"

    @property
    def node_image(self) -> str:
        """The image that a kind node runs, by digest."""
        return f"kindest/node:v{self.pins['KIND_NODE_VERSION']}@{self.pins['KIND_NODE_DIGEST']}"

    @property
    def host_ports(self) -> tuple[int, ...]:
        """Ports of this machine that a kind cluster takes."""
        return tuple(port["hostPort"] for node in self.kind["nodes"] for port in node["extraPortMappings"])

    @property
    def images(self) -> tuple[str, ...]:
        """Perch's images as `make images` tags them."""
        version = self._chart(self.perch_chart)["appVersion"]
        return tuple(f"perch-{folder.name}:{version}" for folder in sorted((self.root / "images").iterdir()))

    @property
    def perch_chart(self) -> Path:
        """Perch's own chart."""
        return self.root / "charts" / "perch"

    def releases(self, flavour: str) -> dict[str, Release]:
        """The charts below Perch, in the order in which they are installed.

        Args:
            flavour: Who made the cluster, such as `kind`: `values/NAME-FLAVOUR.yaml` adds to `values/NAME.yaml`.
        """
        listed = yaml.safe_load((self.root / "deploy" / "releases.yaml").read_text(encoding="utf-8"))
        return {name: self._release(name, facts, flavour) for name, facts in listed.items()}

    def _release(self, name: str, facts: dict[str, str], flavour: str) -> Release:
        files = (self.root / "deploy" / "values" / f"{file}.yaml" for file in (name, f"{name}-{flavour}"))
        values = tuple(file for file in files if file.is_file())
        if "repository" not in facts:
            chart = self.root / facts["chart"]
            return Release(name, str(chart), self._chart(chart)["version"], facts["namespace"], values=values)
        version = facts["prefix"] + self.pins[facts["pin"]]
        return Release(name, facts["chart"], version, facts["namespace"], facts["repository"], values)

    @staticmethod
    def _chart(folder: Path) -> dict[str, str]:
        read: dict[str, str] = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))
        return read
