"""The custom resource definition of ModelService, made from the settings: `python -m perch.settings.crd` prints it.

One schema is the truth of the file, the object and the reference. What Kubernetes wants otherwise is changed here:

- The schema is *structural* (Kubernetes API, "Specifying a structural schema"): no references, no unions with null,
  exclusive bounds as flags (OpenAPI 3.0).
- It has no defaults: one that the API server fills in would be a wish that nobody wrote. Who reads the object fills
  them in, as with the file.
- What the settings check across keys is told in the Common Expression Language, with a sentence for each refusal.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml
from pydantic.alias_generators import to_camel

from perch.core.policy import _INTERVALS, _UNBOUNDED, FreshnessPolicy, Policy, Slo
from perch.settings.schema import API_VERSION, Metadata, ModelService, Spec
from perch.settings.status import ModelServiceStatus

Schema = dict[str, Any]

HEADER = "# Written by `python -m perch.settings.crd` from the settings. Don't edit it.\n"

_GROUP, _, _VERSION = API_VERSION.partition("/")


def definition() -> Schema:
    """The CustomResourceDefinition of `modelservices.perch.dev`, ready to be applied."""
    version = {
        "name": _VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object()},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "description": description}
            for name, kind, path, description in _COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"modelservices.{_GROUP}"},
        "spec": {
            "group": _GROUP,
            "names": {
                "kind": "ModelService",
                "listKind": "ModelServiceList",
                "plural": "modelservices",
                "singular": "modelservice",
                "shortNames": ["msvc"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def to_yaml() -> str:
    """The definition as the file that the chart ships."""
    return HEADER + yaml.safe_dump(definition(), sort_keys=False, width=120, allow_unicode=True)


def meaning(docstring: str) -> str:
    """A setting's docstring as its reader sees it: on one line, with keys as they are written in the file."""
    text = " ".join(docstring.split()).replace("`None`", "Empty")
    return re.sub(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", lambda name: f"`{to_camel(name[1])}`", text)


_COLUMNS = (
    ("Wanted", "integer", ".spec.version", "Version that should be the champion"),
    ("Champion", "integer", ".status.champion", "Version that serves"),
    ("Baseline", "integer", ".status.baseline", "Version to fall back to"),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the champion serves"),
    ("Phase", "string", ".status.phase", "Phase of the rollout in progress"),
    ("Weight", "string", ".status.weight", "The canary's share of the traffic"),
    ("Evidence", "string", ".status.evidence", "Odds that the canary harms"),
    ("Last", "string", ".status.outcome", "How the last rollout ended"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was declared"),
)


# --- rules across keys ----------------------------------------------------------------------------------------------


def _rules() -> Mapping[str, list[Schema]]:
    """The rules of each section, by its name."""
    name = Metadata.model_json_schema()["properties"]["name"]
    old, new = (
        f"(has({it}.spec) && has({it}.spec.model) ? {it}.spec.model : '{Spec().model}')" for it in ("oldSelf", "self")
    )
    return {
        "ModelService": [
            _rule(
                f"self.metadata.name.size() <= {name['maxLength']}",
                f"metadata.name is longer than {name['maxLength']} characters: the names that are made from it "
                "would be no DNS labels. Choose a shorter one.",
            ),
            _rule(
                f"self.metadata.name.matches('{name['pattern']}')",
                "metadata.name holds more than lower-case letters, digits and `-`, or does not begin with a letter: "
                "the names that are made from it would be no DNS labels. Choose another.",
            ),
            _rule(
                f"{new} == {old}",
                "spec.model cannot be changed: evidence and roles belong to one model. Declare another ModelService.",
                ".spec.model",
            ),
        ],
        "Policy": [
            _rule(
                f"self.?startWeight.orValue({Policy().start_weight}) <= self.?maxWeight.orValue({Policy().max_weight})",
                "startWeight is above maxWeight. Lower the one or raise the other.",
                ".startWeight",
            )
        ],
        "Slo": [
            _rule(
                f"self.?negligibleLatencyMs.orValue(0.0) <= self.?latencyP99Ms.orValue({Slo().latency_p99_ms})",
                "negligibleLatencyMs is above latencyP99Ms: no breach of the SLO would ever be seen. Lower it.",
                ".negligibleLatencyMs",
            )
        ],
    }


def _rule(rule: str, message: str, field: str | None = None) -> Schema:
    return {"rule": rule, "message": message} | ({"fieldPath": field} if field else {})


# --- from JSON schema to structural schema --------------------------------------------------------------------------


def _object() -> Schema:
    tree, status = ModelService.model_json_schema(), ModelServiceStatus.model_json_schema()
    rules = _rules()
    return {
        "type": "object",
        "description": meaning(tree["description"]),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(tree["properties"]["spec"], tree["$defs"], rules),
            "status": _structural(status, status["$defs"], rules),
        },
        "x-kubernetes-validations": rules["ModelService"],
    }


def _structural(node: Schema, defs: Mapping[str, Schema], rules: Mapping[str, list[Schema]]) -> Schema:
    """The structural schema of one node and of all below it."""
    node = _resolved(node, defs)
    made = {key: node[key] for key in _KEPT if key in node}
    if "description" in node:
        made["description"] = meaning(node["description"])
    if "exclusiveMinimum" in node:
        made |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    if "items" in node:
        made["items"] = {"description": made["description"]} | _structural(node["items"], defs, rules)
    if "properties" in node:
        section, properties = node["title"], node["properties"]
        bounds = _bounds(section)
        made["properties"] = {
            key: _structural(properties[key] | bounds.get(key, {}), defs, rules) for key in properties
        }
        if section in rules:
            made["x-kubernetes-validations"] = rules[section]
    return made


_KEPT = (
    "description",
    "type",
    "format",
    "nullable",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)


def _resolved(node: Schema, defs: Mapping[str, Schema]) -> Schema:
    """The node with its reference looked up, and with the union with null told as a flag."""
    if "$ref" in node:
        return defs[node["$ref"].rpartition("/")[2]] | {key: node[key] for key in node if key != "$ref"}
    if "anyOf" in node:
        (option,) = (option for option in node["anyOf"] if option != {"type": "null"})
        return {**_resolved(option, defs), **node, "nullable": True}
    return node


def _bounds(section: str) -> Mapping[str, Schema]:
    """The interval of each number that the core checks by itself, by its key."""
    if section not in _OF_THE_CORE:
        return {}
    numbers = [field.name for field in fields(_OF_THE_CORE[section]) if not isinstance(field.default, bool | str)]
    intervals = {name: _INTERVALS.get(name, _UNBOUNDED) for name in numbers}
    return {to_camel(name): {"minimum": low, "maximum": high} for name, (low, high) in intervals.items()}


_OF_THE_CORE: Mapping[str, type[Policy | Slo | FreshnessPolicy]] = {
    "Policy": Policy,
    "Slo": Slo,
    "FreshnessPolicy": FreshnessPolicy,
}


if __name__ == "__main__":
    sys.stdout.write(to_yaml())
