"""The operator's process: kopf watches the ModelServices and keeps a task for each; the lease decides who acts."""

import logging
from typing import Any, Final

import kopf

from perch.adapters.cluster.objects import GROUP, VERSION
from perch.errors import PerchError
from perch.operator.assembly import Operator
from perch.operator.claims import Claim, model_of
from perch.operator.hosting import host

PLURAL: Final = "modelservices"

_WAIT_S = 1.0
_RETRY_S = 10.0


def handlers(operator: Operator) -> kopf.OperatorRegistry:
    """The handlers that kopf runs."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**told: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401
        in_pod = kopf.login_with_service_account(**told)
        return in_pod if in_pod is not None else kopf.login_with_kubeconfig(**told)

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: object) -> None:
        settings.persistence.finalizer = f"{GROUP}/operator"
        settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
        settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
        settings.posting.level = logging.WARNING
        memo.tasks = operator.keep()

    @kopf.on.cleanup(registry=registry)
    async def leave(memo: kopf.Memo, **_: object) -> None:
        for task in memo.tasks:
            task.cancel()
        await operator.lease.give_back()

    @kopf.index(GROUP, VERSION, PLURAL, registry=registry, id="claims")  # by which handlers ask for it
    def claims(body: kopf.Body, **_: object) -> dict[str, Claim]:
        return {model_of(body): Claim.of(body)}

    @kopf.daemon(GROUP, VERSION, PLURAL, registry=registry, cancellation_backoff=5.0, cancellation_timeout=20.0)
    async def serve(
        body: kopf.Body,
        name: str,
        namespace: str | None,
        stopped: kopf.DaemonStopped,
        **indices: Any,  # noqa: ANN401
    ) -> None:
        assert namespace is not None
        while not stopped:
            if not operator.lease.held:
                operator.meters.forget(namespace, name)
                await stopped.wait(_WAIT_S)
                continue
            try:
                await host(operator, body, namespace, stopped, indices["claims"])
            except PerchError as error:
                operator.say_of(namespace, name)(str(error))
                kopf.warn(body, reason="NotServing", message=str(error))
                operator.meters.tell_not_served(namespace, name)
                await stopped.wait(_RETRY_S)
        operator.meters.forget(namespace, name)

    return registry
