"""Asks the API server, in helm's test, whether it takes a ModelService, and whether an operator holds the lease."""  # noqa: INP001  no package

import sys
from datetime import UTC, datetime

from lightkube import Client
from lightkube.resources.coordination_v1 import Lease

from perch.adapters.cluster.objects import ModelServiceObject, calling
from perch.errors import PlatformError
from perch.operator.lease import LASTS_S

SERVICE = {"metadata": {"name": "helm-test"}, "spec": {"model": "helm-test"}}

client = Client()
try:
    with calling("take a ModelService, on trial"):
        client.create(ModelServiceObject(SERVICE), dry_run=True)
    with calling("show the operator's lease"):
        lease = client.get(Lease, "perch-operator").spec
except PlatformError as error:
    sys.exit(str(error))
renewed = lease.renewTime if lease else None
if renewed is None or (datetime.now(tz=UTC) - renewed).total_seconds() > LASTS_S:
    sys.exit(f"No operator holds the lease; it was last renewed at {renewed}. See the operator's logs.")
