"""The verbs of `perch`."""

from pathlib import Path
from typing import Annotated

import typer

from perch.cli import cluster, policy, rollout
from perch.cli.options import Declaration, Folder, console, declared

app = typer.Typer(
    help="Safe releases of machine-learning models: canaries that come home by themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(rollout.app, name="rollout")
app.add_typer(policy.app, name="policy")
app.add_typer(cluster.app, name="cluster")


@app.command()
def init(declaration: Declaration) -> None:
    """Write a declaration with every setting spelled out."""
    from perch.errors import UsageError
    from perch.settings import ModelService, to_yaml

    if declaration.exists():
        raise UsageError(f"{declaration} is there already. Move it away, or name another file with --file.")
    declaration.write_text(to_yaml(ModelService()), encoding="utf-8")
    console.print(f"Wrote {declaration}. Next: perch train")


@app.command()
def train(
    declaration: Declaration,
    folder: Folder,
    data: Annotated[Path | None, typer.Option(help="Click log; without it a simulated market makes one.")] = None,
    data_format: Annotated[
        str | None,
        typer.Option("--format", help="Layout of --data: open-bandit, criteo, avazu or parquet, which is the default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train, evaluate, gate and register a baseline and a challenger."""
    from perch.cli.train import train_and_tell

    train_and_tell(declared(declaration).spec, folder, data, data_format, seed)


@app.command()
def models(declaration: Declaration, folder: Folder) -> None:
    """List the registered versions, their roles and what the gate said of them."""
    from perch.cli.train import tell_versions

    tell_versions(declared(declaration).spec.model, folder)


@app.command()
def serve(
    declaration: Declaration,
    folder: Folder,
    version: Annotated[int | None, typer.Option(help="Version to serve; without it the champion.")] = None,
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = 9000,
) -> None:
    """Serve one version in the foreground, without a platform around it."""
    from perch.cli.serve import serve_version

    serve_version(declared(declaration), folder, version, port)


@app.command()
def up(
    declaration: Declaration,
    folder: Folder,
    mlflow_port: Annotated[int | None, typer.Option(help="Also start MLflow's page on this port.")] = None,
    allow_faults: Annotated[bool, typer.Option("--allow-faults", help="Let versions be broken on purpose.")] = False,
) -> None:
    """Start the local platform; it stays when this command has ended."""
    from perch.local.client import start

    declared(declaration)
    options = [] if mlflow_port is None else ["--mlflow-port", str(mlflow_port)]
    options += ["--allow-faults"] if allow_faults else []
    with console.status("starting") as waiting:
        record = start(declaration, folder, options, waiting.update)
    console.print(f"The route answers at {record.route_url}. Stop everything with: perch down")
    if record.mlflow_url:
        console.print(f"MLflow's page is at {record.mlflow_url}.")


@app.command()
def down(folder: Folder) -> None:
    """Stop the local platform and everything it started."""
    from perch.local.client import stop

    with console.status("stopping"):
        stopped = stop(folder)
    console.print("Stopped; nothing is left running." if stopped else "Nothing was running.")


@app.command()
def status(folder: Folder) -> None:
    """Say where the service and its rollout stand."""
    rollout.status(folder)


@app.command()
def why(
    folder: Folder,
    name: Annotated[str | None, typer.Argument(help="Name of a rollout; without it the last one.")] = None,
) -> None:
    """Tell the story of a rollout: what changed, when, and why."""
    from perch.cli.why import tell_story

    tell_story(folder, name)


@app.command()
def market(
    declaration: Declaration,
    folder: Folder,
    rps: Annotated[float, typer.Option(help="Requests a second.", min=0.1, max=2_000.0)] = 100.0,
    seconds: Annotated[float, typer.Option(help="How long.", min=1.0)] = 300.0,
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 0,
) -> None:
    """Send the running platform the traffic and the clicks of the simulated market."""
    from perch.cli.market import run_market

    run_market(declared(declaration), folder, rps, seconds, seed)


@app.command()
def loadtest(declaration: Declaration, folder: Folder) -> None:
    """Prove the declared SLO under the declared load; exits with 9 when it is breached."""
    from perch.cli.load import prove

    prove(declared(declaration), folder)


@app.command()
def doctor(
    context: Annotated[
        str | None, typer.Option(help="Kube context of a cluster to look into; without it, what a kind cluster needs.")
    ] = None,
) -> None:
    """Say what is there, what is not, and how to mend it; exits with 7 when something needed is wrong."""
    from perch.cli.doctor import examine

    examine(context)


@app.command()
def demo(
    name: Annotated[str, typer.Option(help="Name of the run; its report stands in runs/NAME.")] = "demo",
    seed: Annotated[int, typer.Option(help="Seed of the market, the models and the faults.")] = 0,
) -> None:
    """See a good model promoted and bad ones come home by themselves, on this machine, in under four minutes."""
    from perch.demo.run import run_demo

    run_demo(name, seed)
