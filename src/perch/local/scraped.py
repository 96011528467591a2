"""What a Prometheus on this machine needs: the service's own figures, and a file with who is to be asked.

The names are those of a cluster, so that the same rules and dashboards serve both. (Prometheus, "File-based service
discovery": it follows the file by itself.)
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from perch.core.policy import FreshnessPolicy
from perch.freshness.watch import Watch
from perch.rollout.meters import Meters
from perch.rollout.service import Service
from perch.settings.status import SERVING

NAMESPACE: Final = "local"
"""What stands in the place of a cluster's namespace."""

TARGETS: Final = "prometheus.json"


def tell(meters: Meters, name: str, service: Service, now_s: float) -> None:
    """Tell where a service stands after a tick that went well."""
    status = service.status()
    meters.tell(
        NAMESPACE,
        name,
        ready=True,
        phase=status.phase.value if service.rolling and status.phase is not None else SERVING,
        outcome=None if service.rolling else status.outcome,
        canary_weight=service.weights.canary,
        e_value=service.e_value,
    )
    meters.tell_ticked(NAMESPACE, name, now_s)


def tell_age(meters: Meters, name: str, watch: Watch | None, policy: FreshnessPolicy, now_s: float) -> None:
    """Tell how fresh its model is, where somebody watches over that."""
    if watch is not None:
        meters.tell_age(NAMESPACE, name, watch.remembered.state, policy, now_s)


def write_targets(folder: Path, name: str, processes: Iterable[str], control_port: int) -> None:
    """Write who is to be asked, all or nothing.

    Args:
        folder: The platform's.
        name: Of the service.
        processes: Addresses, `host:port`, of the serving processes and the collector.
        control_port: Of the control server, which tells of the service itself.
    """
    of_service = {"namespace": NAMESPACE, "perch_dev_service": name}
    groups = [
        {"targets": sorted(processes), "labels": of_service},
        {"targets": [f"127.0.0.1:{control_port}"], "labels": {}},
    ]
    draft = folder / f"{TARGETS}.tmp"
    draft.write_text(json.dumps(groups, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / TARGETS)
