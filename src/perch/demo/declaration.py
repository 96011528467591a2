"""The demonstration's declaration: the defaults, with a shorter bake and guard so that it ends in minutes."""

from perch.core.policy import Policy, Slo
from perch.settings.schema import LoadTest, Metadata, ModelService, Spec

TRAFFIC_RPS = 150.0
"""What the simulated market asks for, in requests a second."""


def demo_declaration(port: int) -> ModelService:
    """What `perch demo` declares; its report says that bake and guard are shorter than the defaults.

    Args:
        port: port of the route on the loopback interface.
    """
    return ModelService(
        metadata=Metadata(name="ads"),
        spec=Spec(
            model="ad-clicks",
            slo=Slo(latency_p99_ms=50.0, error_rate=0.01),
            policy=Policy(shadow_s=4.0, ramp_interval_s=2.0, bake_s=15.0, guard_s=12.0, baseline_share=0.02),
            load=LoadTest(rps=100.0, duration_s=12.0, users=20),
            attributionWindowS=60.0,
            port=port,
        ),
    )
