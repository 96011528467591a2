"""Step 7: put a packaged model into the registry, with the figures and versions that explain it."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path

from pydantic import TypeAdapter

from perch.adapters.registry.port import ModelRegistry, ModelVersion, Role
from perch.pipeline.evaluate import Evaluation
from perch.pipeline.features import Prepared
from perch.pipeline.record import Record
from perch.pipeline.settings import PipelineSettings
from perch.workload.package import Manifest, check_package, package_digest


def register(
    package: Path,
    evaluation: Evaluation,
    prepared: Prepared,
    settings: PipelineSettings,
    *,
    registry: ModelRegistry,
    model: str,
    record: Record | None = None,
    origin: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Register a package as the next version of `model`, or return the version that is this very package already.

    A model that was trained twice is one version: what is known of it, such as its quarantine, stays known. One that
    serves keeps all that is written of it; of another one the gates' latest record counts.

    Args:
        package: Folder of the packaged model.
        evaluation: How it did.
        prepared: What it was trained on.
        settings: How it was trained.
        registry: Where it is registered.
        model: Name under which it is.
        record: What the gates said of it; `None` for the baseline, which no gate keeps out.
        origin: Further tags: who asked for it and why, such as `workflow` and `reason`.

    Raises:
        ModelError: The folder holds no package.
        RegistryError: The registry does not answer; then nothing is registered.
    """
    manifest, digest = check_package(package), package_digest(package)
    said = dict(origin or {})
    if record is not None:
        said |= {"gate_verdict": record.verdict.value, "gate_reason": record.reason, "gates": record.to_json()}
    known = [version for version in registry.versions(model) if version.digest == digest]
    if known and known[-1].roles & {Role.CHAMPION, Role.BASELINE}:
        return known[-1]  # what it was released on stays written, not what comes of comparing it with itself
    if known:
        return _said_anew(registry, known[-1], said)
    tags = {
        "data_digest": prepared.data_digest,
        "data_from_s": f"{prepared.data_from_s:.0f}",
        "data_to_s": f"{prepared.data_to_s:.0f}",
        "data_rows": str(prepared.data_rows),
        "trained_s": f"{time.time():.0f}",
        "code_version": code_version(),
        "seed": str(settings.seed),
        "keep_rate": str(manifest.keep_rate),
        "training_rows": str(len(prepared.training_clicked)),
        "attribution_window_s": f"{settings.attribution_window_s:g}",
        "parameters": parameters(manifest, settings),
    }
    return registry.register(model, package, metrics=evaluation.flat(), tags=tags | said)


def _said_anew(registry: ModelRegistry, version: ModelVersion, said: Mapping[str, str]) -> ModelVersion:
    """The version with what was said of it last: gates that it failed once may let it pass today, and the other way."""
    for name, value in said.items():
        if version.tags.get(name) != value:
            registry.note(version.model, version.version, name, value)
    return registry.get(version.model, version.version)


def parameters(manifest: Manifest, settings: PipelineSettings) -> str:
    """What training was told, as JSON: the settings, the kind of model, and the columns that it reads."""
    told = {
        "kind": manifest.kind,
        "columns": asdict(manifest.columns),
        "settings": TypeAdapter(PipelineSettings).dump_python(settings, mode="json"),
    }
    return json.dumps(told, sort_keys=True)


def code_version() -> str:
    """Version of the running code: Perch's release, with the commit where it runs from a checkout."""
    release = installed("perch")
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return release
    return f"{release}+{answer.stdout.strip()}"
