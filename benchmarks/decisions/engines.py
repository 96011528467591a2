"""The engines of the comparison, by the name under which they stand in the table."""

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.decisions.peers.argo import Argo
from benchmarks.decisions.peers.flagger import Flagger
from benchmarks.decisions.peers.kayenta import Kayenta
from benchmarks.decisions.peers.peer import Peer
from benchmarks.decisions.peers.sagemaker import SageMaker
from benchmarks.decisions.peers.ztest import ZTest
from benchmarks.decisions.perch import LIVE, SHADOW_FIRST, Perch
from benchmarks.decisions.rollouts import Engine


def _peer(rule: Callable[[int], Peer]) -> Engine:
    return lambda _scenario, replications: rule(replications)


OURS: Mapping[str, Engine] = {
    "perch": partial(Perch, policy=LIVE),
    "perch-shadow": partial(Perch, policy=SHADOW_FIRST),
}
"""With live traffic from the first second, and with mirrored traffic first."""

PEERS: Mapping[str, Engine] = {
    "flagger": _peer(Flagger),
    "flagger-10s-x2": _peer(partial(Flagger, interval_s=10, threshold=2)),
    "argo": _peer(Argo),
    "argo-1m": _peer(partial(Argo, analysis_from_s=0, interval_s=60, max_error_rate=0.01, latency=True)),
    "sagemaker": _peer(SageMaker),
    "kayenta": _peer(Kayenta),
    "z-test": _peer(ZTest),
}

ENGINES: Mapping[str, Engine] = {**OURS, **PEERS}
