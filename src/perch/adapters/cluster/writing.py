"""What holds for every write to the cluster: who may do it, how long it may take, and whose object it is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta

from perch.adapters.cluster.objects import CONFLICT, NOT_FOUND, Manifest, calling, labels
from perch.errors import PlatformError

T = TypeVar("T")

WRITE_S: Final = 3.0
"""How long a write may be on its way, in seconds: the operator's lease is trusted for as much less than it lasts."""


@asynccontextmanager
async def writing(what: str, may_write: Callable[[], None]) -> AsyncIterator[None]:
    """Write one object, allowed right before, and over within `WRITE_S` in all.

    A client's own timeout is for each of connecting, sending and receiving, so that a write could outlive the lease.

    Raises:
        PlatformError: another operator writes; or the API server refuses, or does not answer in time.
    """
    may_write()
    with calling(what):
        async with asyncio.timeout(WRITE_S):
            yield


def write_over(what: str, write: Callable[[], T]) -> T:
    """Call `write`, which reads an object and replaces just what it read, again when somebody came between.

    That is a controller, as a rule, but perhaps an operator that took over while this one slept: so each try has to ask
    anew whether it may write.

    Raises:
        PlatformError: the API server refuses, or does not answer, or somebody came between three times.
    """
    for last in (False, False, True):
        with calling(what):
            try:
                return write()
            except ApiError as error:
                if last or error.status.code != CONFLICT:
                    raise
    raise AssertionError("the last try returns or raises")


async def find(client: AsyncClient, kind: type[T], name: str, namespace: str) -> T | None:
    """An object; `None` when there is none of its name. Raises `ApiError`: it is called within `calling`."""
    try:
        found: T = await client.get(cast("Any", kind), name, namespace=namespace)
    except ApiError as error:
        if error.status.code == NOT_FOUND:
            return None
        raise
    return found


def is_ours(metadata: ObjectMeta, service: str, owner: Manifest) -> bool:
    """Whether an object was made for this service by us: its labels say so, or the owner that it goes with.

    Either will do, so that nobody keeps us from an object of ours by taking off its labels.
    """
    has_labels = labels(service).items() <= dict(metadata.labels or {}).items()
    return has_labels or owner["uid"] in {one.uid for one in metadata.ownerReferences or ()}


def check_ours(found: Any, service: str, owner: Manifest) -> None:  # noqa: ANN401  any resource of lightkube's
    """Raise `PlatformError` when an object was made by somebody else; `None` is nobody's."""
    if found is not None and not is_ours(found.metadata, service, owner):
        kind, metadata = type(found).__name__, found.metadata
        raise PlatformError(
            f"{kind} {metadata.name} in {metadata.namespace} was not made by Perch. Rename the ModelService, or delete "
            f"that {kind}."
        )
