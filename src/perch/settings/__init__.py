"""The ModelService declaration: its schema, how it is read and what is refused."""

from perch.settings.schema import (
    Cluster,
    GateSettings,
    LoadTest,
    Metadata,
    ModelService,
    Spec,
    load_declaration,
    parse_declaration,
    to_yaml,
)

__all__ = [
    "Cluster",
    "GateSettings",
    "LoadTest",
    "Metadata",
    "ModelService",
    "Spec",
    "load_declaration",
    "parse_declaration",
    "to_yaml",
]
