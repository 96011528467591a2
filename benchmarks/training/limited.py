"""Runs a command in a group of processes that may not take more than so much memory: the kernel kills what would.

By a cgroup of version 2 or 1 made by hand, which takes root; else by systemd's scope of the user.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def run_limited(command: Sequence[str], limit_bytes: int) -> int:
    """Run a command within a limit of memory, page cache included, without swap; returns the most that it took.

    Raises:
        SystemExit: This machine lets nobody limit memory, or the command failed or was killed.
    """
    for version in _VERSIONS:
        if version.usable:
            return _in_group(version, command, limit_bytes)
    if shutil.which("systemd-run"):
        scope = ["systemd-run", "--user", "--scope", "-p", f"MemoryMax={limit_bytes}", "-p", "MemorySwapMax=0"]
        _check(subprocess.run([*scope, *command], check=False).returncode, limit_bytes)
        return limit_bytes
    raise SystemExit("no cgroup can be made here: run this as root, or where systemd-run --user works")


@dataclass(frozen=True, slots=True)
class _Version:
    """Where the memory controller of a version of cgroups is, and what its files are called."""

    root: Path
    limit: str
    peak: str

    @property
    def usable(self) -> bool:
        """Whether groups can be made here, and their memory limited."""
        controllers = self.root / "cgroup.subtree_control"
        limits = not controllers.exists() or "memory" in controllers.read_text().split()
        return limits and (self.root / "cgroup.procs").exists() and os.access(self.root, os.W_OK)


_VERSIONS = (
    _Version(_ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    _Version(_ROOT, "memory.max", "memory.peak"),
)


def _in_group(version: _Version, command: Sequence[str], limit_bytes: int) -> int:
    group = version.root / f"perch-bench-{os.getpid()}"
    group.mkdir()
    try:
        (group / version.limit).write_text(str(limit_bytes))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        joined = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
        _check(subprocess.run(["sh", "-c", joined, "sh", *command], check=False).returncode, limit_bytes)
        return int((group / version.peak).read_text())
    finally:
        group.rmdir()


def _check(code: int, limit_bytes: int) -> None:
    if code:
        killed = ", killed by the kernel" if code in {-9, 137} else ""
        raise SystemExit(f"the training ended with code {code}{killed} under a limit of {limit_bytes / 2**20:.0f} MiB")
