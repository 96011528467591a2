"""`perch policy backtest`: a recorded rollout under another policy."""

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import yaml
from pydantic.alias_generators import to_camel
from rich.table import Table

from perch.cli.options import console, declared
from perch.cli.target import Target
from perch.core import Policy
from perch.core.sentences import odds, percent
from perch.core.types import Action
from perch.errors import DeclarationError, PerchError, UsageError
from perch.rollout.backtest import Backtest, Step, backtest, promotion, untried
from perch.rollout.ledger import Record, read
from perch.settings import ModelService, Spec, parse_declaration, to_yaml


def tell_backtest(target: Target, name: str, declaration: Path | None, settings: list[str]) -> None:
    """Decide the ledger `name` (a rollout, or a file) again and print what comes of it.

    Raises:
        UsageError: there is no such ledger, or a setting cannot be meant.
        DeclarationError: the declaration cannot be meant.
        RolloutError: the ledger cannot be read.
        PerchError: under its own policy the record's decisions do not come out the same.
    """
    record, path = _record(target, name)
    if record.cut_short:
        console.print(f"The last line of {path} was cut short by a crash; it is left out.")
    recorded = record.attempt.policy
    policy = changed(declared(declaration).spec.policy if declaration else recorded, settings)
    result = backtest(record, policy)
    if policy == recorded:
        _tell_check(result, path)
        return
    console.print(f"{record.attempt.name} with {_changes(recorded, policy)}", highlight=False)
    console.print(_table(result))
    console.print(" ".join((_sentence(result), *untried(record, policy))), highlight=False)


def _record(target: Target, name: str) -> tuple[Record, Path]:
    """What a ledger tells, and which one it is."""
    if Path(name).is_file():
        return read(Path(name)), Path(name)
    with target.ledger(name) as path:
        return read(path), path


def changed(policy: Policy, settings: list[str]) -> Policy:
    """The policy with some settings, `key=value` as a declaration spells them; raises `UsageError` for any other."""
    pairs = [setting.partition("=") for setting in settings]
    for setting, (key, equals, _) in zip(settings, pairs, strict=True):
        if not (key and equals):
            raise UsageError(f"--set {setting} is no setting. Write it as key=value, such as --set alpha=0.05.")
    content = yaml.safe_load(to_yaml(ModelService(spec=Spec(policy=policy))))
    content["spec"]["policy"] |= {key: value for key, _, value in pairs}
    try:
        return parse_declaration(yaml.safe_dump(content), source=f"--set {' --set '.join(settings)}").spec.policy
    except DeclarationError as error:
        raise UsageError(str(error)) from None


def _tell_check(result: Backtest, path: Path) -> None:
    ticks = len(result.recorded)
    if result.exact:
        console.print(f"Every decision the same, {ticks:,} of {ticks:,}.", highlight=False)
        return
    pairs = zip(result.recorded, result.replayed, strict=False)
    odd = next((recorded.tick for recorded, again in pairs if recorded != again), result.recorded[-1].tick)
    raise PerchError(
        f"{path} does not replay: under its own policy tick {odd} is decided otherwise now. It was changed, or another "
        "version of Perch decided it."
    )


def _changes(recorded: Policy, policy: Policy) -> str:
    names = (field.name for field in fields(Policy) if getattr(recorded, field.name) != getattr(policy, field.name))
    return ", ".join(f"{to_camel(name)} {getattr(policy, name)} (was {getattr(recorded, name)})" for name in names)


def _table(result: Backtest) -> Table:
    table = Table("", "policy", "tick", "after", "decision", "canary", "evidence", box=None)
    recorded, replayed = result.recorded, result.replayed
    turns: dict[str, tuple[Step | None, Step | None]] = {
        "first departs": result.departure or (None, None),
        "promotes": (promotion(recorded), promotion(replayed)),
        "ends": (recorded[-1], replayed[-1]),
    }
    for turn, steps in turns.items():
        for whose, step in zip(("recorded", "tried"), steps, strict=True):
            if step is not None:
                table.add_row(turn, whose, *_cells(step))
    return table


def _cells(step: Step) -> tuple[str, ...]:
    decided = step.decision
    return (
        str(step.tick),
        str(timedelta(seconds=round(step.elapsed_s))),
        step.outcome or decided.action,
        percent(decided.weights.canary),
        odds(decided.e_value),
    )


def _sentence(result: Backtest) -> str:
    ticks, recorded, tried = len(result.recorded), result.recorded[-1], result.replayed[-1]
    if result.departure is None:
        return f"Every decision the same, {ticks:,} of {ticks:,}: as recorded, {_ending(recorded)}."
    first = result.departure[0].tick
    guess = f"; from tick {result.guessed_from} on this is a guess, for the counts are of the recorded weights"
    return (
        f"{result.same:,} of {ticks:,} decisions are the same, and the first other one is tick {first}"
        f"{'' if result.guessed_from is None else guess}: as recorded, {_ending(recorded)}; under the policy tried,"
        f" {_ending(tried)}. The policy tried says: {tried.decision.sentence}"
    )


_ENDINGS = {
    Action.PROMOTE: "it ends promoted",
    Action.ROLL_BACK: "it is rolled back",
    Action.FALL_BACK: "it falls back to the baseline",
    None: "it still runs",
}


def _ending(step: Step) -> str:
    return f"{_ENDINGS[step.outcome]} after {step.elapsed_s:,.0f} s"
