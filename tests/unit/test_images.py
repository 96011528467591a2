import re
import tomllib
from itertools import pairwise

import pytest

from markdown_blocks import ROOT

DOCKERFILES = sorted((ROOT / "images").glob("*/Dockerfile"))
GROUPS = {
    "serving": {"serve"},
    "operator": {"control", "operator"},
    "mlflow": {"train", "control"},
    "training": {"train", "control", "operator", "workflows", "distributed", "monitor"},
}

every_image = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)


def pins():
    lines = (ROOT / "versions.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_there_is_one_image_for_each_role():
    assert {path.parent.name for path in DOCKERFILES} == set(GROUPS)


@every_image
def test_an_image_installs_its_role_alone_and_as_locked(dockerfile):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    syncs = re.findall(r"uv sync .*", dockerfile.read_text(encoding="utf-8"))
    assert len(syncs) == 2
    for sync in syncs:
        assert set(re.findall(r"--group (\S+)", sync)) == GROUPS[dockerfile.parent.name] <= set(known)
        assert "--frozen --no-default-groups" in sync


@every_image
def test_an_image_runs_as_a_numeric_user_who_is_not_root(dockerfile):
    assert re.findall(r"^USER (.*)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE) == ["10001:10001"]


@every_image
def test_an_image_stands_on_the_base_that_is_asked_for_and_builds_without_buildkit(dockerfile):
    text = dockerfile.read_text(encoding="utf-8")
    assert f"ARG PYTHON_IMAGE={pins()['PYTHON_IMAGE']}\n" in text
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    assert "--mount" not in text


def test_every_pin_is_one_value_and_has_its_reason_above_it():
    lines = (ROOT / "versions.env").read_text(encoding="utf-8").splitlines()
    for above, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[A-Z_]+=[\w.:-]+", line), line
            assert above.startswith("# "), line


def test_the_build_sees_nothing_but_what_is_named():
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!pyproject.toml", "!uv.lock", "!README.md", "!LICENSE", "!src"
    }  # fmt: skip
