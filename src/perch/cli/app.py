"""The verbs of `perch`."""

from typing import Annotated

import typer

from perch.cli import cluster, events, policy, rollout, workflow
from perch.cli.options import Declaration, Folder, console, declared
from perch.cli.target import Target
from perch.cli.where import targeted

Url = Annotated[
    str | None,
    typer.Option(
        help="Where the route is reached, if not where the platform or the Gateway says, as http://HOST:PORT."
    ),
]

app = typer.Typer(
    help="Safe releases of machine-learning models: canaries that come home by themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(rollout.app, name="rollout")
app.add_typer(policy.app, name="policy")
app.add_typer(cluster.app, name="cluster")
app.add_typer(workflow.app, name="workflow")
app.add_typer(events.app, name="events")


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
@targeted
def train(
    target: Target,
    declaration: Declaration,
    data: Annotated[
        str | None,
        typer.Option(
            help="Click log: a path, an http(s):// or s3:// address. Without it the declared one, or a simulated one."
        ),
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option("--format", help="Layout of --data: open-bandit, criteo, avazu or parquet, which is the default."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; without it the declared one.")] = None,
) -> None:
    """Train, evaluate, gate and register a baseline and a challenger: here, for the registry of the place."""
    from perch.cli.train import train_and_tell

    train_and_tell(target, declared(declaration), data, data_format, seed)


@app.command()
@targeted
def learn(
    target: Target,
    declaration: Declaration,
    data: Annotated[str, typer.Option(help="Click log of later days: a path, an http(s):// or an s3:// address.")],
    data_format: Annotated[
        str | None,
        typer.Option("--format", help="Layout of --data: open-bandit, criteo, avazu or parquet, which is the default."),
    ] = None,
) -> None:
    """Have the light model learn what came since its training, and propose it: here, for the registry of the place."""
    from perch.cli.train import learn_and_tell

    learn_and_tell(target, declared(declaration), data, data_format)


@app.command()
@targeted
def freshness(
    target: Target,
    declaration: Declaration,
    backtest: Annotated[
        bool,
        typer.Option(
            "--backtest", help="Measure by backtests what an hour of age costs, and write it to the champion."
        ),
    ] = False,
    data: Annotated[str | None, typer.Option(help="For --backtest: click log; without it the declared one.")] = None,
    data_format: Annotated[str | None, typer.Option("--format", help="Layout of --data.")] = None,
) -> None:
    """Say how old the model is, what that costs, and when it is trained anew, and why."""
    from perch.cli.freshness import measure_and_tell, tell_freshness

    if backtest:
        measure_and_tell(target, declared(declaration), data, data_format)
    else:
        tell_freshness(target)


@app.command()
@targeted
def drift(
    target: Target,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which inputs of the model have moved, against its training and between canary and champion."""
    from perch.cli.drift import tell_drift

    tell_drift(target, as_json=as_json)


@app.command()
@targeted
def inspect(target: Target) -> None:
    """Inspect the champion's last hour: is it asked, and does it read, what training did? With Evidently's report."""
    from perch.cli.inspect import inspect_and_tell

    inspect_and_tell(target)


@app.command()
@targeted
def kpi(
    target: Target,
    days: Annotated[float, typer.Option(help="Of so many days.", min=0.01, max=400)] = 7.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each version earns, and how much more than the one beside it: clicks, sales, revenue."""
    from perch.cli.kpi import tell_kpi

    tell_kpi(target, days, as_json=as_json)


@app.command()
@targeted
def fairness(
    target: Target,
    window: Annotated[float, typer.Option(help="Of so many hours.", min=0.01, max=9_600)] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how each version treats the groups of people: rates, calibration and loss, and what gaps are proven."""
    from perch.cli.fairness import tell_fairness

    tell_fairness(target, window, as_json=as_json)


@app.command()
@targeted
def retrain(
    target: Target,
    override: Annotated[bool, typer.Option("--override", help="Also in the cool-down after the last run.")] = False,
) -> None:
    """Have the model trained anew, and released if it passes its gates."""
    console.print(f"{target.retrain(override=override)} See: perch freshness{target.options}")


@app.command()
@targeted
def models(target: Target, declaration: Declaration) -> None:
    """List the registered versions, their roles and what the gate said of them."""
    from perch.cli.train import tell_versions

    tell_versions(target, declared(declaration).spec.model)


@app.command()
@targeted
def lineage(
    target: Target,
    version: Annotated[int, typer.Argument(help="Version, as a response or `perch models` names it.", min=1)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say where a version comes from, and what became of it: run, data, code, parameters, gates and rollouts."""
    from perch.cli.lineage import tell_lineage

    tell_lineage(target, version, as_json=as_json)


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
@targeted
def status(target: Target, watch: rollout.Watch = False) -> None:
    """Say where the service and its rollout stand."""
    rollout.tell_status(target, watch=watch)


@app.command()
@targeted
def why(
    target: Target,
    name: Annotated[str | None, typer.Argument(help="Name of a rollout; without it the last one.")] = None,
) -> None:
    """Tell the story of a rollout: what changed, when, and why."""
    from perch.cli.why import tell_story

    tell_story(target, name)


@app.command("break")
@targeted
def break_(
    target: Target,
    fault: Annotated[
        str,
        typer.Argument(
            help="errors: one request of twenty fails; latency: every answer is later than the SLO allows; constant: "
            "every row has the same score; skew: prices in cents; silence: no answers; none: mend it."
        ),
    ],
    version: Annotated[int | None, typer.Option(help="Version to break; without it the canary.")] = None,
) -> None:
    """Break a version on purpose, to see it come home. Faults must be allowed, as with perch up --allow-faults."""
    from perch.cli.faults import break_and_tell

    break_and_tell(target, fault, version)


@app.command()
@targeted
def market(
    target: Target,
    url: Url = None,
    rps: Annotated[float, typer.Option(help="Requests a second.", min=0.1, max=2_000.0)] = 100.0,
    seconds: Annotated[float, typer.Option(help="How long.", min=1.0)] = 300.0,
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 0,
) -> None:
    """Send a running service the traffic and the clicks of the simulated market."""
    from perch.cli.market import run_market

    run_market(target, url, rps, seconds, seed)


@app.command()
@targeted
def loadtest(target: Target, url: Url = None) -> None:
    """Prove the declared SLO under the declared load; exits with 9 when it is breached."""
    from perch.cli.load import prove

    prove(target, url)


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
    """See a good model promoted and bad ones come home by themselves, on this machine, in about four minutes."""
    from perch.demo.run import run_demo

    run_demo(name, seed)
