"""Speaks to a cluster as a person does: through `kubectl`, which knows every way to log in.

The context is always named. What happens to be the current one decides nothing, so that nothing is ever written to a
cluster that was not meant.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from tempfile import TemporaryFile
from typing import IO, Any, Final

from perch.errors import PlatformError

Manifest = dict[str, Any]

_REQUEST_TIMEOUT_S: Final = 20
_FORWARD_TIMEOUT_S: Final = 30.0
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class MissingError(PlatformError):
    """There is no such object."""


class Kubectl:
    """The API server of one context, as its user may use it. Every method raises `PlatformError` in one sentence."""

    def __init__(self, context: str, namespace: str | None = None) -> None:
        """Name a cluster; nothing is asked of it yet.

        Args:
            context: Name of a context of the kubeconfig.
            namespace: Where to look and write; `None`: the context's own.
        """
        self.context = context
        self.where = f" --context {context}"
        """What `kubectl` must be told to mean the same cluster."""
        self._namespace = namespace

    @cached_property
    def namespace(self) -> str:
        """Where it looks and writes."""
        if self._namespace is not None:
            return self._namespace
        told = self._call("config", "view", "--minify", "--output", "jsonpath={.contexts[0].context.namespace}")
        return told.decode() or "default"

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Manifest:
        """One object; raises `MissingError` when there is none."""
        return _object(self._ask("get", kind, name, "--output", "json", namespace=namespace))

    def find(self, kind: str, labels: Mapping[str, str], *, everywhere: bool = False) -> list[Manifest]:
        """The objects that carry all `labels`: of the namespace, or `everywhere`."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        where = ("--all-namespaces",) if everywhere else ("--namespace", self.namespace)
        told = self._call("get", kind, "--selector", selector, "--output", "json", *where, *_BOUNDED)
        items: list[Manifest] = _object(told)["items"]
        return items

    def patch(self, kind: str, name: str, patch: Manifest) -> Manifest:
        """Merge `patch` into an object; returns what it is then."""
        return _object(
            self._ask("patch", kind, name, "--type", "merge", "--patch", json.dumps(patch), "--output", "json")
        )

    def create(self, manifest: Manifest) -> Manifest:
        """Make an object; returns what it is then, with the name that it was given."""
        return _object(self._ask("create", "-f", "-", "--output", "json", told=json.dumps(manifest).encode()))

    def apply(self, manifest: Manifest) -> Manifest:
        """Make an object, or bring it to what `manifest` says; returns what it is then."""
        words = ("apply", "--server-side", "--field-manager", "perch", "-f", "-", "--output", "json")
        return _object(self._ask(*words, told=json.dumps(manifest).encode()))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, if it is there."""
        self._ask("delete", kind, name, "--ignore-not-found")

    def execute(self, pod: str, *command: str, namespace: str) -> bytes:
        """Run a command in a pod; returns what it wrote."""
        return self._call("exec", pod, "--namespace", namespace, "--", *command)

    @contextmanager
    def forward(self, target: str, port: int, *, namespace: str) -> Iterator[str]:
        """Lead a free port of this machine to `target`, such as `svc/mlflow` or `pod/ads-1`; yields its URL."""
        words = ("port-forward", target, f":{port}", "--address", "127.0.0.1", "--namespace", namespace)
        with TemporaryFile() as said, TemporaryFile() as complained:
            process = self._start(words, said, complained)
            try:
                near = _forwarded_port(process, said)
                if near is None:
                    raise self._trouble(_read(complained) or "the port was not forwarded in time", words)
                yield f"http://127.0.0.1:{near}"
            finally:
                process.terminate()
                process.wait()

    def _start(self, words: tuple[str, ...], said: IO[bytes], complained: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command(words), stdin=subprocess.DEVNULL, stdout=said, stderr=complained, start_new_session=True
            )
        except FileNotFoundError:
            raise _not_installed() from None

    def _ask(self, *words: str, namespace: str | None = None, told: bytes = b"") -> bytes:
        return self._call(*words, "--namespace", namespace or self.namespace, *_BOUNDED, told=told)

    def _call(self, *words: str, told: bytes = b"") -> bytes:
        try:
            done = subprocess.run(self._command(words), input=told, capture_output=True, check=False)
        except FileNotFoundError:
            raise _not_installed() from None
        if done.returncode:
            raise self._trouble(done.stderr.decode(errors="replace"), words)
        return done.stdout

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return ["kubectl", "--context", self.context, *words]

    def _trouble(self, complaint: str, words: tuple[str, ...]) -> PlatformError:
        """What kubectl complains of when it is told `words`, with what to do about it."""
        namespace = words[words.index("--namespace") + 1] if "--namespace" in words else "all namespaces"
        for pattern, sentence in _TROUBLES.items():
            if found := re.search(pattern, complaint):
                kind = MissingError if pattern == _NOT_FOUND else PlatformError
                return kind(sentence.format(*found.groups(), context=self.context, namespace=namespace))
        lines = [line for line in complaint.splitlines() if line.strip()]
        return PlatformError(f"kubectl failed on context {self.context}: {lines[-1] if lines else 'it said nothing'}")


_BOUNDED: Final = ("--request-timeout", f"{_REQUEST_TIMEOUT_S}s")

_NOT_FOUND: Final = r"\(NotFound\): (\S+) \"(\S+)\" not found"
_TROUBLES: Final = {
    r"^(.+)\n(?:.*\n)*command terminated with exit code": "A command in a pod of context {context} failed: {0}. Is the"
    " pod of this version of Perch?",
    "context was not found|cannot locate context|context .* does not exist": "The kubeconfig has no context {context}."
    " `kubectl config get-contexts` lists those it has.",
    r"server doesn't have a resource type \"modelservice": "The cluster of context {context} knows no ModelServices."
    " Install Perch there, with the chart charts/perch.",
    r"server doesn't have a resource type \"(\S+)\"": "The cluster of context {context} knows no {0}. Install what"
    " brings them; versions.env says which versions.",
    _NOT_FOUND: "There is no {0} {1} in namespace {namespace} of context"
    " {context}. `kubectl --context {context} get {0} --all-namespaces` lists those there are.",
    r"\(Forbidden\): (.*)": "The user of context {context} may not do that: {0}. Ask whoever runs the cluster.",
    "Unauthorized|must be logged in|getting credentials": "The cluster of context {context} does not know you. Log in,"
    " until `kubectl --context {context} auth whoami` answers.",
    r"(connection refused|no such host|i/o timeout|Client\.Timeout exceeded|Unable to connect.*)": "The API server of"
    " context {context} does not answer: {0}. Try again when `kubectl --context {context} version` does.",
}
"""What kubectl complains of, and what is said instead; the first that fits."""


def _not_installed() -> PlatformError:
    return PlatformError("kubectl is not on the PATH, and a cluster is reached through it. Install it, then try again.")


def _object(told: bytes) -> Manifest:
    content: Manifest = json.loads(told)
    return content


def _forwarded_port(process: subprocess.Popen[bytes], said: IO[bytes]) -> int | None:
    """The port of this machine, once `process` says it; `None` when it ends, or says nothing in time."""
    deadline = time.monotonic() + _FORWARD_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _FORWARDING.search(_read(said)):
            return int(found[1])
        time.sleep(0.05)
    return None


def _read(file: IO[bytes]) -> str:
    """The begin of a file that a process writes through the same descriptor: its position is not ours to move."""
    return os.pread(file.fileno(), 1 << 16, 0).decode(errors="replace")
