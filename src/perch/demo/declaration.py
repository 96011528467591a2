"""The demonstration's declaration."""

from importlib.resources import files

from perch.settings import ModelService, parse_declaration

TRAFFIC_RPS = 150.0
"""What the simulated market asks for, in requests a second."""


def demo_declaration(port: int) -> ModelService:
    """What `perch demo` declares, with the route on `port` of the loopback interface."""
    text = files("perch.demo").joinpath("perch.yaml").read_text(encoding="utf-8")
    service = parse_declaration(text, source="perch/demo/perch.yaml")
    return service.model_copy(update={"spec": service.spec.model_copy(update={"port": port})})
