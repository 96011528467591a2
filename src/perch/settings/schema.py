"""The declaration that a rollout is told: one ModelService, in `perch.yaml` or as a Kubernetes object.

Keys are written in camelCase, as everywhere in Kubernetes. Unknown keys are errors: a setting that is silently
ignored is worse than none. The policy and the SLO are the core's own types; their ranges are checked there.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from perch.core.policy import FreshnessPolicy, Policy, Slo
from perch.errors import DeclarationError

API_VERSION: Literal["perch.dev/v1alpha1"] = "perch.dev/v1alpha1"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""A DNS label that begins with a letter (RFC 1035), short enough for the names that are made from it to stay one."""

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""Name of a registered model; nothing in the cluster is called after it."""

ModelKind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
"""A kind of model, as its module is called."""

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_NAME = rf"{_LABEL}(\.{_LABEL})*"

Version = Annotated[int, Field(ge=1, strict=True)]  # `yes` is no number


class Settings(BaseModel):
    """A frozen section of the declaration."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


class Metadata(Settings):
    """What the object is called."""

    name: Name = "ads"
    """Name of the service, and of everything that is made for it."""


class LoadTest(Settings):
    """The load under which the SLO is proven."""

    rps: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    """Requests a second, at a constant arrival rate."""

    duration_s: Annotated[float, Field(ge=1, le=86_400)] = 15.0
    """Length of the test, in seconds."""

    users: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Simulated clients that share the rate."""


class Cluster(Settings):
    """How it runs on Kubernetes; the local platform does not look at it."""

    gateway: Annotated[str, StringConstraints(pattern=f"^{_LABEL}/{_DNS_NAME}$", max_length=317)] = (
        "kserve/kserve-ingress-gateway"
    )
    """Gateway that the route hangs on, as `namespace/name`. It must admit routes from the service's namespace."""

    hostname: Annotated[str, StringConstraints(pattern=f"^{_DNS_NAME}$", max_length=253)] | None = None
    """DNS name under which the Gateway answers for the service. Empty: `<name>.<namespace>.perch`."""

    replicas: Annotated[int, Field(ge=1, le=50)] = 1
    """Pods of each version that is kept warm. With one, its traffic fails while that pod is away."""

    cpu: Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]*m?|[0-9]+\.[0-9]{0,2}[1-9])$")] = "250m"
    """Processor time that a pod asks for, in cores, or thousandths of one with `m`; it may take more where there is
    some. Always set, for without it KServe asks for a whole core, and a release needs three versions at once."""

    memory: Annotated[str, StringConstraints(pattern="^[1-9][0-9]*([kMGT]|[KMGT]i)?$")] = "512Mi"
    """Memory of a pod, requested and allowed, in bytes: a pod that needs more is killed, and never takes it from
    another."""


_Share = Annotated[float, Field(ge=0, le=1)]


class Events(Settings):
    """What is kept of predictions and outcomes, where, and for how long."""

    user_column: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = "user_id"
    """Input that says who was shown the answer; the event has it as the user. Empty, or a model without that input: no
    user is kept."""

    features_share: _Share = 0.01
    """Share of the requests whose inputs are kept, as they were received."""

    retention_days: Annotated[float, Field(ge=0, le=3_650)] = 0.0
    """How long events are kept; at least two attribution windows, which is also what 0 means."""

    store_secret: Annotated[str, StringConstraints(pattern=f"^{_DNS_NAME}$", max_length=253)] | None = None
    """Secret in the service's namespace with the `url` and the `password` of a PostgreSQL to keep them in. Empty:
    SQLite on the collector's volume. The local platform uses SQLite."""


_Clicks = Annotated[int, Field(ge=1, le=10**9)]
_Megabytes = Annotated[float, Field(gt=0, le=100_000)]
_Gap = Annotated[float, Field(gt=0, le=100)]


class GateSettings(Settings):
    """What a candidate must keep to before it may ask for traffic."""

    min_clicks: _Clicks = 200
    """With fewer clicks in the evaluation window nothing is judged by them: so few make every interval too narrow."""

    margin: _Share = 0.01
    """A log loss that is proven to be at most this share above the champion's is not worse."""

    slice_margin: _Share = 0.05
    """A candidate is refused when its log loss on any slice is proven to be more than this share above the
    champion's."""

    slice_min_clicks: _Clicks = 50
    """Slices and groups with fewer clicks are not judged: a handful of rows proves nothing."""

    calibration_low: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Fewest predicted clicks for each click. A candidate is refused when its whole interval lies outside, and would
    also do so if the bounds were as far off as the champion is."""

    calibration_high: Annotated[float, Field(ge=1, le=100)] = 1.25
    """Most predicted clicks for each click."""

    max_package_mb: _Megabytes = 100.0
    """Largest package. A pod fetches it before it starts."""

    max_memory_mb: _Megabytes = 450.0
    """Most memory that the serving process may hold. A pod that needs more than `memory` of `cluster` is killed, so
    stay well below that."""

    max_explained: _Share = 0.2
    """Share of the clicks' entropy that one feature alone may explain. More is a sign that it was written after the
    click."""

    max_data_age_h: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Oldest that the youngest impression may be, in hours. Empty: any age."""

    calibration_gap: _Gap = 0.25
    """How far the predicted clicks for each click of a sensitive group may be proven to lie from those of all rows, as
    a share of the latter."""

    recall_gap: _Gap = 0.5
    """The same for the share of a group's clicks that are among the best scores."""

    selection_gap: _Gap = 0.5
    """The same for the share of a group's rows that are among the best scores."""


