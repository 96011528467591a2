"""docker, kind, kubectl and helm, run as a person would run them; each cluster by the name of its context."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from perch.errors import PlatformError

NOT_FOUND: Final = 127
"""Exit code of a command that is not there, as the shell has it."""

_TIMED_OUT: Final = 124


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The last line of what it complained of."""
        return (self.err.strip() or self.out.strip() or f"exit code {self.code}").splitlines()[-1]


def run(*words: str, text: str | None = None, timeout_s: float = 60.0) -> Finished:
    """Run a command to its end; one that is missing or takes too long has an exit code, too.

    Args:
        *words: The command and its arguments; no shell reads them.
        text: What it reads from its standard input.
        timeout_s: Seconds after which it is killed.
    """
    if shutil.which(words[0]) is None:
        return Finished(NOT_FOUND, "", f"{words[0]} is not on the PATH")
    try:
        done = subprocess.run(
            words, input=text or "", capture_output=True, text=True, timeout=timeout_s, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return Finished(_TIMED_OUT, "", f"{words[0]} did not answer within {timeout_s:g} s")
    return Finished(done.returncode, done.stdout, done.stderr)


def must(*words: str, text: str | None = None, timeout_s: float = 60.0) -> str:
    """Run a command and give what it printed; raises `PlatformError` with its complaint when it fails."""
    done = run(*words, text=text, timeout_s=timeout_s)
    if not done.ok:
        raise PlatformError(f"`{' '.join(words[:6])}` failed: {done.complaint}. `make doctor` looks for the cause.")
    return done.out


@dataclass(frozen=True)
class Cluster:
    """A cluster, by its kube context; no command ever goes to the context that happens to be the current one."""

    context: str

    def kubectl(self, *words: str, text: str | None = None, timeout_s: float = 60.0) -> Finished:
        """Run kubectl on this cluster."""
        return run("kubectl", "--context", self.context, *words, text=text, timeout_s=timeout_s)

    def must_kubectl(self, *words: str, text: str | None = None, timeout_s: float = 60.0) -> str:
        """Run kubectl on this cluster; raises `PlatformError` when it fails."""
        return must("kubectl", "--context", self.context, *words, text=text, timeout_s=timeout_s)

    def must_helm(self, *words: str, timeout_s: float = 360.0) -> str:
        """Run helm on this cluster; raises `PlatformError` when it fails."""
        return must("helm", "--kube-context", self.context, *words, timeout_s=timeout_s)

    def get(self, *words: str) -> dict[str, Any]:
        """What `kubectl get` tells, as an object; empty when there is no such thing."""
        done = self.kubectl("get", *words, "--ignore-not-found", "-o", "json", timeout_s=20.0)
        found: dict[str, Any] = json.loads(done.out) if done.ok and done.out.strip() else {}
        return found

    def items(self, *words: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get` lists; none when their kind is unknown."""
        found: list[dict[str, Any]] = self.get(*words).get("items", [])
        return found

    def refuses(self, manifest: Mapping[str, Any]) -> str:
        """Why the API server, with all its webhooks, would not create this object; empty when it would."""
        done = self.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(manifest), timeout_s=30.0)
        return "" if done.ok else done.complaint


def current_context() -> str:
    """Name of the kube context that commands would go to by themselves; empty when there is none."""
    return run("kubectl", "config", "current-context").out.strip()


def server_of(context: str) -> str:
    """Address of the API server that a kube context leads to; empty when there is no such context."""
    path = "jsonpath={.clusters[0].cluster.server}"
    done = run("kubectl", "config", "view", "--minify", "--context", context, "-o", path)
    return done.out.strip() if done.ok else ""
