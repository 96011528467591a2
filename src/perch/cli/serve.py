"""`perch serve`: one version in the foreground."""

import os
import sys
from pathlib import Path

from perch.adapters.registry.port import Role
from perch.cli.options import console
from perch.errors import RegistryError
from perch.local.processes import check_port_free
from perch.local.store import open_registry
from perch.settings import ModelService


def serve_version(service: ModelService, folder: Path, version: int | None, port: int) -> None:
    """Become the server of a version, of the champion without one; never returns.

    Raises:
        RegistryError: there is no such version, or no champion.
        PlatformError: the port is taken.
    """
    check_port_free(port, "the server", "--port")
    registry, model = open_registry(folder), service.spec.model
    wanted = registry.holder(model, Role.CHAMPION) if version is None else registry.get(model, version)
    if wanted is None:
        raise RegistryError(f"No version of {model} is the champion. Train one with `perch train`.")
    package = registry.fetch(model, wanted.version, folder / "models")
    command = [
        *(sys.executable, "-m", "perch.serving", "--package", str(package), "--digest", wanted.digest),
        *("--model", model, "--version", str(wanted.version), "--port", str(port)),
        *("--slo-latency-ms", str(service.spec.slo.latency_p99_ms)),
    ]
    console.print(f"Version {wanted.version} of {model} will answer at http://127.0.0.1:{port} in a few seconds.")
    os.execv(sys.executable, command)  # noqa: S606  the server takes this process's place, and its signals
