"""Step 7: package a model and put it into the registry, with the figures and versions that explain it."""

import subprocess
from importlib.metadata import version as installed
from pathlib import Path

from perch.adapters.registry.port import ModelRegistry, ModelVersion
from perch.pipeline.evaluate import Evaluation
from perch.pipeline.features import Prepared
from perch.pipeline.gate import Gate
from perch.pipeline.settings import PipelineSettings
from perch.workload.model import Scorer
from perch.workload.package import write_package


def register(
    scorer: Scorer,
    evaluation: Evaluation,
    prepared: Prepared,
    settings: PipelineSettings,
    *,
    registry: ModelRegistry,
    model: str,
    packages: Path,
    gate: Gate | None = None,
) -> ModelVersion:
    """Register a model as the next version of `model`, or return the version that is this very model already.

    A model that was trained twice is one version: what is known of it, such as its quarantine, stays known.
    """
    folder = packages / f"{scorer.estimator.kind}-{settings.seed}"
    digest = write_package(folder, scorer, score_histogram=evaluation.score_histogram)
    known = [version for version in registry.versions(model) if version.digest == digest]
    if known:
        return known[-1]
    tags = {
        "data_digest": prepared.data_digest,
        "code_version": code_version(),
        "seed": str(settings.seed),
        "keep_rate": str(settings.keep_rate),
        "training_rows": str(len(prepared.training_clicked)),
        "attribution_window_s": f"{settings.attribution_window_s:g}",
    }
    if gate is not None:
        tags |= {"gate_verdict": gate.verdict.value, "gate_reason": gate.reason}
    return registry.register(model, folder, metrics=evaluation.flat(), tags=tags)


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
