"""The definition that the chart ships is the one that the settings make."""

from pathlib import Path

import yaml

from perch.settings import crd

FILE = Path(__file__).parents[2] / "charts" / "perch" / "crds" / "modelservices.yaml"


def test_the_shipped_definition_is_what_the_settings_make():
    assert FILE.read_text(encoding="utf-8") == crd.to_yaml(), f"out of date: python -m perch.settings.crd > {FILE}"


def test_the_file_reads_back_as_the_definition():
    assert yaml.safe_load(FILE.read_text(encoding="utf-8")) == crd.definition()
