"""Decides where a service runs: on this machine, or on the cluster whose context was named.

A verb that is decorated with `targeted` takes a `target`, and works on either.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from perch.cli.options import DECLARATION, WHERE, Declaration, Folder
from perch.cli.target import Target
from perch.errors import UsageError

Context = Annotated[
    str | None,
    typer.Option(
        envvar="PERCH_CONTEXT",
        help="Context of the kubeconfig: the service runs on that cluster. Without it: on this machine.",
        rich_help_panel=WHERE,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace of the service on the cluster; without it the context's.",
        rich_help_panel=WHERE,
    ),
]
Service = Annotated[
    str | None,
    typer.Option(
        help="ModelService on the cluster; without it the one that the declaration names.", rich_help_panel=WHERE
    ),
]


def choose(
    declaration: Declaration,
    folder: Folder,
    context: Context = None,
    namespace: Namespace = None,
    service: Service = None,
) -> Target:
    """The service that the options name.

    Raises:
        UsageError: a namespace or a service is named, but no cluster.
    """
    if context:
        from perch.cli.on_cluster import OnCluster

        return OnCluster(declaration, folder, context, namespace, service)
    if namespace or service:
        raise UsageError("--namespace and --service are of a cluster. Name its context with --context.")
    from perch.cli.on_machine import OnMachine

    return OnMachine(declaration, folder)


def targeted(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of `choose` in place of its parameter `target`; those of its own stay its own."""
    own = dict(inspect.signature(verb, eval_str=True).parameters)
    del own["target"]
    where = inspect.signature(choose, eval_str=True).parameters
    parameters = {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, parameter in (own | where | own).items()
    }

    @functools.wraps(verb)
    def run(**given: Any) -> None:  # noqa: ANN401
        chosen = {name: given[name] for name in where}
        chosen["declaration"] = chosen["declaration"] or DECLARATION
        verb(choose(**chosen), **{name: given[name] for name in own})

    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return run
