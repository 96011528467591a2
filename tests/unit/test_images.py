import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
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


# --- what an image runs can be imported with what it installs ---

STEPS = sorted(path.stem for path in (ROOT / "src/perch/workflows/steps").glob("[a-z]*.py"))
RUNS = {
    "serving": ["perch.serving.__main__", "perch.serving.fetch", "perch.serving.proof", "perch.collector.__main__"],
    "operator": ["perch.operator.__main__"],
    "training": [
        "perch.judge.__main__",
        "perch.judge.comparison",
        "perch.judge.inspect",
        "perch.judge.training",
        *(f"perch.workflows.steps.{step}" for step in STEPS),
    ],
}
CASES = [(image, module) for image, modules in RUNS.items() for module in modules]

_IMPORT = (
    "import importlib, json, sys; sys.modules.update(dict.fromkeys(json.load(sys.stdin))); importlib.import_module({})"
)


def plain(name):
    """A distribution's name, as all who name it do not agree on."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def locked():
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    return {package["name"]: package for package in packages}


def installed(locked, groups):
    """Every distribution that is installed with some groups."""
    ours, found = locked["perch"], set()
    waiting = [*ours.get("dependencies", ()), *(one for group in groups for one in ours["dev-dependencies"][group])]
    while waiting:
        one = waiting.pop()
        package, key = locked[one["name"]], (one["name"], *one.get("extra", ()))
        if key not in found:
            found.add(key)
            waiting += package.get("dependencies", ())
            waiting += [more for extra in one.get("extra", ()) for more in package["optional-dependencies"][extra]]
    return {plain(name) for name, *_ in found} | {"perch"}


@pytest.mark.parametrize(("image", "module"), CASES, ids=[module for _, module in CASES])
def test_an_image_has_what_it_runs(locked, image, module):
    there = installed(locked, GROUPS[image])
    absent = [
        name
        for name, distributions in packages_distributions().items()
        if not {plain(one) for one in distributions} & there and name not in sys.stdlib_module_names
    ]
    assert {"locust", "hypothesis"} <= set(absent)
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT.format(repr(module))]
    done = subprocess.run(command, input=json.dumps(absent), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
