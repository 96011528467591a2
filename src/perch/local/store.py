"""Where the local platform keeps its models: MLflow on a SQLite file, packages in a folder beside it."""

from pathlib import Path

from perch.adapters.registry.mlflow import MlflowRegistry


def store_uri(folder: Path) -> str:
    """MLflow's address of the store in the platform's folder."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def open_registry(folder: Path) -> MlflowRegistry:
    """The registry in the platform's folder, made when it is missing; raises `RegistryError`."""
    folder.mkdir(parents=True, exist_ok=True)
    return MlflowRegistry(store_uri(folder), artifacts=folder.resolve() / "artifacts")
