"""The custom resource definition is structural, says what the settings say, and wishes nothing by itself."""

from dataclasses import fields
from datetime import UTC, datetime

import pytest

from perch.core.policy import Policy, Slo
from perch.errors import DeclarationError
from perch.settings import ModelService, parse_declaration
from perch.settings.crd import definition, meaning
from perch.settings.status import ENGINE_LIMIT_BYTES, Condition, ModelServiceStatus

VERSION = definition()["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC = ROOT["properties"]["spec"]
SECTIONS = {"policy": Policy, "slo": Slo}


def below(node, path="", *, root=True):
    if not root:
        yield path, node
    for key, child in node.get("properties", {}).items():
        yield from below(child, f"{path}.{key}", root=False)
    if "items" in node:
        yield from below(node["items"], f"{path}[]", root=False)


NUMBERS = [
    pytest.param(section, key, node, id=key)
    for section in SECTIONS
    for key, node in SPEC["properties"][section]["properties"].items()
    if node["type"] in {"integer", "number"}
]


def parse(spec):
    return parse_declaration(f"apiVersion: perch.dev/v1alpha1\nkind: ModelService\nspec: {spec}", source="perch.yaml")


def told(section, key, value):
    """What is wrong with the value, in the file."""
    try:
        parse(f"{{{section}: {{{key}: {value if isinstance(value, int) else format(value, '.12f')}}}}}")
    except DeclarationError as refused:
        return str(refused)
    return ""


NODES = dict(below(ROOT))


@pytest.mark.parametrize("path", NODES)
def test_every_node_is_structural(path):
    node = NODES[path]
    allowed = {"object", "array", "string", "integer", "number", "boolean"}
    assert node["type"] in allowed
    assert not node.keys() & {
        "$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "const", "title", "additionalProperties", "exclusiveMaximum",
    }  # fmt: skip
    assert isinstance(node.get("exclusiveMinimum", False), bool)
    assert (node["type"] == "array") == ("items" in node)
    assert node["type"] != "object" or path == ".metadata" or node["properties"]


@pytest.mark.parametrize("path", NODES)
def test_no_node_has_a_default(path):
    assert "default" not in NODES[path]


@pytest.mark.parametrize("path", [path for path in NODES if path.startswith((".spec", ".status"))])
def test_every_key_is_explained_on_one_line_as_it_is_written(path):
    assert "_" not in path
    text = NODES[path]["description"]
    assert text
    assert "\n" not in text
    assert meaning(text) == text


def test_the_object_has_every_key_of_the_file():
    whole = ModelService().model_dump(by_alias=True)["spec"]
    assert list(SPEC["properties"]) == list(whole)
    for section in (key for key, value in whole.items() if isinstance(value, dict)):
        assert list(SPEC["properties"][section]["properties"]) == list(whole[section])


def test_what_may_be_empty_in_the_file_may_be_null_in_the_object():
    nullable = {path for path, node in NODES.items() if path.startswith(".spec") and node.get("nullable")}
    assert nullable == {
        ".spec.version",
        ".spec.baseline",
        ".spec.slo.negligibleLatencyMs",
        ".spec.cluster.hostname",
        ".spec.training.data",
        ".spec.training.gates.maxDataAgeH",
        ".spec.training.memoryMib",
        ".spec.events.storeSecret",
        ".spec.events.userColumn",
    }


@pytest.mark.parametrize(("section", "key", "node"), NUMBERS)
def test_the_ranges_of_the_object_are_those_of_the_file(section, key, node):
    low, high, step = node["minimum"], node["maximum"], 1 if node["type"] == "integer" else 1e-10
    assert "must lie between" not in told(section, key, low) + told(section, key, high)
    assert "must lie between" in told(section, key, low - step)
    assert "must lie between" in told(section, key, high + max(step, high * 1e-9))


def test_every_number_of_the_core_is_bounded():
    for section, kind in SECTIONS.items():
        found = SPEC["properties"][section]["properties"]
        assert len(found) == len(fields(kind))
        assert all(
            {"minimum", "maximum"} <= node.keys() for node in found.values() if node["type"] in {"integer", "number"}
        )


def test_every_string_that_a_rule_reads_is_bounded():
    """The API server refuses a rule whose cost it cannot bound."""
    assert SPEC["properties"]["model"]["maxLength"] == 40


def test_every_rule_says_in_a_sentence_what_to_do():
    rules = [rule for node in (ROOT, *NODES.values()) for rule in node.get("x-kubernetes-validations", [])]
    assert len(rules) == 5
    assert all(rule["message"].endswith(".") and ". " in rule["message"] for rule in rules)


def test_a_column_shows_a_key_that_exists():
    shown = {column["name"]: column["jsonPath"] for column in VERSION["additionalPrinterColumns"]}
    assert list(shown) == ["Wanted", "Champion", "Baseline", "Ready", "Phase", "Weight", "Evidence", "Last", "Age"]
    ready = shown.pop("Ready")
    assert ready == '.status.conditions[?(@.type=="Ready")].status'
    assert all(path in NODES or path == ".metadata.creationTimestamp" for path in shown.values())


def condition(**changes):
    told = {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "Version 1 serves.",
        "lastTransitionTime": datetime(2026, 1, 2, tzinfo=UTC),
        "observedGeneration": 1,
    }
    return Condition.model_validate(told | changes)


def test_a_status_goes_to_the_object_and_back_without_loss():
    told = {"observedGeneration": 1, "champion": 1, "phase": "serving", "conditions": (condition(),)}
    status = ModelServiceStatus.model_validate(told)
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written["conditions"][0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"
    assert written["phase"] == "serving"
    assert ModelServiceStatus.model_validate(written) == status


@pytest.mark.parametrize(
    "fault", [{"status": "yes"}, {"type": "not camel"}, {"reason": ""}, {"lastTransitionTime": "2026-01-02T00:00:00"}]
)
def test_a_condition_is_one_that_kubernetes_takes(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        condition(**fault)


def test_an_engine_that_is_too_large_for_an_object_is_refused():
    ModelServiceStatus.model_validate({"observedGeneration": 1, "engine": "x" * ENGINE_LIMIT_BYTES})
    with pytest.raises(ValueError, match="engine"):
        ModelServiceStatus.model_validate({"observedGeneration": 1, "engine": "x" * (ENGINE_LIMIT_BYTES + 1)})


@pytest.mark.parametrize(
    "cluster",
    [
        "{gateway: gateway}",
        "{gateway: a/b/c}",
        "{hostname: 'http://ads'}",
        "{hostname: '*.example'}",
        "{replicas: 0}",
        "{replicas: 51}",
        "{cpu: 0m}",
        "{cpu: 1Gi}",
        "{cpu: '0.0'}",
        "{memory: 512m}",
        "{memory: '0'}",
        "{memory: 1 Gi}",
    ],
)
def test_a_setting_of_the_cluster_that_cannot_be_meant_is_refused(cluster):
    key = cluster[1:].partition(":")[0]
    with pytest.raises(DeclarationError, match=rf"spec\.cluster\.{key}"):
        parse(f"{{cluster: {cluster}}}")


@pytest.mark.parametrize(
    ("cpu", "memory"), [("250m", "512Mi"), ("2", "2Gi"), ("0.5", "1000000"), ("1.25", "1G"), ("16", "128Gi")]
)
def test_the_usual_ways_to_write_a_quantity_are_taken(cpu, memory):
    cluster = parse(f"{{cluster: {{cpu: '{cpu}', memory: '{memory}'}}}}").spec.cluster
    assert (cluster.cpu, cluster.memory) == (cpu, memory)


@pytest.mark.parametrize("name", ["1ads", "ads.v1", "Ads", "ads-", "a" * 41, ""])
def test_a_name_from_which_no_dns_label_can_be_made_is_refused(name):
    with pytest.raises(DeclarationError, match=r"metadata\.name"):
        parse_declaration(
            f"apiVersion: perch.dev/v1alpha1\nkind: ModelService\nmetadata: {{name: '{name}'}}", source="perch.yaml"
        )
