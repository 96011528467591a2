"""What can be known of the Terraform code without providers: it parses, fits together, and defines nothing twice."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from markdown_blocks import ROOT

FOLDER = ROOT / "terraform"
FOLDERS = sorted({file.parent for file in FOLDER.glob("*/*/*.tf")})

every_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not there")


def text_of(folder):
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.tf")))


def blocks(text, kind):
    """Bodies of the top-level blocks of this kind, by their last label."""
    found = re.findall(rf'^{kind} (?:"[\w-]+" )*"([\w-]+)" {{$(.*?)^}}$', text, re.MULTILINE | re.DOTALL)
    return dict(found)


def keys(body):
    """Attributes of a block, at its own level."""
    return set(re.findall(r"^  (\w+)\s*=", body, re.MULTILINE))


def variables(folder):
    found = blocks(text_of(folder), "variable")
    return {name: "default" in keys(body) for name, body in found.items()}


@every_folder
def test_a_variable_is_used_and_what_is_used_is_a_variable(folder):
    text = text_of(folder)
    assert set(variables(folder)) == set(re.findall(r"\bvar\.(\w+)", text))


@every_folder
def test_variables_and_outputs_say_what_they_are(folder):
    text = text_of(folder)
    for name, body in {**blocks(text, "variable"), **blocks(text, "output")}.items():
        assert "description" in keys(body), name


@every_folder
def test_a_module_is_given_what_it_asks_for(folder):
    for name, body in blocks(text_of(folder), "module").items():
        source = folder / re.search(r'source\s*=\s*"([^"]+)"', body)[1]
        asked = variables(source)
        given = keys(body) - {"source", "depends_on"}
        assert given <= set(asked), name
        assert {variable for variable, optional in asked.items() if not optional} <= given, name


@every_folder
def test_what_is_taken_from_a_module_is_promised_by_it(folder):
    text = text_of(folder)
    sources = {name: re.search(r'source\s*=\s*"([^"]+)"', body)[1] for name, body in blocks(text, "module").items()}
    for name, output in re.findall(r"\bmodule\.(\w+)\.(\w+)", text):
        assert output in blocks(text_of(folder / sources[name]), "output"), (name, output)


@every_folder
def test_a_resource_that_is_named_is_there(folder):
    text = re.sub(r'"[^"$]*"', '""', text_of(folder))
    there = set(re.findall(r'^resource "(\w+)" "(\w+)"', text_of(folder), re.MULTILINE))
    named = set(re.findall(r"\b((?:aws|helm|kind|terraform)_\w+)\.(\w+)", text))
    assert named <= there


def test_the_platform_installs_each_chart_of_the_list_and_perch():
    listed = yaml.safe_load((ROOT / "deploy" / "releases.yaml").read_text(encoding="utf-8"))
    made = blocks(text_of(FOLDER / "modules" / "platform"), "resource")
    assert set(made) == {name.replace("-", "_") for name in listed} | {"perch"}
    for name in listed:
        assert f'local.releases["{name}"].values' in made[name.replace("-", "_")]


def test_no_version_of_the_cluster_is_written_in_terraform():
    pins = (ROOT / "versions.env").read_text(encoding="utf-8")
    versions = {line.partition("=")[2] for line in pins.splitlines() if "VERSION=" in line and line[0] != "#"}
    written = set(re.findall(r'"v?(\d+\.\d+\.\d+)"', "\n".join(map(text_of, FOLDERS))))
    assert not written & versions


def test_no_network_is_open_to_the_world_by_default():
    text = text_of(FOLDER / "stacks" / "eks")
    assert "default     = []" in blocks(text, "variable")["api_cidrs"]
    assert "bootstrap_cluster_creator_admin_permissions = false" in text
    assert "AdministratorAccess" not in text


@needs_terraform
def test_the_format_is_terraforms_own():
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", FOLDER], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


@needs_terraform
def test_pins_are_read_as_they_stand(tmp_path):
    quiet = os.environ | {"TF_DATA_DIR": str(tmp_path / "data"), "CHECKPOINT_DISABLE": "1"}
    module = f"-chdir={FOLDER / 'modules' / 'pins'}"
    for words in (["init", "-input=false"], ["validate"], ["test", "-json"]):
        done = subprocess.run(["terraform", module, *words], capture_output=True, text=True, env=quiet, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    summary = [told for told in map(json.loads, done.stdout.splitlines()) if told["type"] == "test_summary"]
    assert summary[0]["test_summary"]["passed"] == 4