POD_MEMORY: Final = "2Gi"
"""What a pod that trains may take where nothing is declared, as Kubernetes writes it."""


class Training(Settings):
    """How the model is trained, by `perch train` and by the workflows."""

    data: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = None
    """Click log: a path, or an address that begins with `http://`, `https://` or `s3://`. In a cluster a path is one of
    the training pods'. Empty: a simulated market makes one."""

    format: Literal["parquet", "open-bandit", "criteo", "avazu"] = "parquet"
    """How the click log is laid out."""

    candidates: Annotated[tuple[ModelKind, ...], Field(min_length=1, max_length=20)] = ("lightgbm",)
    """Kinds of model that are trained beside the baseline; the best of those that pass all gates is offered."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] = 0
    """Seed of everything random in training."""

    memory_mib: Annotated[int, Field(ge=448, le=2**24, strict=True)] | None = None
    """Memory that training may take, in MiB, libraries included: the limit of its pods, or what a machine can spare. A
    log that does not fit is read in parts. Empty: every log is held in memory."""

    gates: GateSettings = GateSettings()
    freshness: FreshnessPolicy = FreshnessPolicy()

    @property
    def memory_bytes(self) -> int | None:
        """The bound in bytes."""
        return None if self.memory_mib is None else self.memory_mib * 2**20

    @property
    def pod_memory(self) -> str:
        """What a pod that trains may take, as Kubernetes writes it."""
        return POD_MEMORY if self.memory_mib is None else f"{self.memory_mib}Mi"

    @field_validator("candidates")
    @classmethod
    def _once_each(cls, candidates: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(candidates)) < len(candidates):
            raise ValueError("a kind is named twice: name each candidate once")
        return candidates


class Spec(Settings):
    """What is wished for."""

    model: ModelName = "ad-clicks"
    """Registered model that the service runs. On Kubernetes it cannot be changed later."""

    version: Version | None = None
    """Version that should be the champion. Empty: whatever is the champion now."""

    baseline: Version | None = None
    """Version to fall back to; only a person changes it. Empty: the one that holds the role in the registry."""

    slo: Slo = Slo()
    policy: Policy = Policy()
    load: LoadTest = LoadTest()
    training: Training = Training()
    events: Events = Events()
    cluster: Cluster = Cluster()

    attribution_window_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = 14_400.0
    """How long after a prediction its outcome still counts, in training as in service."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """Port of the route on the local platform."""


class ModelService(Settings):
    """The long-lived declaration of one served model."""

    api_version: Literal["perch.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelService"] = "ModelService"
    metadata: Metadata = Metadata()
    spec: Spec = Spec()

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.metadata.name


def load_declaration(path: Path) -> ModelService:
    """Read and check a declaration.

    Raises:
        DeclarationError: there is no such file, it is not YAML, or a key is unknown, missing or out of its range;
            the message has one line for each fault, with the key's full path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DeclarationError(f"There is no declaration at {path}. Write one with `perch init`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"The declaration {path} cannot be read: {error}.") from None
    return parse_declaration(text, source=str(path))


def parse_declaration(text: str, *, source: str) -> ModelService:
    """Check a declaration that was read from `source`; raises `DeclarationError` as `load_declaration` does."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise DeclarationError(f"{source}{line} is not YAML: {getattr(error, 'problem', error)}.") from None
    except ValueError as error:  # such as a date with a thirteenth month
        raise DeclarationError(f"{source} holds a value that YAML cannot read: {error}.") from None
    if not isinstance(content, dict):
        raise DeclarationError(f"{source} holds no ModelService: it should begin with `apiVersion: {API_VERSION}`.")
    missing = [key for key in ("apiVersion", "kind") if key not in content]
    if missing:
        raise DeclarationError(
            f"{source} does not say its {' and '.join(missing)}. It should begin with `apiVersion: {API_VERSION}` "
            "and `kind: ModelService`."
        )
    try:
        return ModelService.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  {_fault(e['loc'], e['type'], e['msg'])}" for e in error.errors())
        raise DeclarationError(f"{source} cannot be meant as it stands:\n{faults}") from None


def _fault(path: tuple[int | str, ...], kind: str, message: str) -> str:
    where = ".".join(str(part) for part in path) or "(whole file)"
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"{where}: unknown key. Take it out, or look up its name in docs/reference/declaration.md."
    as_written = re.sub(r"[a-z0-9]+(?:_[a-z0-9]+)+", lambda name: to_camel(name.group()), message)
    return f"{where}: {as_written.removeprefix('Value error, ')}"


def to_yaml(service: ModelService) -> str:
    """The declaration as text, with every setting spelled out."""
    return yaml.safe_dump(service.model_dump(by_alias=True, mode="json"), sort_keys=False)
