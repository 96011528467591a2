"""Runs the operator in a pod: `python -m perch.operator --image IMAGE --registry http://HOST:PORT ...`."""

import argparse
import logging
import os
import socket
import sys
import uuid
from contextlib import nullcontext
from pathlib import Path

import kopf

from perch import asgi
from perch.adapters.labels.collector_resources import Volume
from perch.adapters.notify.message import Address
from perch.adapters.notify.webhook import Webhook
from perch.adapters.registry.mlflow import MlflowRegistry
from perch.errors import PerchError
from perch.operator.app import handlers
from perch.operator.assembly import Operator, Options
from perch.operator.exposure import Allowed
from perch.operator.reach import LEDGERS


def main() -> int:
    """Run until SIGTERM; a mistake in the options is one sentence."""
    asked = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for chatty in ("httpx", "httpx2", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        registry = MlflowRegistry(asked.registry)
        alerts_token = asgi.read_token(asked.alerts_token_file) if asked.alerts_token_file else None
    except PerchError as error:
        print(error, file=sys.stderr)  # noqa: T201  the pod's log
        return error.exit_code
    options = Options(
        image=asked.image,
        registry_url=asked.registry,
        ledgers=asked.ledgers,
        namespace=asked.namespace,
        holder=f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        watched=tuple(asked.watch),
        token_secret=asked.token_secret,
        outcomes=Volume(asked.outcomes_size, asked.outcomes_storage_class) if asked.outcomes_size else None,
        judge_image=asked.judge_image,
        pull_secrets=tuple(asked.pull_secret),
        alerts_token=alerts_token,
        allowed=Allowed(tuple(asked.allow_gateway), tuple(asked.allow_domain)),
    )
    address = Address.from_environment()
    with nullcontext() if address is None else Webhook(address) as webhook:
        operator = Operator(options, registry, webhook)
        operator.meters.serve(asked.metrics_port)
        kopf.run(
            registry=handlers(operator),
            clusterwide=not asked.watch,
            namespaces=asked.watch,
            standalone=True,
            liveness_endpoint=f"http://0.0.0.0:{asked.liveness_port}/healthz",  # the kubelet asks from outside the pod
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perch.operator", description="Runs a cluster's ModelServices.")
    parser.add_argument("--image", required=True, help="serving image of all versions")
    parser.add_argument("--registry", required=True, help="MLflow's address, http://HOST:PORT; pods fetch models there")
    parser.add_argument("--ledgers", type=Path, default=Path(LEDGERS), help="folder that keeps the ledgers")
    parser.add_argument("--namespace", default=os.environ.get("POD_NAMESPACE", "perch"), help="where the lease stands")
    parser.add_argument("--watch", action="append", default=[], help="namespace to watch; all without it")
    parser.add_argument("--allow-gateway", action="append", default=[], help="that services may name; any without it")
    parser.add_argument("--allow-domain", action="append", default=[], help="of services' hostnames; any without it")
    parser.add_argument("--pull-secret", action="append", default=[], help="by which services' images are pulled")
    parser.add_argument("--token-secret", help="secret with the token of the fault switches; none: no faults")
    parser.add_argument("--outcomes-size", help="volume of each service's collector, such as 2Gi; none: no collectors")
    parser.add_argument("--outcomes-storage-class", help="of that volume; the cluster's default without it")
    parser.add_argument(
        "--judge-image", help="with Evidently, for policies that say externalJudge; none: they are refused"
    )
    parser.add_argument("--alerts-token-file", type=Path, help="file with Alertmanager's token; none: no alerts")
    parser.add_argument("--liveness-port", type=int, default=8081)
    parser.add_argument("--metrics-port", type=int, default=8082)
    return parser


if __name__ == "__main__":
    sys.exit(main())
