"""What a declaration may say, and how a fault in it is told."""

import pytest

from perch.core.policy import Policy, Slo
from perch.demo.declaration import demo_declaration
from perch.errors import DeclarationError
from perch.settings import LoadTest, Metadata, ModelService, Spec, load_declaration, parse_declaration, to_yaml

HEAD = "apiVersion: perch.dev/v1alpha1\nkind: ModelService\n"


def parse(spec):
    return parse_declaration(f"{HEAD}spec: {spec}", source="perch.yaml")


def refusal(text):
    with pytest.raises(DeclarationError) as refused:
        parse_declaration(text, source="perch.yaml")
    assert "perch.yaml" in str(refused.value)
    return str(refused.value)


def test_an_empty_spec_means_the_defaults():
    assert parse_declaration(HEAD, source="perch.yaml") == ModelService()


def test_a_declaration_that_is_written_out_reads_back_the_same():
    for service in (ModelService(), demo_declaration(9_999)):
        assert parse_declaration(to_yaml(service), source="perch.yaml") == service


def test_every_setting_is_spelled_out_as_it_may_be_written():
    text = to_yaml(ModelService())
    for key in ("apiVersion", "latencyP99Ms", "shadowHarmBound", "noDataTimeoutS", "attributionWindowS", "durationS"):
        assert f"{key}:" in text
    assert not [line for line in text.splitlines() if "_" in line.partition(":")[0]]


def test_what_is_declared_reaches_the_sections():
    service = parse("{version: 3, slo: {latencyP99Ms: 50}, policy: {bakeS: 15, shadow: false}, load: {rps: 20}}")
    assert service.spec.version == 3
    assert service.spec.slo == Slo(latency_p99_ms=50)
    assert service.spec.policy == Policy(bake_s=15, shadow=False)
    assert service.spec.load == LoadTest(rps=20)
    assert service.name == Metadata().name


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("{modle: ads}", "spec.modle: unknown key"),
        ("{policy: {bake: 3}}", "spec.policy.bake: unknown key"),
        ("{policy: {bake_s: 3}}", "spec.policy.bake_s: unknown key"),
        ("{slo: {p99: 3}}", "spec.slo.p99: unknown key"),
        ("{load: {rate: 3}}", "spec.load.rate: unknown key"),
        ("{version: three}", "spec.version"),
        ("{version: yes}", "spec.version"),
        ("{version: 0}", "spec.version"),
        ("{version: 1.5}", "spec.version"),
        ("{port: 70000}", "spec.port"),
        ("{model: Ads Of Mine}", "spec.model"),
        ("{slo: 100}", "spec.slo"),
        ("{policy: {alpha: lots}}", "spec.policy.alpha"),
        ("{policy: {alpha: 2}}", "alpha is 2; it must lie between"),
        ("{policy: {alpha: .nan}}", "alpha is nan"),
        ("{policy: {startWeight: 0.4, maxWeight: 0.2}}", "startWeight (0.4) is above maxWeight (0.2)"),
        ("{slo: {latencyP99Ms: 5, negligibleLatencyMs: 50}}", "negligibleLatencyMs (50) is above latencyP99Ms (5)"),
        ("{load: {rps: 0}}", "spec.load.rps"),
    ],
)
def test_a_fault_is_named_with_its_key_as_it_is_written(spec, names):
    assert names in refusal(f"{HEAD}spec: {spec}")


def test_every_fault_has_a_line_of_its_own():
    lines = refusal(f"{HEAD}spec: {{modle: ads, port: -1}}").splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["spec.port", "spec.modle"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no ModelService"),
        ("- a\n- list\n", "holds no ModelService"),
        ("spec: {}\n", "does not say its apiVersion and kind"),
        ("kind: ModelService\n", "does not say its apiVersion"),
        ("apiVersion: v1\nkind: ModelService\n", "apiVersion"),
        ("apiVersion: perch.dev/v1alpha1\nkind: Deployment\n", "kind"),
        (f"{HEAD}spec:\n  model: [ads\n", "line 5 is not YAML"),
        (f"{HEAD}spec:\n\tmodel: ads\n", "line 4 is not YAML"),
        ("\x00", "is not YAML"),
        (f"{HEAD}spec: {{version: 2024-13-45}}", "YAML cannot read"),
    ],
)
def test_what_is_no_declaration_is_told_apart(text, says):
    assert says in refusal(text)


def test_a_missing_file_is_named_with_the_way_to_make_one(tmp_path):
    with pytest.raises(DeclarationError, match=r"no declaration at .*perch\.yaml.*perch init"):
        load_declaration(tmp_path / "perch.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DeclarationError, match="cannot be read"):
        load_declaration(tmp_path)
    (tmp_path / "perch.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeclarationError, match="cannot be read"):
        load_declaration(tmp_path / "perch.yaml")


def test_nothing_of_a_declaration_can_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        Spec().port = 1
